"""Webhook batches of Meta's three channels.

A delivery is entry[] × (changes[] or messaging[]), up to a thousand updates about many customers.
An unreadable update is rejected alone. A malformed optional value counts as missing.
https://developers.facebook.com/docs/graph-api/webhooks/getting-started
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from ingest.channels.parsing import (
    MAX_NAME_CHARS,
    ParsedItem,
    digest_without_urls,
    identifier,
    parse,
    parse_timestamp,
    text_or_none,
)
from ingest.domain.items import InboundItem, RawDelivery, Unreadable
from ingest.domain.text import clean

JsonObject = dict[str, Any]

MAX_UPDATES = 5_000
"""Updates that are read from one delivery."""
MAX_LISTED = 50
"""Files, contacts or products that are read from one message."""
MAX_MESSAGE_CHARS = 50_000
"""Characters kept of a text; the delivery itself is stored whole."""


def read_batch(
    raw: RawDelivery,
    object: str,
    entry: Callable[[str, JsonObject, RawDelivery], Iterator[ParsedItem]],
) -> tuple[ParsedItem, ...]:
    """Read the entries of a delivery about this object; raises `Unreadable`."""
    body = parse(raw.body)
    if body.get("object") not in (None, object):
        raise Unreadable(f"object is not {object}")
    items: list[ParsedItem] = []
    for path, member in members(body, "entry"):
        items += attempt(path, _read_entry, path, member, raw, entry)
        if len(items) > MAX_UPDATES:
            raise Unreadable(f"it has more than {MAX_UPDATES} updates")
    return tuple(items)


def _read_entry(
    path: str,
    member: Any,
    raw: RawDelivery,
    entry: Callable[[str, JsonObject, RawDelivery], Iterator[ParsedItem]],
) -> Iterator[ParsedItem]:
    found = list(entry(path, require_object(member), raw))
    if not found:
        raise Unreadable("there is nothing in it")
    yield from found


def members(parent_object: JsonObject, key: str, parent: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the members of a list with their paths; a value that is no list counts as one
    member."""
    value = parent_object.get(key)
    if value is None:
        return
    path = f"{parent}.{key}" if parent else key
    for n, member in enumerate(value if isinstance(value, list) else [value]):
        yield f"{path}.{n}", member


def attempt(
    path: str, read: Callable[..., Iterable[ParsedItem]], *arguments: Any
) -> Iterator[ParsedItem]:
    """Yield what a reader returns; if it fails, the path and the reason as `Unreadable`."""
    try:
        yield from list(read(*arguments))
    except Unreadable as why:
        yield Unreadable(f"{path}: {why}")
    except RecursionError:
        yield Unreadable(f"{path}: it is nested too deeply")


def require_object(value: Any) -> JsonObject:
    """Return a JSON object; raises `Unreadable` if the value is none."""
    if not isinstance(value, dict):
        raise Unreadable("it is not an object")
    return value


def objects_in(of: JsonObject, key: str) -> list[JsonObject]:
    """Return the objects of a list, at most `MAX_LISTED`."""
    found = []
    for _, member in members(of, key):
        if isinstance(member, dict):
            found.append(member)
        if len(found) == MAX_LISTED:
            break
    return found


def long_text(value: Any) -> str | None:
    """Return a written text, or None."""
    return text_or_none(value, MAX_MESSAGE_CHARS)


def short_text(value: Any) -> str | None:
    """Return a name, title or word, or None."""
    return text_or_none(value, MAX_NAME_CHARS)


def join_present(separator: str, *texts: str | None) -> str | None:
    """Join the texts that are present; None if there are none."""
    return separator.join(filter(None, texts)) or None


def placeholder(kind: str, *texts: str | None) -> str:
    """Return a text for a message without one, such as `[document invoice.pdf]`."""
    return f"[{join_present(' ', kind, *texts)}]"


def sent_at(value: Any, raw: RawDelivery) -> datetime | None:
    """Return the sending time of Unix seconds or milliseconds, at most the time of receipt."""
    time = parse_timestamp(value)
    return None if time is None else min(time, raw.received_at)


def noted_item(kind: str, content: Any, **more: Any) -> InboundItem:
    """Return an item that is only noted, once per content."""
    reason, summary = clean(kind)[:MAX_NAME_CHARS], digest_without_urls(content)
    return InboundItem("noted", f"{reason[:64]}:{summary}", summary, reason=reason, **more)


def error_summary(of: JsonObject) -> str | None:
    """Return the errors by code and title, such as `131047 Re-engagement message`."""
    errors = (
        join_present(" ", identifier(error.get("code")), short_text(error.get("title")))
        for error in _errors(of)
    )
    return text_or_none(join_present("; ", *errors), MAX_NAME_CHARS)


def _errors(of: JsonObject) -> list[JsonObject]:
    return objects_in(of, "errors")[:5]
