"""Parse stored deliveries into batch entries; e-mail in the parser pool, with a rate limit."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from chassis.errors import Refused
from chassis.messaging.message import StreamMessage
from ingest import envelope
from ingest.channels import registry
from ingest.channels.email.mailbox import (
    Mailbox,
    sender_key,
    unreadable_sender_key,
    with_mailbox_context,
)
from ingest.channels.email.parser_pool import ParserPool
from ingest.channels.email.sender_rate import SenderRate
from ingest.channels.parsing import ParsedItem
from ingest.domain.batch_entry import BatchEntry
from ingest.domain.field_rules import Rules
from ingest.domain.items import InboundItem, RawDelivery, Unreadable
from ingest.envelope import Delivery


class DeliveryParser:
    """Parses deliveries; knows the mailboxes and how many mails each sender has sent."""

    def __init__(self, pool: ParserPool, mailboxes: Callable[[str], Mailbox | None]) -> None:
        self._pool = pool
        self._mailboxes = mailboxes
        self._rate = SenderRate()

    def parse(self, message: StreamMessage) -> Delivery | Awaitable[Delivery]:
        """Read a delivery's envelope; a mail is parsed, too, which takes time."""
        return self._parse_mail(message) if is_mail(message) else envelope.read(message)

    async def _parse_mail(self, message: StreamMessage) -> Delivery:
        """Parse a mail in the parser pool and add what its mailbox knows.

        Raises `Refused` for a mail that cannot be parsed or exceeds the sender's rate. A mail that
        a person has redriven (`was_deferred`) is not limited.
        """
        delivery = envelope.read(message)
        raw = delivery.raw
        mailbox = self._mailboxes(raw.account)
        limited = mailbox if not message.was_deferred else None
        try:
            items = await self._pool.read(raw, lambda: self._check_unreadable_rate(raw, limited))
        except Refused:
            self._count_unreadable(raw, limited)
            raise
        except Unreadable as why:
            self._count_unreadable(raw, limited)
            return replace(delivery, items=why)
        items = tuple(with_mailbox_context(item, mailbox, self._mailboxes) for item in items)
        if limited is not None:
            self._check_rate(raw, items, limited)
        return replace(delivery, items=items)

    def _check_unreadable_rate(self, raw: RawDelivery, mailbox: Mailbox | None) -> None:
        """Refuse a mail unread if its sender has sent too many unreadable ones."""
        if mailbox is None:
            return
        limit, seconds = mailbox.per_sender
        sender = unreadable_sender_key(raw)
        if self._rate.is_exhausted(sender, raw.received_at, (limit, seconds)):
            raise Refused(f"{limit} unreadable mails of its sender in {seconds} s")

    def _count_unreadable(self, raw: RawDelivery, mailbox: Mailbox | None) -> None:
        """Count a mail that could not be read, or was refused unread."""
        if mailbox is not None:
            sender = unreadable_sender_key(raw)
            self._rate.count(sender, raw.inbound_id, raw.received_at, mailbox.per_sender)

    def _check_rate(self, raw: RawDelivery, items: Sequence[InboundItem], mailbox: Mailbox) -> None:
        """Refuse a mail above the sender's rate: an undetected mail loop."""
        limit, seconds = mailbox.per_sender
        for item in items:
            sender = sender_key(item, raw.account, mailbox)
            if sender is None:
                continue
            if self._rate.count(sender, raw.inbound_id, raw.received_at, (limit, seconds)):
                raise Refused(f"more than {limit} mails from one address in {seconds} s: a loop?")


def is_mail(message: StreamMessage) -> bool:
    """Return whether a delivery is an e-mail."""
    return message.subject.startswith("inbound.email.")


def entries_of(delivery: Delivery, rules: Rules) -> Iterator[BatchEntry]:
    """Yield the entries of a delivery; an unreadable one has one entry, which is rejected.

    Raises `Refused` if the channel's parser fails.
    """
    raw = delivery.raw
    items: Sequence[ParsedItem] = [Unreadable("there is nothing in it")]
    try:
        items = _items(delivery, rules) or items
    except Unreadable as why:
        items = [why]
    except Exception as why:
        raise Refused(f"the parser of {raw.channel} failed: {type(why).__name__}") from why
    for n, parsed in enumerate(items):
        yield BatchEntry(
            inbound_id=raw.inbound_id,
            n=n,
            channel=raw.channel,
            account=raw.account,
            received_at=raw.received_at,
            item=None if isinstance(parsed, Unreadable) else parsed,
            refusal=str(parsed) if isinstance(parsed, Unreadable) else None,
            slot=delivery.slot,
            sequence=delivery.sequence,
            traceparent=delivery.traceparent,
            chunks=delivery.chunks,
        )


def parked_entry(message: StreamMessage, reason: str, now: datetime) -> BatchEntry:
    """Return the entry of a delivery that is parked; `now` is used if it has no valid date."""
    raw = envelope.read_unchecked(message, now)
    return BatchEntry(
        inbound_id=raw.inbound_id,
        n=0,
        channel=raw.channel,
        account=raw.account,
        received_at=raw.received_at,
        item=None,
        refusal=reason,
        slot=message.slot,
        sequence=message.position or 0,
        chunks=message.chunks,
    )


def _items(delivery: Delivery, rules: Rules) -> Sequence[ParsedItem]:
    """Return the items of a delivery, parsed already or by its channel and field mapping."""
    if isinstance(delivery.items, Unreadable):
        raise delivery.items
    if delivery.items is not None:
        return delivery.items
    raw = delivery.raw
    mapping = rules.mappings.get((raw.channel, raw.account))
    return registry.read(replace(raw, mapping=mapping) if mapping else raw)
