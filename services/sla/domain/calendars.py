"""Working time: when seconds that count have passed, and how many did. No I/O.

Windows are half-open spans of a day's local time in minutes, 0 to 1440, so that 24:00 exists and
adjacent windows leave no gap. They are resolved to instants date by date: arithmetic is always
between instants, so a change of the clocks neither loses nor doubles time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
MINUTES = 24 * 60
FOREVER = 4000
"""After so many days without enough working time a deadline is not looked for any further."""

Window = tuple[int, int]


class NeverOpen(ValueError):
    """A calendar that does not open cannot carry a deadline."""


@dataclass(frozen=True)
class Calendar:
    """Working hours: windows per weekday (0 is Monday) in a time zone, but not on holidays."""

    name: str
    zone: str = "UTC"
    week: Mapping[int, tuple[Window, ...]] = field(
        default_factory=lambda: dict.fromkeys(range(7), ((0, MINUTES),))
    )
    holidays: frozenset[date] = frozenset()

    @cached_property
    def always(self) -> bool:
        """Tell whether every second counts; then no date needs to be resolved."""
        return not self.holidays and all(_whole(self.week.get(day, ())) for day in range(7))

    def due(self, start: datetime, seconds: float) -> datetime:
        """Give the instant at which so many seconds of working time have passed since the start."""
        if self.always or seconds <= 0:
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
        if self.always:
            return (end - start).total_seconds()
        total = timedelta()
        for opens, closes in self._spans(start):
            if opens >= end:
                break
            total += max(min(closes, end) - max(opens, start), timedelta())
        return total.total_seconds()

    def _spans(self, start: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Give the open spans as instants, from the day before the start on."""
        zone = ZoneInfo(self.zone)
        first = start.astimezone(zone).date() - DAY
        for n in range(FOREVER):
            day = first + n * DAY
            if day in self.holidays:
                continue
            for opens, closes in self.week.get(day.weekday(), ()):
                begin, end = _instant(day, opens, zone), _instant(day, closes, zone)
                if begin < end:
                    yield begin, end


def _whole(windows: tuple[Window, ...]) -> bool:
    reached = 0
    for opens, closes in sorted(windows):
        if opens > reached:
            return False
        reached = max(reached, closes)
    return reached >= MINUTES


def _instant(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """Resolve a local minute: of a repeated one the first, of a skipped one the change itself."""
    days, rest = divmod(minute, MINUTES)
    local = datetime.combine(day + days * DAY, time(rest // 60, rest % 60))
    late = local.replace(tzinfo=zone).astimezone(UTC)
    if late.astimezone(zone).replace(tzinfo=None) == local:
        return late
    early = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    before = early.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = early + timedelta(seconds=(late - early) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late
