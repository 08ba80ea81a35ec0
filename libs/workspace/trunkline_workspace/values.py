"""The small values a workspace is written in: names, references, rates, zones, hours of a week."""

import re
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import SchemaError, SchemaValidator, core_schema

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""A name facts refer to: one token of a subject, never with a dot or a space."""

Reference = Annotated[str, Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$")]
Secret = Reference | Annotated[list[Reference], Field(min_length=1, max_length=2)]
"""Where a secret is; two places while one replaces the other. Never the secret itself."""

Url = Annotated[str, Field(pattern=r"^(sink|(https?|smtps?)://[^\s]+)$")]
"""Where to send to; `sink` is the stand-in for the outside world."""

Origin = Annotated[str, Field(pattern=r"^https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?$")]
"""Where a page comes from, as browsers write it: in small letters, without a path."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES = 24 * 60

_RATE = re.compile(r"^([1-9][0-9]{0,8})/(s|min|h)$")
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_WINDOW = re.compile(r"^([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9])$")


class Part(BaseModel):
    """A piece of the document; a key it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Kept(Part):
    """A piece with an id: once known it may retire, but it never vanishes."""

    retired: bool = False


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("not a time zone (allowed: IANA names such as Europe/Kyiv)") from None
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as why:
        raise ValueError(f"not a regular expression: {why}") from None
    return value


def takes_no_time(pattern: str) -> bool:
    """Whether a pattern can be matched in time proportional to the text, whatever the text.

    >>> takes_no_time("^[0-9]{6}$"), takes_no_time("(?=a)a")
    (True, False)
    """
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return False
    return True


def _rate(value: str) -> str:
    if not _RATE.match(value):
        raise ValueError("not a rate (allowed: such as 1000/s, 60/min, 500/h)")
    return value


Zone = Annotated[str, AfterValidator(_zone)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Rate = Annotated[str, AfterValidator(_rate)]


def per_second(rate: str) -> float:
    """Give a rate as a number.

    >>> per_second("120/min")
    2.0
    """
    count, seconds = allowance(rate)
    return count / seconds


def allowance(rate: str) -> tuple[int, int]:
    """Give a rate as a number, and the seconds it is for.

    >>> allowance("20/min")
    (20, 60)
    """
    count, _, unit = rate.partition("/")
    return int(count), _SECONDS[unit]


def window(text: str) -> tuple[int, int]:
    """Give a half-open span of a day in minutes; 24:00 ends a day.

    >>> window("09:00-13:00"), window("00:00-24:00")
    ((540, 780), (0, 1440))
    """
    found = _WINDOW.match(text)
    if found is None:
        raise ValueError("not hours (allowed: such as 09:00-18:00, up to 24:00)")
    begins, ends = (int(found[i]) * 60 + int(found[i + 1]) for i in (1, 3))
    if not begins < ends <= MINUTES:
        raise ValueError("not hours: must end after they begin, at 24:00 at the latest")
    return begins, ends


def days(text: str) -> range:
    """Give the weekdays a key of a week names, 0 being Monday.

    >>> list(days("mon-wed")), list(days("sun"))
    ([0, 1, 2], [6])
    """
    first, dash, last = text.partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        raise ValueError(f"not a day (allowed: {', '.join(DAYS)}, or a span such as mon-fri)")
    span = range(DAYS.index(first), DAYS.index(last if dash else first) + 1)
    if not span:
        raise ValueError("not a span of days: must not go over the week's end")
    return span
