"""To which addresses no mail is sent any more: they take none, as a mail server has said.

That is said by a bounce that came to the signed address our mail left from, or by the refusal of
the receiver while it was handed over. It holds until a mail of the customer's comes, or it is
known that one of ours arrived.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from chassis.messaging.transaction import Tx
from chassis.postgres.locks import lock_key
from trunkline_contracts import (
    DeliveryRecorded,
    MessageAdded,
    Opened,
    ReplySent,
    RequestFact,
)
from trunkline_contracts.addresses import mail_address

ARRIVED = frozenset({"delivered", "read"})

WRITTEN_TO = """SELECT message_id, request_id, address FROM sends
    WHERE channel = 'email' AND address IS NOT NULL AND message_id = ANY(%b::uuid[])
    UNION ALL
    SELECT NULL, request_id, address FROM mail_threads
    WHERE address IS NOT NULL AND request_id = ANY(%b::uuid[])"""

OF = "SELECT address, reason FROM suppressions WHERE address = ANY(%b::text[])"

PUT = """INSERT INTO suppressions AS s (address, reason, at)
    SELECT address, reason, %s FROM unnest(%b::text[], %b::text[]) AS u (address, reason)
    ORDER BY address
    ON CONFLICT (address) DO UPDATE SET reason = EXCLUDED.reason, at = EXCLUDED.at"""

LIFT = "DELETE FROM suppressions WHERE address = ANY(%b::text[])"

LOCK = "SELECT count(pg_advisory_xact_lock(k)) FROM unnest(%b::bigint[]) AS k"


@dataclass(slots=True)
class Suppressions:
    """The addresses at hand that take no mail, each with the reason, and what changes of that."""

    known: dict[str, str] = field(default_factory=dict)
    put: dict[str, str] = field(default_factory=dict)
    lifted: set[str] = field(default_factory=set)

    def suppress(self, address: str, reason: str) -> None:
        """Nothing more is sent there."""
        self.known[address] = self.put[address] = reason
        self.lifted.discard(address)

    def lift(self, address: str) -> None:
        """It takes mail."""
        if self.known.pop(address, None) is not None:
            self.put.pop(address, None)
            self.lifted.add(address)

    def hear(self, fact: RequestFact, addresses: Iterable[str]) -> None:
        """Take in what a fact says of addresses."""
        for address in addresses:
            if not isinstance(fact, DeliveryRecorded) or fact.state in ARRIVED:
                self.lift(address)
            else:
                self.suppress(address, fact.reason or "bounced")


async def hear(tx: Tx, facts: Sequence[RequestFact]) -> Mapping[UUID, str]:
    """Take in what is said of addresses, and say which replies are not to be sent, and why."""
    heard = [fact for fact in facts if _tells(fact)]
    replies = {f.message.id: f for f in facts if isinstance(f, ReplySent) and f.channel == "email"}
    if not heard and not replies:
        return {}
    whose = await _addresses(tx, heard, replies)
    await _lock(tx, {address for fact in heard for address in whose[fact.id]})
    at_hand = {address for each in whose.values() for address in each}
    rows = await (await tx.run(OF, sorted(at_hand))).fetchall()
    known: dict[str, str] = dict(rows)
    found = Suppressions(known)
    refused: dict[UUID, str] = {}
    for fact in facts:
        if _tells(fact):
            found.hear(fact, whose[fact.id])
        elif isinstance(fact, ReplySent) and fact.message.id in replies:
            for why in filter(None, map(found.known.get, whose[fact.id])):
                refused[fact.message.id] = f"the address takes no mail: {why}"
    if found.put:
        await tx.run(PUT, tx.now, list(found.put), list(found.put.values()))
    if found.lifted:
        await tx.run(LIFT, sorted(found.lifted))
    return refused


async def put(tx: Tx, addresses: Mapping[str, str]) -> None:
    """Write down which addresses take no mail, and why."""
    if addresses:
        await _lock(tx, addresses)
        await tx.run(PUT, tx.now, list(addresses), list(addresses.values()))


async def _lock(tx: Tx, addresses: Iterable[str]) -> None:
    """Hold what is known of addresses until the transaction ends, in one order for all."""
    numbers = sorted({lock_key("key", f"notify/address {address}") for address in addresses})
    if numbers:
        await tx.run(LOCK, numbers)


async def _addresses(
    tx: Tx, heard: Sequence[RequestFact], replies: Mapping[UUID, ReplySent]
) -> dict[UUID, set[str]]:
    """Give the addresses each of these facts is about, by the fact's id."""
    messages = [fact.message_id for fact in heard if isinstance(fact, DeliveryRecorded)]
    requests = [fact.request_id for fact in heard if isinstance(fact, MessageAdded)]
    by_name: dict[UUID, set[str]] = {}
    rows = []
    if messages or requests:
        rows = await (await tx.run(WRITTEN_TO, messages, requests)).fetchall()
    for message_id, request_id, address in rows:
        by_name.setdefault(message_id or request_id, set()).add(mail_address(address))
    whose = {fact.id: by_name.get(_name(fact), set()) for fact in heard}
    told = (fact for fact in (*heard, *replies.values()) if isinstance(fact, Opened | ReplySent))
    return whose | {fact.id: set(_contact(fact)) for fact in told}


def _name(fact: RequestFact) -> UUID:
    return fact.message_id if isinstance(fact, DeliveryRecorded) else fact.request_id


def _contact(fact: Opened | ReplySent) -> Iterator[str]:
    if fact.contact.address is not None:
        yield mail_address(fact.contact.address)


def _tells(fact: RequestFact) -> bool:
    """Whether it says that an address takes mail, or none; a machine's mail says nothing."""
    match fact:
        case Opened():
            written = fact.channel == "email" and fact.origin == "ingest"
            return written and fact.message.automatic is None
        case MessageAdded():
            written = (fact.message.external_id or "").startswith("<")
            return written and fact.message.automatic is None
        case DeliveryRecorded():
            return fact.state in ARRIVED or (fact.state == "failed" and fact.permanent)
        case _:
            return False
