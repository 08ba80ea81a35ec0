"""Customers with two addresses on a platform keep the one they were first known by.

WhatsApp sends a customer's number, their business-scoped user id, or both. The id was introduced
while customers were known by their numbers, and a customer with a username may hide the number
(developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids). A
number that comes with another id than before belongs to another customer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, LiteralString
from uuid import UUID

from chassis.messaging.transaction import Tx
from ingest.domain.batch_entry import BatchEntry
from ingest.intake import conversation_store
from trunkline_contracts.ids import contact_id

ALIAS_CHANNELS: Final = frozenset({"whatsapp"})

# The LIMITs keep the planner on the indexes, however small the tables were when it planned.
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
    """The known addresses of customers; a key is the contact id of an address."""

    known_addresses: dict[UUID, str] = field(default_factory=dict)
    """By key of another address: the address the customer is known by."""
    known: set[UUID] = field(default_factory=set)
    """Keys of addresses by which a customer is known."""
    taken: set[UUID] = field(default_factory=set)
    """Keys of addresses by which a customer with another address is known."""
    new: dict[UUID, tuple[str, UUID]] = field(default_factory=dict)

    def known_address(self, addresses: Sequence[tuple[str, UUID]]) -> str:
        """Return the address a customer is known by: by their id if known, else the number's."""
        (address, key), *others = addresses
        found = self.known_addresses.get(key)
        if found is None and others and key not in self.known:
            number, number_key = others[0]
            if number_key in self.known and number_key not in self.taken:
                found = number
                self._add(key, number, number_key)
        if found is None and others:
            self._add(others[0][1], address, key)
        found = address if found is None else found
        self.known |= {key for candidate, key in addresses if candidate == found}
        return found

    def _add(self, key: UUID, address: str, address_key: UUID) -> None:
        if self.known_addresses.get(key) != address:
            self.known_addresses[key] = address
            self.new[key] = address, address_key
            self.taken.add(address_key)


async def resolve_addresses(tx: Tx, entries: Iterable[BatchEntry]) -> None:
    """Attribute every entry to the address its customer is known by.

    Aliases are locked first: the other keys to lock follow from them.
    """
    aliased = [(entry, addresses) for entry in entries if (addresses := _addresses(entry))]
    if not aliased:
        return
    keys = list({key for _, addresses in aliased for _, key in addresses})
    await conversation_store.lock(tx, keys)
    aliases = Aliases()
    for key, address, is_known, is_taken in await (await tx.run(LOAD, keys)).fetchall():
        if address is not None:
            aliases.known_addresses[key] = address
        aliases.known |= {key} if is_known else set()
        aliases.taken |= {key} if is_taken else set()
    for entry, addresses in aliased:
        entry.replace_address(addresses[0][0], aliases.known_address(addresses))
    if aliases.new:
        rows = [(key, *address) for key, address in sorted(aliases.new.items())]
        await tx.run(SAVE, *map(list, zip(*rows, strict=True)))


def _addresses(entry: BatchEntry) -> list[tuple[str, UUID]]:
    item = entry.item
    if item is None or entry.channel not in ALIAS_CHANNELS:
        return []
    address = item.person.address if item.person else item.conversation
    account = entry.channel, entry.account
    return [
        (candidate, contact_id(*account, candidate))
        for candidate in (address, *item.also)
        if candidate
    ]
