"""Reading what strangers wrote: any bytes give a value or `Unreadable`; text can be kept.

Longer than other files because each kind of value there is, is read here for all channels.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
from pydantic import ValidationError

from ingest.domain.items import Unreadable
from ingest.domain.text import clean

_LINK = re.compile(r"https?://[^\s\x00-\x1f]{1,1990}")
_DEGREES = re.compile(r"\s?[+-]?[0-9]{1,3}(\.[0-9]{1,30})?\s?", re.ASCII)
SHORT, LONGEST = 255, 100_000
"""Characters of a name, and of a text; the delivery itself is kept whole."""
WRITTEN = frozenset({"body", "caption", "text", "title"})
"""Where in a platform's message there is what people wrote; an object there is looked into."""
DIGITS = 1_000
"""Of a number that is read as one."""


def parse(body: bytes) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _parse_lenient(body)
    if not isinstance(value, dict):
        raise Unreadable("the body is not a JSON object")
    return value


def _parse_lenient(body: bytes) -> Any:
    """Lone surrogates are valid JSON, though no text; they are replaced later, by `clean`.

    So is a number of any length; one that is longer than Python reads is kept as it was written.
    """
    try:
        return json.loads(body, parse_int=_long)
    except (ValueError, RecursionError):
        raise Unreadable("the body is not JSON") from None


def _long(number: str) -> int | str:
    return int(number) if len(number) <= DIGITS else number


def unreadable(bad: ValidationError) -> Unreadable:
    """Say what is wrong with a body, without repeating it."""
    first = bad.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return Unreadable(clean(f"{where}: {first['msg']}"[:500]))


def words(value: Any, limit: int | None = None) -> str | None:
    """Give a text that says something, or None."""
    if not isinstance(value, str) or not value.strip():
        return None
    told = clean(value if limit is None else value[:limit])
    return told if told.strip() else None


def whole(value: Any) -> int | None:
    """Give a whole number of 64 bits, or None."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        return None
    return value


def instant(value: Any) -> datetime | None:
    """Give the instant of a unix time, or None when it is none of this era."""
    seconds = whole(value)
    if seconds is None or not 0 < seconds < 2**33:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def instant_of_millis(value: Any) -> datetime | None:
    """Give the instant of a unix time in milliseconds, or None when it is none of this era."""
    millis = whole(value)
    if millis is None or not 0 < millis < 2**33 * 1000:
        return None
    return datetime.fromtimestamp(millis / 1000, UTC)


def instant_of(value: Any) -> datetime | None:
    """Give the instant a program wrote down: unix seconds or milliseconds, or RFC 3339.

    A time without a zone is None: it may be hours away from what it seems.
    """
    if isinstance(value, str):
        told = value.strip()
        if not (told.isascii() and told.replace(".", "", 1).isdigit()):
            return _written(told)
        value = float(told[:32])
    if isinstance(value, bool) or not isinstance(value, int | float) or not value < 2**63:
        return None
    seconds = float(value) if value < 2**33 else value / 1000
    if not 0 < seconds < 2**33:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _written(told: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(told[:40])
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def part(body: dict[str, Any], key: str) -> dict[str, Any]:
    """Give an object inside another; an empty one where there is none."""
    value = body.get(key)
    return value if isinstance(value, dict) else {}


def named(value: Any) -> str | None:
    """Give an id, which some write as a number and some as a text; None when it is neither."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if isinstance(value, int):
        return str(value) if abs(value) < 2**64 else None
    told = clean(value.strip())
    return told if 0 < len(told) <= SHORT else None


def size(value: Any) -> int | None:
    """Give a number of bytes, or None."""
    told = whole(value)
    return told if told is not None and 0 <= told < 2**53 else None


def link(value: Any) -> str | None:
    """Give an address on the web that can be followed, or None."""
    told = words(value)
    return told if told is not None and _LINK.fullmatch(told) else None


def degrees(latitude: Any, longitude: Any) -> tuple[float, float] | None:
    """Give a place on the globe, or None; some write its numbers as texts."""
    found = []
    for told, most in ((latitude, 90), (longitude, 180)):
        value = float(told) if isinstance(told, str) and _DEGREES.fullmatch(told) else told
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
            return None
        found.append(float(value))
    return found[0], found[1]


def digest(value: Any) -> str:
    """Sum up a JSON value, whatever the order of its keys, and however deep it is."""
    try:
        return sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
    except (orjson.JSONEncodeError, RecursionError):
        pass  # a number of more than 64 bits, a lone surrogate, or more than 254 levels
    try:
        return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    except RecursionError:
        return sha256("\n".join(_leaves(value)).encode()).hexdigest()


def digest_but_addresses(value: Any) -> str:
    """Sum up a JSON value of a platform that signs addresses anew for whoever is told of them.

    What people wrote stays in, be it an address.
    """
    return digest(_without_addresses(value, 50))


def _without_addresses(value: Any, deep: int) -> Any:
    if deep == 0:
        return value
    match value:
        case dict():
            return {
                key: _without_addresses(one, deep - 1)
                for key, one in value.items()
                if key in WRITTEN or not _is_address(one)
            }
        case list():
            return [_without_addresses(one, deep - 1) for one in value if not _is_address(one)]
    return value


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def _leaves(value: Any) -> Iterator[str]:
    """Give what a value is made of, in order, without recursion."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as inner:
                yield f"object of {len(inner)}"
                for key in sorted(inner, reverse=True):
                    waiting += [inner[key], key]
            case list() as listed:
                yield f"list of {len(listed)}"
                waiting += reversed(listed)
            case leaf:
                yield json.dumps(leaf)
