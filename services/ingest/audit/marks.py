"""The highest acknowledgements of a gateway: evidence of the sequences INBOUND must contain."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

MAX_OLDER_MARKS = 16
"""Marks of earlier epochs kept until they are stored: one for each set-back of INBOUND while
PostgreSQL is away."""


@dataclass(frozen=True, slots=True)
class Mark:
    """An acknowledged delivery: its last sequence, and INBOUND's epoch as known at that time."""

    sequence: int
    inbound_id: str
    at: datetime
    epoch: int


def last_before_set_back(marks: Sequence[Mark], epoch: int) -> Mark | None:
    """Return the mark of an epoch that ends, or None; `marks` are a snapshot of one replica.

    It is the first one. The others were recorded after the set-back, before it was detected: their
    sequences belong to the next epoch, and would count as lost in this one.
    """
    return next((mark for mark in marks if mark.epoch == epoch), None)


class Marks:
    """The marks of one replica, in memory, so that accepting a delivery needs no PostgreSQL.

    Waves are published one after the other. A sequence that is not above those of the waves before
    was therefore given out a second time: INBOUND was set back, and the highest mark is kept.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.epoch = 0
        """The epoch of INBOUND as this replica knows it."""
        self._clock = clock
        self._highest: Mark | None = None
        self._older: list[Mark] = []
        self._stored: Mark | None = None
        self._floor = 0

    def begin_wave(self) -> None:
        """Begin a wave: its sequences will be above all that were acknowledged before."""
        self._floor = self._highest.sequence if self._highest else 0

    def record(self, sequence: int, inbound_id: str) -> None:
        """Record an acknowledgement."""
        highest = self._highest
        if highest is not None and self._floor < sequence <= highest.sequence:
            return
        if highest is not None and sequence <= self._floor:
            self._older = [*self._older, highest][-MAX_OLDER_MARKS:]
            self._floor = 0
        self._highest = Mark(sequence, inbound_id, self._clock(), self.epoch)

    def snapshot(self) -> list[Mark]:
        """Return the unstored marks of earlier epochs, then the highest mark."""
        return [*self._older, *([self._highest] if self._highest else [])]

    def is_stored(self, mark: Mark) -> bool:
        """Return whether this highest mark was stored in PostgreSQL."""
        return mark == self._stored

    def mark_stored(self, marks: Iterable[Mark]) -> None:
        """Drop the older of these marks, and remember that the highest is stored."""
        stored = set(marks)
        self._older = [mark for mark in self._older if mark not in stored]
        if self._highest in stored:
            self._stored = self._highest
