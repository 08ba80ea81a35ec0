"""Weekly windows: `{mon-fri: ["09:00-13:00", "14:00-18:00"]}`, half-open, up to and including 24:00."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"^([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])$")
FULL_DAY = 24 * 60


def days_of(name: str) -> list[int]:
    """Give the days a key means, Monday being 0: `mon`, `mon-fri`, `sat-mon`."""
    first, dash, last = name.partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        raise ValueError(f"{name!r} is no day or range of days (allowed: {', '.join(DAYS)}, mon-fri)")
    start, end = DAYS.index(first), DAYS.index(last) if dash else DAYS.index(first)
    return [(start + n) % 7 for n in range((end - start) % 7 + 1)]


def minutes_of(window: str) -> tuple[int, int]:
    """Give a window's first minute and the minute after its last, of the day."""
    found = _WINDOW.match(window)
    if found is None:
        raise ValueError(f"{window!r} is no window (such as 09:00-18:00, up to 24:00)")
    h1, m1, h2, m2 = map(int, found.groups())
    start, end = h1 * 60 + m1, h2 * 60 + m2
    if not start < end <= FULL_DAY:
        raise ValueError(f"{window!r} does not end after it begins, within one day")
    return start, end


def windows_of(week: Mapping[str, list[str]]) -> list[list[tuple[int, int]]]:
    """Give each day's windows in minutes, ordered; adjacent ones become one."""
    days: list[list[tuple[int, int]]] = [[] for _ in DAYS]
    for name, windows in week.items():
        for day in days_of(name):
            days[day] += [minutes_of(window) for window in windows]
    return [_joined(sorted(day)) for day in days]


def _joined(windows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in windows:
        if joined and start < joined[-1][1]:
            raise ValueError("windows of one day overlap")
        if joined and start == joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _checked(value: Any) -> Any:
    if isinstance(value, dict):
        for windows in value.values():
            if not isinstance(windows, list) or not all(isinstance(w, str) for w in windows):
                raise ValueError("a day has a list of windows")
        if not any(windows_of(value)):
            raise ValueError("no window at all: time would never count")
    return value


Week = Annotated[dict[str, list[str]], BeforeValidator(_checked)]
