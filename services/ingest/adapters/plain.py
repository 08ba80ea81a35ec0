"""Reading what strangers wrote: any bytes give a value or `Unreadable`; text can be kept."""

import json
import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
from pydantic import ValidationError

from ingest.adapters.item import Unreadable

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
SHORT = 255


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
    """Lone surrogates are valid JSON, though no text; they are replaced later, by `clean`."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unreadable("the body is not JSON") from None


def unreadable(bad: ValidationError) -> Unreadable:
    """Say what is wrong with a body, without repeating it."""
    first = bad.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return Unreadable(clean(f"{where}: {first['msg']}"[:500]))


def clean(text: str) -> str:
    """Replace what no database keeps as text."""
    return _UNSTORABLE.sub("\ufffd", text)


def words(value: Any, limit: int | None = None) -> str | None:
    """Give a text that says something, or None."""
    if not isinstance(value, str) or not value.strip():
        return None
    return clean(value if limit is None else value[:limit])


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


def digest(value: Any) -> str:
    """Sum up a JSON value, whatever the order of its keys."""
    try:
        canonical = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, RecursionError):
        canonical = json.dumps(value, sort_keys=True).encode()
    return sha256(canonical).hexdigest()
