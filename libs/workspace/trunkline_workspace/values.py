"""Value types of the workspace: ids, secret references, rates, time zones, hours of a week."""

import re
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import SchemaError, SchemaValidator, core_schema

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""An id that facts refer to: one token of a NATS subject, without dots and spaces."""

Reference = Annotated[str, Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$")]
Secret = Reference | Annotated[list[Reference], Field(min_length=1, max_length=2)]
"""The place of a secret, never the secret itself; two places while a secret is replaced."""

Url = Annotated[str, Field(pattern=r"^(sink|(https?|smtps?)://[^\s]+)$")]
"""An address to send to; `sink` is the stand-in for the outside world."""

Origin = Annotated[str, Field(pattern=r"^https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?$")]
"""The origin of a web page as browsers write it: lower-case, without a path."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_PER_DAY = 24 * 60

_RATE = re.compile(r"^([1-9][0-9]{0,8})/(s|min|h)$")
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_HOURS = re.compile(r"^([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9])$")


class Part(BaseModel):
    """A section of the document; an unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Retirable(Part):
    """A section with an id. It may retire, but facts refer to it, so it is never removed."""

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
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


def is_linear_time(pattern: str) -> bool:
    """Return True if matching the pattern takes time proportional to the text, whatever it is.

    >>> is_linear_time("^[0-9]{6}$"), is_linear_time("(?=a)a")
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
    """Return a rate per second.

    >>> per_second("120/min")
    2.0
    """
    count, seconds = parse_rate(rate)
    return count / seconds


def parse_rate(rate: str) -> tuple[int, int]:
    """Return a rate as a count and the seconds it is for.

    >>> parse_rate("20/min")
    (20, 60)
    """
    count, _, unit = rate.partition("/")
    return int(count), _SECONDS[unit]


def parse_hours(text: str) -> tuple[int, int]:
    """Return a half-open span of a day in minutes; 24:00 is the end of a day.

    Raises ValueError when the text is not a span.

    >>> parse_hours("09:00-13:00"), parse_hours("00:00-24:00")
    ((540, 780), (0, 1440))
    """
    match = _HOURS.match(text)
    if match is None:
        raise ValueError(f"not hours: {text!r} (allowed: such as 09:00-18:00, up to 24:00)")
    begins, ends = (int(match[i]) * 60 + int(match[i + 1]) for i in (1, 3))
    if not begins < ends <= MINUTES_PER_DAY:
        raise ValueError(f"not hours: {text!r} (allowed: an end after the start, at most 24:00)")
    return begins, ends


def parse_weekdays(text: str) -> range:
    """Return the weekdays that a key of `week` names; 0 is Monday.

    Raises ValueError when the text names no days.

    >>> list(parse_weekdays("mon-wed")), list(parse_weekdays("sun"))
    ([0, 1, 2], [6])
    """
    first, dash, last = text.partition("-")
    if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
        raise ValueError(
            f"not a day: {text!r} (allowed: {', '.join(WEEKDAYS)}, or a span such as mon-fri)"
        )
    span = range(WEEKDAYS.index(first), WEEKDAYS.index(last if dash else first) + 1)
    if not span:
        raise ValueError(f"not a span of days: {text!r} (allowed: from mon forward to sun)")
    return span
