"""What follows from edits, deletions, reactions and receipts: a fact about their message's request.

One that comes before its message waits for it. Pure: what is known is given, what follows is left.
Long: the four kinds share what is known of their message.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from ingest.domain.inbound_item import Arrival, Outcome, message_of, moment, number_of, trail_of
from ingest.domain.items import Item
from ingest.domain.references import TOO_LATE, TOO_MANY, WAITS, Known
from trunkline_contracts import (
    DeliveryRecorded,
    DeliveryReported,
    Fact,
    MessageEdited,
    MessageReacted,
    ReplySent,
)
from trunkline_contracts.parts import Message

Place = tuple[str, str, bool]
"""Where remarks wait: of each account, receipts apart, so that they crowd out nothing else."""


def place_of(arrival: Arrival) -> Place:
    """Say where a remark waits."""
    receipt = arrival.item is not None and arrival.item.kind == "receipt"
    return arrival.channel, arrival.account, receipt


@dataclass(slots=True)
class Waiting:
    """A remark whose message has not come yet; `stored`: since before this batch."""

    arrival: Arrival
    outcome: Outcome
    stored: bool = False


@dataclass(slots=True)
class Remarks:
    """The messages remarks may be about, and the remarks that wait."""

    now: datetime
    facts: list[tuple[Fact, Fact | None]]
    known: dict[UUID, Known] = field(default_factory=dict)
    """Messages by the names under which remarks find them."""
    ours: dict[UUID, Known] = field(default_factory=dict)
    """Messages of ours by their ids; those that are `reported` are not as they were."""
    reported: set[UUID] = field(default_factory=set)
    early: dict[tuple[str, int], Waiting] = field(default_factory=dict)
    caught_up: list[Outcome] = field(default_factory=list)
    """Of remarks that waited since before, and do so no more."""
    _waited_for: dict[UUID, list[Waiting]] = field(default_factory=dict)

    def heard(self, name: UUID, message_id: UUID, request_id: UUID) -> None:
        """A message has come: what waited for it goes where it went."""
        self.known[name] = Known(message_id, request_id)
        self._catch_up(self._waited_for.pop(name, ()))

    def take(self, arrival: Arrival, item: Item, outcome: Outcome) -> None:
        """What is said about a message goes where the message went, or waits for it."""
        if not self.pass_on(arrival, item, outcome):
            outcome.reason = WAITS
            self.wait(Waiting(arrival, outcome))

    def wait(self, waiting: Waiting) -> None:
        """Let a remark wait for its message, under each of the names that may have."""
        self.early[waiting.arrival.inbound_id, waiting.arrival.n] = waiting
        for name in waiting.arrival.waits_for:
            self._waited_for.setdefault(name, []).append(waiting)

    def catch_up(self) -> None:
        """Pass on what waited for messages that are known now, in the order it was said."""
        self._catch_up(self.early.values())

    def _catch_up(self, waited: Iterable[Waiting]) -> None:
        for waiting in sorted(waited, key=lambda each: moment(each.arrival)):
            arrival, outcome = waiting.arrival, waiting.outcome
            key = arrival.inbound_id, arrival.n
            if key not in self.early or arrival.item is None:
                continue
            if self.pass_on(arrival, arrival.item, outcome):
                del self.early[key]
                if waiting.stored:
                    self.caught_up.append(outcome)

    def no_room(self, taken: Mapping[Place, int], room: int) -> list[Waiting]:
        """Let no more wait than there is room for; gives those that have none."""
        none = []
        left = {place: room - count for place, count in taken.items()}
        for key, waiting in list(self.early.items()):
            place = place_of(waiting.arrival)
            if waiting.stored:
                continue
            left[place] = left.get(place, room) - 1
            if left[place] < 0:
                waiting.outcome.reason = TOO_MANY
                del self.early[key]
                none.append(waiting)
        return none

    def end(self, waiting: Waiting) -> bool:
        """Let a remark wait no longer, if it does still."""
        key = waiting.arrival.inbound_id, waiting.arrival.n
        if self.early.pop(key, None) is None:
            return False
        waiting.outcome.reason = TOO_LATE
        self.caught_up.append(waiting.outcome)
        return True

    def pass_on(self, arrival: Arrival, item: Item, outcome: Outcome) -> bool:
        """Tell what is said about a message that is known; whether that is all there is to it."""
        if item.until is not None and not arrival.about:
            return self._received_until(arrival, item, outcome, item.until)
        known = next((self.known[key] for key in arrival.about if key in self.known), None)
        if known is None or (item.kind == "receipt" and not known.ours):
            return False
        outcome.request_id, outcome.reason = known.request_id, item.reason or item.kind
        at, trail = item.sent_at or arrival.received_at, trail_of(arrival)
        about: dict[str, Any] = {"time": self.now, "request_id": known.request_id, **trail}
        match item.kind:
            case "edited":
                message = message_of(arrival, item, known.id)
                self.facts.append((MessageEdited(message=message, **about), None))
            case "deleted":
                gone = Message(id=known.id, text="", sent_at=at, external_id=item.about)
                self.facts.append((MessageEdited(message=gone, deleted=True, **about), None))
            case "reacted":
                reacted = MessageReacted(
                    message_id=known.id,
                    reaction=item.reaction,
                    reacted_at=at,
                    contact_id=arrival.contact,
                    number=number_of(item),
                    **about,
                )
                self.facts.append((reacted, None))
            case _:
                self._report(known, arrival, item)
        return True

    def _received_until(
        self, arrival: Arrival, item: Item, outcome: Outcome, until: datetime
    ) -> bool:
        """A receipt of everything until then; it waits while some of that is not out yet.

        Of what others wrote in our name nothing is known here, so it is not waited for.
        """
        outcome.reason = item.reason or item.kind
        ours = [
            each
            for each in self.ours.values()
            if each.conversation == arrival.conversation and each.covered(until)
        ]
        for known in (each for each in ours if each.was_out(until)):
            outcome.request_id = known.request_id
            self._report(known, arrival, item)
        return all(each.sent_at is not None for each in ours)

    def _report(self, known: Known, arrival: Arrival, item: Item) -> None:
        """Tell how far a message of ours has come, unless it was known to be there."""
        state = item.state or "delivered"
        if not known.advances(state):
            return
        known.state = state
        self.reported.add(known.id)
        reported = DeliveryReported(
            time=self.now,
            request_id=known.request_id,
            state=state,
            message_id=known.id,
            platform_id=item.about,
            reason=item.reason if state == "failed" else None,
            permanent=item.permanent and state == "failed",
            **trail_of(arrival),
        )
        self.facts.append((reported, None))

    def wrote(self, conversation: UUID, reply: ReplySent) -> None:
        """We wrote: receipts and reactions will be about it."""
        known = self._ours(conversation, reply.request_id, reply.message.id)
        known.written_at = known.written_at or reply.message.sent_at

    def sent(self, conversation: UUID, recorded: DeliveryRecorded, name: UUID | None) -> None:
        """What we wrote is on its way, and has a name on the platform."""
        known = self._ours(conversation, recorded.request_id, recorded.message_id)
        known.sent_at = known.sent_at or recorded.time
        if known.advances("sent"):
            known.state = "sent"
        if name is not None:
            known.platform = name
            self.known[name] = known

    def _ours(self, conversation: UUID, request_id: UUID, id: UUID) -> Known:
        known = self.ours.setdefault(
            id, Known(id, request_id, ours=True, conversation=conversation)
        )
        self.known[id] = known
        self.reported.add(id)
        return known
