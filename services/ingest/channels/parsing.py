"""Read values of JSON that strangers wrote: each function returns a value that can be stored, or
None."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
from pydantic import ValidationError

from ingest.domain.items import InboundItem, Unreadable
from ingest.domain.text import clean

ParsedItem = InboundItem | Unreadable
"""An item, or the reason why one of several cannot be read; the others are not lost with it."""

_URL = re.compile(r"https?://[^\s\x00-\x1f]{1,1990}")
_DEGREES = re.compile(r"\s?[+-]?[0-9]{1,3}(\.[0-9]{1,30})?\s?", re.ASCII)
MAX_NAME_CHARS, MAX_TEXT_CHARS = 255, 100_000
"""Characters kept of a name, and of a text; the delivery itself is stored whole."""
WRITTEN_KEYS = frozenset({"body", "caption", "text", "title"})
"""Keys of a platform's message that hold what people wrote; their objects are searched, too."""
MAX_NUMBER_DIGITS = 1_000
"""Digits of a number that is parsed as one."""


def parse(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; raises `Unreadable`."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _parse_lenient(body)
    if not isinstance(value, dict):
        raise Unreadable("the body is not a JSON object")
    return value


def _parse_lenient(body: bytes) -> Any:
    """Parse JSON that orjson refuses: lone surrogates and long numbers.

    `clean` replaces the surrogates later. A number with more digits than Python parses stays a
    text.
    """
    try:
        return json.loads(body, parse_int=_parse_int)
    except (ValueError, RecursionError):
        raise Unreadable("the body is not JSON") from None


def _parse_int(number: str) -> int | str:
    return int(number) if len(number) <= MAX_NUMBER_DIGITS else number


def unreadable_from(error: ValidationError) -> Unreadable:
    """Return the first validation error as a reason, without repeating the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    path = ".".join(str(part) for part in first["loc"]) or "body"
    return Unreadable(clean(f"{path}: {first['msg']}"[:500]))


def text_or_none(value: Any, limit: int | None = None) -> str | None:
    """Return a cleaned text, cut to the limit; None if it is blank or no text."""
    if not isinstance(value, str) or not value.strip():
        return None
    text = clean(value if limit is None else value[:limit])
    return text if text.strip() else None


def int_or_none(value: Any) -> int | None:
    """Return an integer of at most 64 bits, or None."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        return None
    return value


def timestamp(value: Any) -> datetime | None:
    """Return the time of Unix seconds, or None if it is outside this era."""
    seconds = int_or_none(value)
    if seconds is None or not 0 < seconds < 2**33:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def timestamp_from_ms(value: Any) -> datetime | None:
    """Return the time of Unix milliseconds, or None if it is outside this era."""
    millis = int_or_none(value)
    if millis is None or not 0 < millis < 2**33 * 1000:
        return None
    return datetime.fromtimestamp(millis / 1000, UTC)


def parse_timestamp(value: Any) -> datetime | None:
    """Return a time written as Unix seconds or milliseconds or in RFC 3339, or None.

    A time without a zone is None: it may be hours off.
    """
    if isinstance(value, str):
        text = value.strip()
        if not (text.isascii() and text.replace(".", "", 1).isdigit()):
            return _parse_iso(text)
        value = float(text[:32])
    if isinstance(value, bool) or not isinstance(value, int | float) or not value < 2**63:
        return None
    seconds = float(value) if value < 2**33 else value / 1000
    if not 0 < seconds < 2**33:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _parse_iso(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text[:40])
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def subobject(body: dict[str, Any], key: str) -> dict[str, Any]:
    """Return an object inside another; an empty one if it is missing."""
    value = body.get(key)
    return value if isinstance(value, dict) else {}


def identifier(value: Any) -> str | None:
    """Return an id that may be a number or a text; None if it is neither or too long."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if isinstance(value, int):
        return str(value) if abs(value) < 2**64 else None
    text = clean(value.strip())
    return text if 0 < len(text) <= MAX_NAME_CHARS else None


def byte_count(value: Any) -> int | None:
    """Return a number of bytes, or None."""
    count = int_or_none(value)
    return count if count is not None and 0 <= count < 2**53 else None


def url_or_none(value: Any) -> str | None:
    """Return an http or https URL, or None."""
    url = text_or_none(value)
    return url if url is not None and _URL.fullmatch(url) else None


def coordinates(latitude: Any, longitude: Any) -> tuple[float, float] | None:
    """Return latitude and longitude, which may be numbers or texts, or None."""
    found = []
    for raw, limit in ((latitude, 90), (longitude, 180)):
        value = float(raw) if isinstance(raw, str) and _DEGREES.fullmatch(raw) else raw
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= limit:
            return None
        found.append(float(value))
    return found[0], found[1]


def digest(value: Any) -> str:
    """Return the digest of a JSON value of any depth, independent of the order of its keys."""
    try:
        return sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
    except (orjson.JSONEncodeError, RecursionError):
        pass  # a number of more than 64 bits, a lone surrogate, or more than 254 levels
    try:
        return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    except RecursionError:
        return sha256("\n".join(_leaves(value)).encode()).hexdigest()


def digest_without_urls(value: Any) -> str:
    """Return the digest of a JSON value without its URLs, which platforms sign anew each time.

    URLs in the texts that people wrote are kept.
    """
    return digest(_without_urls(value, 50))


def _without_urls(value: Any, depth: int) -> Any:
    if depth == 0:
        return value
    match value:
        case dict():
            return {
                key: _without_urls(member, depth - 1)
                for key, member in value.items()
                if key in WRITTEN_KEYS or not _is_url(member)
            }
        case list():
            return [_without_urls(member, depth - 1) for member in value if not _is_url(member)]
    return value


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def _leaves(value: Any) -> Iterator[str]:
    """Yield the parts of a value in order, without recursion."""
    stack = [value]
    while stack:
        match stack.pop():
            case dict() as inner:
                yield f"object of {len(inner)}"
                for key in sorted(inner, reverse=True):
                    stack += [inner[key], key]
            case list() as listed:
                yield f"list of {len(listed)}"
                stack += reversed(listed)
            case leaf:
                yield json.dumps(leaf)
