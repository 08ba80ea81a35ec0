"""Distinguish the messages of a stream's owner from those of other publishers.

A reader believes a position when the message follows the chain of its slot. Anything else is
compared with the owner's outbox, which costs a replay; what the outbox does not have is foreign.
"""

from typing import NamedTuple

from chassis.messaging.message import StreamMessage
from chassis.messaging.resuming import is_recorded

MAX_POSITION_STEP = 1000
"""The largest step between two positions that is believed without the owner."""


class Doubt(NamedTuple):
    """A message that the owner has to prove: by its fact at `until`, after the slot's position."""

    slot: int
    until: int
    stream_sequence: int


def doubt_about(item: StreamMessage, position: int, at: int, highest: int) -> Doubt | None:
    """Return what the owner has to prove about a message beyond the position `at` of its slot.

    `highest` is the highest position of all slots. The predecessor is missing when it is beyond
    `at`. After a reset, and in a foreign message, it is before `at`.
    """
    if item.previous > at:
        return Doubt(item.slot, item.previous, item.stream_sequence)
    is_next = item.previous == at and position - highest <= MAX_POSITION_STEP
    if is_next and is_recorded(item.subject, item.headers.get("Nats-Msg-Id", ""), item.data):
        return None
    return Doubt(item.slot, position, item.stream_sequence)


class ForeignMessages:
    """The messages of one stream that are known to be foreign."""

    def __init__(self) -> None:
        self._refuted: set[int] = set()
        self._counted = 0
        self._created = ""

    def begin(self, created: str, sequence: int) -> None:
        """Begin to read a stream behind `sequence`; drop what is known of another creation."""
        if created != self._created:
            self._refuted, self._counted, self._created = set(), 0, created
        self._refuted = {refuted for refuted in self._refuted if refuted >= sequence}

    def refute(self, stream_sequence: int) -> None:
        """Remember a message that the owner's outbox does not have."""
        self._refuted.add(stream_sequence)

    def contains(self, item: StreamMessage) -> bool:
        """Return whether a message is foreign."""
        return item.position is None or item.stream_sequence in self._refuted

    def count(self, item: StreamMessage) -> bool:
        """Return whether this foreign message is read for the first time."""
        is_first = item.stream_sequence > self._counted
        self._counted = max(self._counted, item.stream_sequence)
        return is_first
