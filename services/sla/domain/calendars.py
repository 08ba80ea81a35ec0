"""Working time: when seconds that count have passed, and how many did. No I/O.

Windows are half-open spans of a day's local time in minutes, 0 to 1440, so that 24:00 exists and
adjacent windows leave no gap. An instant counts when its local time stands in a window of its local
date: an hour the clocks repeat counts twice, one they skip not at all. Arithmetic is always between
instants.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
MINUTES_PER_DAY = 24 * 60
MAX_DAYS = 4000
"""After so many days without enough working time a deadline is not looked for any further."""

MAX_CACHED_DAYS = 4096
"""Days whose spans are remembered by each calendar."""

Window = tuple[int, int]
Span = tuple[datetime, datetime]
NO_HOLIDAYS: frozenset[date] = frozenset()


class NeverOpen(ValueError):
    """A calendar that does not open cannot carry a deadline."""


@dataclass(frozen=True)
class Calendar:
    """Working hours: windows per weekday (0 is Monday) in a time zone, but not on holidays."""

    name: str
    zone: str = "UTC"
    week: Mapping[int, tuple[Window, ...]] = field(
        default_factory=lambda: dict.fromkeys(range(7), ((0, MINUTES_PER_DAY),))
    )
    holidays: Container[date] = NO_HOLIDAYS

    @cached_property
    def is_always_open(self) -> bool:
        """Tell whether every second counts; then no date needs to be resolved."""
        return self.holidays == NO_HOLIDAYS and all(
            _covers_day(self.week.get(day, ())) for day in range(7)
        )

    def due(self, start: datetime, seconds: float) -> datetime:
        """Give the instant at which so many seconds of working time have passed since the start."""
        if self.is_always_open or seconds <= 0:
            return start + timedelta(seconds=max(seconds, 0.0))
        left = timedelta(seconds=seconds)
        for opens, closes in self._spans(start):
            begin = max(opens, start)
            if closes - begin >= left:
                return begin + left
            left -= max(closes - begin, timedelta())
        raise NeverOpen(f"calendar {self.name!r} has no {seconds} s of working time")

    def elapsed(self, start: datetime, end: datetime) -> float:
        """Count the seconds of working time between two instants."""
        if end <= start:
            return 0.0
        if self.is_always_open:
            return (end - start).total_seconds()
        total = timedelta()
        for opens, closes in self._spans(start):
            if opens >= end:
                break
            total += max(min(closes, end) - max(opens, start), timedelta())
        return total.total_seconds()

    def _spans(self, start: datetime) -> Iterator[Span]:
        """Give the open spans from the day of the start on, in order."""
        day = datetime.combine(start.astimezone(UTC).date(), time(), UTC)
        for n in range(MAX_DAYS):
            yield from self._of_day(day + n * DAY)

    def _of_day(self, day: datetime) -> tuple[Span, ...]:
        """Give the open spans of a UTC day; few days are asked for again and again."""
        known = self._days.get(day)
        if known is None:
            if len(self._days) > MAX_CACHED_DAYS:
                self._days.clear()
            known = self._days[day] = tuple(self._resolve(day))
        return known

    @cached_property
    def _days(self) -> dict[datetime, tuple[Span, ...]]:
        return {}

    def _resolve(self, day: datetime) -> Iterator[Span]:
        """Cut a day where its clocks change: in between, local time runs as evenly as UTC."""
        for begin, end, offset in _stretches(day, day + DAY, ZoneInfo(self.zone)):
            local = (begin + offset).replace(tzinfo=None)
            until = (end + offset).replace(tzinfo=None)
            today = local.date()
            while (midnight := datetime.combine(today, time())) < until:
                for opens, closes in self._hours(today):
                    first = max(midnight + timedelta(minutes=opens), local)
                    last = min(midnight + timedelta(minutes=closes), until)
                    if first < last:
                        yield _utc(first, offset), _utc(last, offset)
                today += DAY

    def _hours(self, day: date) -> Sequence[Window]:
        return () if day in self.holidays else sorted(self.week.get(day.weekday(), ()))


def _covers_day(windows: tuple[Window, ...]) -> bool:
    reached = 0
    for opens, closes in sorted(windows):
        if opens > reached:
            return False
        reached = max(reached, closes)
    return reached >= MINUTES_PER_DAY


def _stretches(
    begin: datetime, end: datetime, zone: ZoneInfo
) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Cut a span of a day at most into stretches of one offset each; one change a day at most."""
    first, last = _offset(begin, zone), _offset(end - SECOND, zone)
    if first == last:
        yield begin, end, first
        return
    before, after = begin, end - SECOND
    while after - before > SECOND:
        middle = before + SECOND * ((after - before) // SECOND // 2)
        if _offset(middle, zone) == first:
            before = middle
        else:
            after = middle
    yield begin, after, first
    yield after, end, last


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _utc(local: datetime, offset: timedelta) -> datetime:
    return (local - offset).replace(tzinfo=UTC)
