"""Business hours: the deadline after a number of working seconds, and the count between instants.

Windows are half-open spans of a day's local time in minutes, 0 to 1440, so 24:00 exists and
adjacent windows leave no gap. An instant counts when its local time is in a window of its local
date. So an hour repeated by a change to winter time counts twice, and a skipped hour not at all.
Arithmetic is always between UTC instants.
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
"""Days after which the search for a deadline is given up."""

MAX_CACHED_DAYS = 4096
"""Days whose spans each calendar caches."""

Window = tuple[int, int]
Span = tuple[datetime, datetime]
NO_HOLIDAYS: frozenset[date] = frozenset()


class NeverOpen(ValueError):
    """A calendar without enough business hours for a deadline."""


@dataclass(frozen=True)
class Calendar:
    """Business hours: windows for each weekday (0 is Monday) in a time zone, except holidays."""

    name: str
    zone: str = "UTC"
    week: Mapping[int, tuple[Window, ...]] = field(
        default_factory=lambda: dict.fromkeys(range(7), ((0, MINUTES_PER_DAY),))
    )
    holidays: Container[date] = NO_HOLIDAYS

    @cached_property
    def is_always_open(self) -> bool:
        """Return whether every second counts; then no day needs to be resolved."""
        return self.holidays == NO_HOLIDAYS and all(
            _covers_day(self.week.get(day, ())) for day in range(7)
        )

    def due(self, start: datetime, seconds: float) -> datetime:
        """Return the instant at which this many working seconds have passed since the start.

        Raises `NeverOpen` if the calendar has fewer in `MAX_DAYS` days.
        """
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
        """Return the working seconds between two instants."""
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
        """Yield the open spans from the day of the start on, in order."""
        day = datetime.combine(start.astimezone(UTC).date(), time(), UTC)
        for n in range(MAX_DAYS):
            yield from self._of_day(day + n * DAY)

    def _of_day(self, day: datetime) -> tuple[Span, ...]:
        """Return the open spans of a UTC day, from the cache if it is there."""
        spans = self._days.get(day)
        if spans is None:
            if len(self._days) > MAX_CACHED_DAYS:
                self._days.clear()
            spans = self._days[day] = tuple(self._resolve(day))
        return spans

    @cached_property
    def _days(self) -> dict[datetime, tuple[Span, ...]]:
        return {}

    def _resolve(self, day: datetime) -> Iterator[Span]:
        """Yield the open spans of a UTC day, computed for each stretch of one UTC offset."""
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
    """Split a span of at most a day where the UTC offset changes, which it does at most once."""
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
