"""People with two names on a platform: under whichever they come, they are the one known before.

WhatsApp tells a person's number, an id of theirs for the business, or both: the id began to be told
while people were known by their numbers, and who takes a username may hide the number afterwards
(developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids). A
number that comes with another id than before is another person's now.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, LiteralString
from uuid import UUID

from chassis.messaging.transaction import Tx
from ingest.domain.inbound_item import Arrival
from ingest.intake import store
from trunkline_contracts.ids import contact_id

CHANNELS: Final = frozenset({"whatsapp"})

# The LIMITs keep the planner on the indexes, however small the tables were when it looked.
LOAD: LiteralString = """
SELECT g.key,
    (SELECT a.home FROM alias a WHERE a.key = g.key LIMIT 1),
    (SELECT true FROM contact c WHERE c.contact_id = g.key LIMIT 1),
    (SELECT true FROM alias a WHERE a.home_key = g.key ORDER BY a.key LIMIT 1)
FROM unnest(%b::uuid[]) AS g (key)"""
SAVE: LiteralString = """
INSERT INTO alias (key, home, home_key) SELECT * FROM unnest(%b::uuid[], %b::text[], %b::uuid[])
ON CONFLICT (key) DO UPDATE SET home = EXCLUDED.home, home_key = EXCLUDED.home_key"""


@dataclass(slots=True)
class Aliases:
    """Who is known under which names; names are given by the keys of their contacts."""

    homes: dict[UUID, str] = field(default_factory=dict)
    """Under what else somebody is known."""
    known: set[UUID] = field(default_factory=set)
    """Names under which somebody is known."""
    taken: set[UUID] = field(default_factory=set)
    """Names under which somebody is known who has another one, too."""
    learned: dict[UUID, tuple[str, UUID]] = field(default_factory=dict)

    def home(self, names: Sequence[tuple[str, UUID]]) -> str:
        """Give the name under which the person of these names is known: theirs, then the number."""
        (name, key), *also = names
        found = self.homes.get(key)
        if found is None and also and key not in self.known:
            number, number_key = also[0]
            if number_key in self.known and number_key not in self.taken:
                found = number
                self._learn(key, number, number_key)
        if found is None and also:
            self._learn(also[0][1], name, key)
        found = name if found is None else found
        self.known |= {each for told, each in names if told == found}
        return found

    def _learn(self, key: UUID, home: str, home_key: UUID) -> None:
        if self.homes.get(key) != home:
            self.homes[key] = home
            self.learned[key] = home, home_key
            self.taken.add(home_key)


async def resolve(tx: Tx, arrivals: Iterable[Arrival]) -> None:
    """Have everybody come under the name they are known by.

    Names are locked before anything else is, for what else must be locked follows from them.
    """
    told = [(each, names) for each in arrivals if (names := _names(each))]
    if not told:
        return
    keys = list({key for _, names in told for _, key in names})
    await store.lock(tx, keys)
    aliases = Aliases()
    for key, home, known, taken in await (await tx.run(LOAD, keys)).fetchall():
        if home is not None:
            aliases.homes[key] = home
        aliases.known |= {key} if known else set()
        aliases.taken |= {key} if taken else set()
    for each, names in told:
        each.comes_as(names[0][0], aliases.home(names))
    if aliases.learned:
        rows = [(key, *of) for key, of in sorted(aliases.learned.items())]
        await tx.run(SAVE, *map(list, zip(*rows, strict=True)))


def _names(arrival: Arrival) -> list[tuple[str, UUID]]:
    item = arrival.item
    if item is None or arrival.channel not in CHANNELS:
        return []
    name = item.person.address if item.person else item.conversation
    where = arrival.channel, arrival.account
    return [(each, contact_id(*where, each)) for each in (name, *item.also) if each]
