"""Working time against a walk from minute to minute, over every change of the clocks there is."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sla.configuration import DaysOff
from sla.domain.calendars import Calendar

MINUTE = timedelta(minutes=1)

CHANGES = {
    "Europe/Kyiv": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "Europe/London": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "Europe/Dublin": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "Europe/Istanbul": ("2015-11-08T01:00", "2016-09-06T21:00"),
    "Australia/Lord_Howe": ("2026-04-04T15:00", "2026-10-03T15:30"),
    "Australia/Adelaide": ("2026-04-04T16:30", "2026-10-03T16:30"),
    "Pacific/Apia": ("2011-12-30T10:00", "2012-04-01T14:00"),
    "Pacific/Auckland": ("2026-04-04T14:00", "2026-09-26T14:00"),
    "Pacific/Chatham": ("2026-04-04T14:00", "2026-09-26T14:00"),
    "Africa/Casablanca": ("2026-02-15T02:00", "2026-03-22T02:00"),
    "Africa/Cairo": ("2026-04-23T22:00", "2026-10-29T21:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "America/St_Johns": ("2026-03-08T05:30", "2026-11-01T04:30"),
    "America/Havana": ("2026-03-08T05:00", "2026-11-01T05:00"),
    "America/Santiago": ("2026-04-05T03:00", "2026-09-06T04:00"),
    "America/Caracas": ("2007-12-09T07:00", "2016-05-01T07:00"),
    "Asia/Beirut": ("2026-03-28T22:00", "2026-10-24T21:00"),
    "Asia/Kathmandu": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "Asia/Pyongyang": ("2015-08-14T15:00", "2018-05-04T15:00"),
    "UTC": ("2026-03-29T01:00", "2026-10-25T01:00"),
}
"""Twenty zones, and instants about which their clocks change or might."""

windows = st.lists(st.integers(0, 1440), min_size=2, max_size=6, unique=True).map(
    lambda cuts: tuple(zip(sorted(cuts)[::2], sorted(cuts)[1::2], strict=False))
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Calendar, datetime, timedelta]:
    zone = draw(st.sampled_from(sorted(CHANGES)))
    change = utc(draw(st.sampled_from(CHANGES[zone])))
    start = change + draw(st.integers(-2000, 1000)) * MINUTE
    week = draw(st.dictionaries(st.integers(0, 6), windows, min_size=1))
    near = st.integers(-2, 3).map(lambda days: (change + timedelta(days=days)).date())
    holidays = draw(st.frozensets(near, max_size=2))
    calendar = Calendar("drawn", zone, week, holidays)
    return calendar, start, draw(st.integers(0, 3000)) * MINUTE


def counts(calendar: Calendar, at: datetime) -> bool:
    """Whether the minute from here on counts: what the clock on the wall says, and nothing else."""
    local = at.astimezone(ZoneInfo(calendar.zone))
    minute = local.hour * 60 + local.minute
    return local.date() not in calendar.holidays and any(
        opens <= minute < closes for opens, closes in calendar.week.get(local.weekday(), ())
    )


def walked(calendar: Calendar, start: datetime, minutes: int) -> list[bool]:
    return [counts(calendar, start + n * MINUTE) for n in range(minutes)]


def compare(case: tuple[Calendar, datetime, timedelta]) -> None:
    calendar, start, length = case
    end, minutes = start + length, length // MINUTE
    steps = walked(calendar, start, minutes)
    total = 60.0 * sum(steps)
    assert calendar.elapsed(start, end) == total
    middle = start + length / 2
    assert calendar.elapsed(start, middle) + calendar.elapsed(middle, end) == total
    passed = 0
    for n, counted in enumerate(steps):
        if counted:
            assert calendar.due(start, 60.0 * passed + 30) == start + n * MINUTE + MINUTE / 2
            passed += 1
            if passed == 3:
                break
    if total:
        due = calendar.due(start, total)
        assert due <= end
        assert calendar.elapsed(start, due) == total
        last = max(n for n, counted in enumerate(steps) if counted)
        assert due == start + (last + 1) * MINUTE


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(cases())
def test_working_time_is_what_a_walk_over_the_minutes_counts(
    case: tuple[Calendar, datetime, timedelta],
) -> None:
    compare(case)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_it_is_in_twenty_thousand_cases(case: tuple[Calendar, datetime, timedelta]) -> None:
    compare(case)


@pytest.mark.parametrize(
    ("zone", "window", "start", "end", "hours"),
    [
        # 03:00 to 04:00 is not there
        ("Europe/Kyiv", (180, 240), "2026-03-28T22:00", "2026-03-29T21:00", 0),
        ("Europe/Kyiv", (120, 300), "2026-03-28T22:00", "2026-03-29T21:00", 2),
        # 03:00 to 04:00 is there twice, and so is any part of it
        ("Europe/Kyiv", (180, 240), "2026-10-24T21:00", "2026-10-25T22:00", 2),
        ("Europe/Kyiv", (180, 210), "2026-10-24T21:00", "2026-10-25T22:00", 1),
        ("Europe/Kyiv", (0, 1440), "2026-10-24T21:00", "2026-10-25T22:00", 25),
        # half an hour
        ("Australia/Lord_Howe", (0, 1440), "2026-04-04T13:00", "2026-04-05T13:30", 24.5),
        ("Australia/Lord_Howe", (90, 120), "2026-04-04T13:00", "2026-04-05T13:30", 1),
        # the 30th of December 2011 never was
        ("Pacific/Apia", (540, 1080), "2011-12-29T10:00", "2011-12-31T10:00", 18),
        # the clocks go back for Ramadan
        ("Africa/Casablanca", (0, 1440), "2026-02-14T23:00", "2026-02-16T00:00", 25),
    ],
)
def test_changes_of_the_clocks(
    zone: str, window: tuple[int, int], start: str, end: str, hours: float
) -> None:
    calendar = Calendar("c", zone, dict.fromkeys(range(7), (window,)))
    assert calendar.elapsed(utc(start), utc(end)) == hours * 3600


def test_a_part_of_the_repeated_hour_counts_on_both_passes() -> None:
    calendar = Calendar("c", "Europe/Kyiv", dict.fromkeys(range(7), ((180, 210), (225, 240))))
    start = utc("2026-10-24T22:00")
    assert calendar.due(start, 1800) == utc("2026-10-25T00:30")
    assert calendar.due(start, 1801) == utc("2026-10-25T00:45:01")
    assert calendar.due(start, 2701) == utc("2026-10-25T01:00:01")
    assert calendar.due(start, 5400) == utc("2026-10-25T02:00")


def test_public_holidays_are_a_countrys_and_further_dates_come_on_top() -> None:
    off = DaysOff("DE", frozenset({date(2026, 12, 28)}))
    week = dict.fromkeys(range(5), ((540, 1080),))
    calendar = Calendar("office", "Europe/Berlin", week, off)

    assert date(2026, 12, 25) in off
    assert date(2027, 1, 1) in off
    assert date(2026, 12, 24) not in off
    assert not calendar.always
    thursday = utc("2026-12-24T16:30")  # 17:30 in Berlin
    assert calendar.due(thursday, 3600) == utc("2026-12-29T08:30")
