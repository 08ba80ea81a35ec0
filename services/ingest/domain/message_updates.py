"""Match edits, deletions, reactions and receipts to the message they refer to.

An update becomes a fact about its message's request. One that arrives before its message is kept
pending until the message arrives, or until its time is over.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from ingest.domain.batch_entry import (
    BatchEntry,
    Outcome,
    message_from,
    ordering_key,
    platform_number,
    trace_fields,
)
from ingest.domain.items import InboundItem
from trunkline_contracts import (
    DeliveryRecorded,
    DeliveryReported,
    Fact,
    MessageEdited,
    MessageReacted,
    ReplySent,
)
from trunkline_contracts.parts import DeliveryState, Message

MAX_PENDING_TIME: Final = timedelta(hours=24)
"""How long an update waits for the message it refers to."""
MAX_PENDING_UPDATES: Final = 10_000
"""Pending updates per account, and as many pending receipts."""
SEND_RECORD_LAG: Final = timedelta(seconds=5)
"""How much later than the sending itself its record may be dated."""

PENDING: Final = "waits for the message it refers to"
EXPIRED: Final = "the message it refers to did not arrive within 24 hours"
OVER_LIMIT: Final = "the message it refers to is unknown, and too many other updates wait"

_RANK: Final[dict[DeliveryState, int]] = {"sent": 0, "delivered": 1, "read": 2}

PendingPool = tuple[str, str, bool]
"""Channel, account, and whether it holds receipts: they must not crowd out other updates."""


def pool_of(entry: BatchEntry) -> PendingPool:
    """Return the pool in which an update waits."""
    is_receipt = entry.item is not None and entry.item.kind == "receipt"
    return entry.channel, entry.account, is_receipt


@dataclass(slots=True)
class MessageReference:
    """A message that updates may refer to: a customer's, or one of our own."""

    id: UUID
    request_id: UUID
    is_own: bool = False
    conversation: UUID | None = None
    platform_key: UUID | None = None
    """Of our own: its key by its platform id, within its numbering scope."""
    written_at: datetime | None = None
    sent_at: datetime | None = None
    state: DeliveryState | None = None

    def advances(self, state: DeliveryState) -> bool:
        """Return whether a delivery state is further than the known one, or a failure."""
        if self.state is None or "failed" in (state, self.state):
            return state != self.state
        return _RANK[state] > _RANK[self.state]

    def is_covered(self, until: datetime) -> bool:
        """Return whether a receipt of everything until then may include this message."""
        return self.is_own and self.written_at is not None and self.written_at <= until

    def was_sent(self, until: datetime) -> bool:
        """Return whether the message had been sent by then."""
        return self.sent_at is not None and self.sent_at - SEND_RECORD_LAG <= until


@dataclass(slots=True)
class PendingUpdate:
    """An update whose message has not arrived; `stored`: in an earlier batch."""

    entry: BatchEntry
    outcome: Outcome
    stored: bool = False


@dataclass(slots=True)
class MessageUpdates:
    """The messages that updates may refer to, and the pending updates."""

    now: datetime
    facts: list[tuple[Fact, Fact | None]]
    references: dict[UUID, MessageReference] = field(default_factory=dict)
    """Messages by each key under which updates find them."""
    own: dict[UUID, MessageReference] = field(default_factory=dict)
    """Our own messages by id."""
    changed: set[UUID] = field(default_factory=set)
    """Ids of our own messages that must be saved."""
    pending: dict[tuple[str, int], PendingUpdate] = field(default_factory=dict)
    settled: list[Outcome] = field(default_factory=list)
    """Outcomes of stored updates that are no longer pending."""
    _pending_by_key: dict[UUID, list[PendingUpdate]] = field(default_factory=dict)

    def add_message(self, key: UUID, message_id: UUID, request_id: UUID) -> None:
        """Register a message that has arrived, and apply the updates that waited for it."""
        self.references[key] = MessageReference(message_id, request_id)
        self._resolve(self._pending_by_key.pop(key, ()))

    def accept(self, entry: BatchEntry, item: InboundItem, outcome: Outcome) -> None:
        """Apply an update to its message, or keep it pending."""
        if not self.apply(entry, item, outcome):
            outcome.reason = PENDING
            self.add_pending(PendingUpdate(entry, outcome))

    def add_pending(self, update: PendingUpdate) -> None:
        """Keep an update pending under each key its message may have."""
        self.pending[update.entry.inbound_id, update.entry.n] = update
        for key in update.entry.pending_keys:
            self._pending_by_key.setdefault(key, []).append(update)

    def resolve_pending(self) -> None:
        """Apply the pending updates whose message is known by now, in sending order."""
        self._resolve(self.pending.values())

    def _resolve(self, updates: Iterable[PendingUpdate]) -> None:
        for update in sorted(updates, key=lambda update: ordering_key(update.entry)):
            entry, outcome = update.entry, update.outcome
            key = entry.inbound_id, entry.n
            if key not in self.pending or entry.item is None:
                continue
            if self.apply(entry, entry.item, outcome):
                del self.pending[key]
                if update.stored:
                    self.settled.append(outcome)

    def evict_over_limit(
        self, pool_sizes: Mapping[PendingPool, int], limit: int
    ) -> list[PendingUpdate]:
        """Remove and return the new pending updates that exceed the limit of their pool."""
        evicted = []
        room = {pool: limit - size for pool, size in pool_sizes.items()}
        for key, update in list(self.pending.items()):
            pool = pool_of(update.entry)
            if update.stored:
                continue
            room[pool] = room.get(pool, limit) - 1
            if room[pool] < 0:
                update.outcome.reason = OVER_LIMIT
                del self.pending[key]
                evicted.append(update)
        return evicted

    def expire(self, update: PendingUpdate) -> bool:
        """End the waiting of an update; return False if it is not pending any more."""
        key = update.entry.inbound_id, update.entry.n
        if self.pending.pop(key, None) is None:
            return False
        update.outcome.reason = EXPIRED
        self.settled.append(update.outcome)
        return True

    def apply(self, entry: BatchEntry, item: InboundItem, outcome: Outcome) -> bool:
        """Record the fact of an update whose message is known; return whether it is done."""
        if item.until is not None and not entry.target_keys:
            return self._apply_receipt_until(entry, item, outcome, item.until)
        found = (self.references[key] for key in entry.target_keys if key in self.references)
        target = next(found, None)
        if target is None or (item.kind == "receipt" and not target.is_own):
            return False
        outcome.request_id, outcome.reason = target.request_id, item.reason or item.kind
        at, trace = item.sent_at or entry.received_at, trace_fields(entry)
        common: dict[str, Any] = {"time": self.now, "request_id": target.request_id, **trace}
        match item.kind:
            case "edited":
                message = message_from(entry, item, target.id)
                self.facts.append((MessageEdited(message=message, **common), None))
            case "deleted":
                empty = Message(id=target.id, text="", sent_at=at, external_id=item.about)
                self.facts.append((MessageEdited(message=empty, deleted=True, **common), None))
            case "reacted":
                reacted = MessageReacted(
                    message_id=target.id,
                    reaction=item.reaction,
                    reacted_at=at,
                    contact_id=entry.contact,
                    number=platform_number(item),
                    **common,
                )
                self.facts.append((reacted, None))
            case _:
                self._report_delivery(target, entry, item)
        return True

    def _apply_receipt_until(
        self, entry: BatchEntry, item: InboundItem, outcome: Outcome, until: datetime
    ) -> bool:
        """Apply a receipt of everything sent until then; it is done when all of that is sent.

        Messages that other programs wrote in our name are unknown here and not waited for.
        """
        outcome.reason = item.reason or item.kind
        covered = [
            message
            for message in self.own.values()
            if message.conversation == entry.conversation and message.is_covered(until)
        ]
        for message in covered:
            if message.was_sent(until):
                outcome.request_id = message.request_id
                self._report_delivery(message, entry, item)
        return all(message.sent_at is not None for message in covered)

    def _report_delivery(
        self, message: MessageReference, entry: BatchEntry, item: InboundItem
    ) -> None:
        """Record the delivery state of our own message, unless it was known already."""
        state = item.state or "delivered"
        if not message.advances(state):
            return
        message.state = state
        self.changed.add(message.id)
        reported = DeliveryReported(
            time=self.now,
            request_id=message.request_id,
            state=state,
            message_id=message.id,
            platform_id=item.about,
            reason=item.reason if state == "failed" else None,
            permanent=item.permanent and state == "failed",
            **trace_fields(entry),
        )
        self.facts.append((reported, None))

    def record_own(
        self,
        facts: Iterable[ReplySent | DeliveryRecorded],
        conversations: Mapping[UUID, UUID],
        platform_keys: Mapping[UUID, UUID],
    ) -> None:
        """Register messages of our own, and apply the updates that waited for them."""
        for fact in facts:
            conversation = conversations.get(fact.request_id)
            if conversation is None:
                continue
            if isinstance(fact, ReplySent):
                self.record_reply(conversation, fact)
            else:
                self.record_delivery(conversation, fact, platform_keys.get(fact.message_id))
        self.resolve_pending()

    def record_reply(self, conversation: UUID, reply: ReplySent) -> None:
        """Register a reply of ours: receipts and reactions will refer to it."""
        message = self._own_message(conversation, reply.request_id, reply.message.id)
        message.written_at = message.written_at or reply.message.sent_at

    def record_delivery(
        self, conversation: UUID, recorded: DeliveryRecorded, platform_key: UUID | None
    ) -> None:
        """Register that a reply of ours was sent, and its key by its platform id."""
        message = self._own_message(conversation, recorded.request_id, recorded.message_id)
        message.sent_at = message.sent_at or recorded.time
        if message.advances("sent"):
            message.state = "sent"
        if platform_key is not None:
            message.platform_key = platform_key
            self.references[platform_key] = message

    def _own_message(self, conversation: UUID, request_id: UUID, id: UUID) -> MessageReference:
        message = self.own.setdefault(
            id, MessageReference(id, request_id, is_own=True, conversation=conversation)
        )
        self.references[id] = message
        self.changed.add(id)
        return message
