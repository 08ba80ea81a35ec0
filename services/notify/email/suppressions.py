"""Suppressed addresses: those that accept no mail, as a mail server has reported.

The report is a bounce to the signed address the mail was sent from, or a refusal of the recipient
during the SMTP session. It holds until the customer writes from the address, or a mail to it is
known to have arrived.
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

ARRIVED_STATES = frozenset({"delivered", "read"})

SELECT_ADDRESSES = """SELECT message_id, request_id, address FROM sends
    WHERE channel = 'email' AND address IS NOT NULL AND message_id = ANY(%b::uuid[])
    UNION ALL
    SELECT NULL, request_id, address FROM mail_threads
    WHERE address IS NOT NULL AND request_id = ANY(%b::uuid[])"""

SELECT_SUPPRESSIONS = "SELECT address, reason FROM suppressions WHERE address = ANY(%b::text[])"

UPSERT_SUPPRESSIONS = """INSERT INTO suppressions AS s (address, reason, at)
    SELECT address, reason, %s FROM unnest(%b::text[], %b::text[]) AS u (address, reason)
    ORDER BY address
    ON CONFLICT (address) DO UPDATE SET reason = EXCLUDED.reason, at = EXCLUDED.at"""

DELETE_SUPPRESSIONS = "DELETE FROM suppressions WHERE address = ANY(%b::text[])"

LOCK_ADDRESSES = "SELECT count(pg_advisory_xact_lock(k)) FROM unnest(%b::bigint[]) AS k"


@dataclass(slots=True)
class Suppressions:
    """The suppressed addresses of a batch with their reasons, and the changes to save."""

    reasons: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    lifted: set[str] = field(default_factory=set)

    def suppress(self, address: str, reason: str) -> None:
        """Suppress an address."""
        self.reasons[address] = self.added[address] = reason
        self.lifted.discard(address)

    def lift(self, address: str) -> None:
        """Lift the suppression of an address, if there is one."""
        if self.reasons.pop(address, None) is not None:
            self.added.pop(address, None)
            self.lifted.add(address)

    def apply(self, fact: RequestFact, addresses: Iterable[str]) -> None:
        """Suppress the addresses after a failed delivery; lift them after any other fact."""
        for address in addresses:
            if not isinstance(fact, DeliveryRecorded) or fact.state in ARRIVED_STATES:
                self.lift(address)
            else:
                self.suppress(address, fact.reason or "bounced")


async def apply(tx: Tx, facts: Sequence[RequestFact]) -> Mapping[UUID, str]:
    """Apply facts to the suppressions, and return the reason for each reply that is not sent."""
    evidence = [fact for fact in facts if _is_evidence(fact)]
    replies = {f.message.id: f for f in facts if isinstance(f, ReplySent) and f.channel == "email"}
    if not evidence and not replies:
        return {}
    addresses = await _addresses(tx, evidence, replies)
    await _lock(tx, {address for fact in evidence for address in addresses[fact.id]})
    suppressions = await _load(tx, {address for each in addresses.values() for address in each})
    refused: dict[UUID, str] = {}
    for fact in facts:
        if _is_evidence(fact):
            suppressions.apply(fact, addresses[fact.id])
        elif isinstance(fact, ReplySent) and fact.message.id in replies:
            for reason in filter(None, map(suppressions.reasons.get, addresses[fact.id])):
                refused[fact.message.id] = f"the address takes no mail: {reason}"
    await _save(tx, suppressions)
    return refused


async def suppress(tx: Tx, reasons: Mapping[str, str]) -> None:
    """Suppress addresses, each with its reason."""
    if reasons:
        await _lock(tx, reasons)
        await tx.run(UPSERT_SUPPRESSIONS, tx.now, list(reasons), list(reasons.values()))


async def _load(tx: Tx, addresses: Iterable[str]) -> Suppressions:
    rows = await (await tx.run(SELECT_SUPPRESSIONS, sorted(addresses))).fetchall()
    return Suppressions(dict(rows))


async def _save(tx: Tx, suppressions: Suppressions) -> None:
    added = suppressions.added
    if added:
        await tx.run(UPSERT_SUPPRESSIONS, tx.now, list(added), list(added.values()))
    if suppressions.lifted:
        await tx.run(DELETE_SUPPRESSIONS, sorted(suppressions.lifted))


async def _lock(tx: Tx, addresses: Iterable[str]) -> None:
    """Lock addresses until the transaction ends, in sorted order so that no two deadlock."""
    keys = sorted({lock_key("key", f"notify/address {address}") for address in addresses})
    if keys:
        await tx.run(LOCK_ADDRESSES, keys)


async def _addresses(
    tx: Tx, evidence: Sequence[RequestFact], replies: Mapping[UUID, ReplySent]
) -> dict[UUID, set[str]]:
    """Return the addresses that each fact is about, by the fact's id."""
    messages = [fact.message_id for fact in evidence if isinstance(fact, DeliveryRecorded)]
    requests = [fact.request_id for fact in evidence if isinstance(fact, MessageAdded)]
    by_id: dict[UUID, set[str]] = {}
    rows = []
    if messages or requests:
        rows = await (await tx.run(SELECT_ADDRESSES, messages, requests)).fetchall()
    for message_id, request_id, address in rows:
        by_id.setdefault(message_id or request_id, set()).add(mail_address(address))
    addresses = {fact.id: by_id.get(_lookup_id(fact), set()) for fact in evidence}
    with_contact = (f for f in (*evidence, *replies.values()) if isinstance(f, Opened | ReplySent))
    return addresses | {fact.id: set(_contact_address(fact)) for fact in with_contact}


def _lookup_id(fact: RequestFact) -> UUID:
    return fact.message_id if isinstance(fact, DeliveryRecorded) else fact.request_id


def _contact_address(fact: Opened | ReplySent) -> Iterator[str]:
    if fact.contact.address is not None:
        yield mail_address(fact.contact.address)


def _is_evidence(fact: RequestFact) -> bool:
    """Return whether a fact shows that an address accepts mail, or none; machine mail does not."""
    match fact:
        case Opened():
            is_mail = fact.channel == "email" and fact.origin == "ingest"
            return is_mail and fact.message.automatic is None
        case MessageAdded():
            is_mail = (fact.message.external_id or "").startswith("<")
            return is_mail and fact.message.automatic is None
        case DeliveryRecorded():
            return fact.state in ARRIVED_STATES or (fact.state == "failed" and fact.permanent)
        case _:
            return False
