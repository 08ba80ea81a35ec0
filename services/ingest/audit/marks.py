"""The highest acknowledgements a door has had: evidence of what INBOUND must contain."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

MAX_OLDER_MARKS = 16
"""Marks of earlier epochs that wait to be stored; each is one set-back while PostgreSQL is away."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One acknowledged delivery: its last sequence, and the epoch the door believed in then."""

    sequence: int
    inbound_id: str
    at: datetime
    epoch: int


class Marks:
    """What one replica's door has had acknowledged; in memory, so that the door waits for nothing.

    Waves are published one after the other, so a sequence that is not above those of the waves
    before it was given out a second time: INBOUND was set back, and the mark until then is kept.
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
        """Begin a wave: all its sequences will be above those acknowledged until now."""
        self._floor = self._highest.sequence if self._highest else 0

    def note(self, sequence: int, inbound_id: str) -> None:
        """Remember an acknowledgement."""
        highest = self._highest
        if highest is not None and self._floor < sequence <= highest.sequence:
            return
        if highest is not None and sequence <= self._floor:
            self._older = [*self._older, highest][-MAX_OLDER_MARKS:]
            self._floor = 0
        self._highest = Mark(sequence, inbound_id, self._clock(), self.epoch)

    def known(self) -> list[Mark]:
        """Return the highest mark, after those of earlier epochs that PostgreSQL lacks."""
        return [*self._older, *([self._highest] if self._highest else [])]

    def is_stored(self, mark: Mark) -> bool:
        """Whether PostgreSQL was given this mark."""
        return mark == self._stored

    def stored(self, marks: Iterable[Mark]) -> None:
        """Forget what PostgreSQL has."""
        done = set(marks)
        self._older = [mark for mark in self._older if mark not in done]
        if self._highest in done:
            self._stored = self._highest
