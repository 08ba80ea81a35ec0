"""What Meta's three channels have in common: batches, each update of which is read by itself.

A delivery is entry[] × (changes[] or messaging[]), up to a thousand updates about many people. One
that is unreadable is refused alone. What is told wrongly beside a message is taken for missing.
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
"""Updates of one delivery that are taken in."""
MAX_LISTED = 50
"""Files, contacts or goods of one message."""
MAX_MESSAGE_CHARS = 50_000
"""Characters of a text that go into a request; the delivery itself is kept whole."""


def read_batch(
    raw: RawDelivery,
    object: str,
    entry: Callable[[str, JsonObject, RawDelivery], Iterator[ParsedItem]],
) -> tuple[ParsedItem, ...]:
    """Read the entries of a delivery about such an object."""
    body = parse(raw.body)
    if body.get("object") not in (None, object):
        raise Unreadable(f"object is another than {object}")
    items: list[ParsedItem] = []
    for where, one in members(body, "entry"):
        items += attempt(where, _read_entry, where, one, raw, entry)
        if len(items) > MAX_UPDATES:
            raise Unreadable(f"it has more than {MAX_UPDATES} updates")
    return tuple(items)


def _read_entry(
    where: str,
    one: Any,
    raw: RawDelivery,
    entry: Callable[[str, JsonObject, RawDelivery], Iterator[ParsedItem]],
) -> Iterator[ParsedItem]:
    found = list(entry(where, require_object(one), raw))
    if not found:
        raise Unreadable("there is nothing in it")
    yield from found


def members(of: JsonObject, key: str, where: str = "") -> Iterator[tuple[str, Any]]:
    """Give the members of a list, each with its path; what is no list is its only member."""
    value = of.get(key)
    if value is None:
        return
    path = f"{where}.{key}" if where else key
    for n, one in enumerate(value if isinstance(value, list) else [value]):
        yield f"{path}.{n}", one


def attempt(
    where: str, read: Callable[..., Iterable[ParsedItem]], *given: Any
) -> Iterator[ParsedItem]:
    """Read something, or say where and why that cannot be done."""
    try:
        yield from list(read(*given))
    except Unreadable as why:
        yield Unreadable(f"{where}: {why}")
    except RecursionError:
        yield Unreadable(f"{where}: it is nested too deeply")


def require_object(value: Any) -> JsonObject:
    """Give an object; raises `Unreadable` when it is none."""
    if not isinstance(value, dict):
        raise Unreadable("it is not an object")
    return value


def objects_in(of: JsonObject, key: str) -> list[JsonObject]:
    """Give the objects of a list, of very many the first."""
    found = []
    for _, one in members(of, key):
        if isinstance(one, dict):
            found.append(one)
        if len(found) == MAX_LISTED:
            break
    return found


def long_text(value: Any) -> str | None:
    """Give what somebody wrote, or None."""
    return text_or_none(value, MAX_MESSAGE_CHARS)


def short_text(value: Any) -> str | None:
    """Give a name, a title or a word, or None."""
    return text_or_none(value, MAX_NAME_CHARS)


def join_present(between: str, *told: str | None) -> str | None:
    """Put together what is told."""
    return between.join(filter(None, told)) or None


def placeholder(kind: str, *told: str | None) -> str:
    """Say what a message is when nobody wrote anything: `[document invoice.pdf]`."""
    return f"[{join_present(' ', kind, *told)}]"


def sent_at(value: Any, raw: RawDelivery) -> datetime | None:
    """Give when something was said, by unix seconds or milliseconds: never later than it came."""
    told = parse_timestamp(value)
    return None if told is None else min(told, raw.received_at)


def noted_item(why: str, what: Any, **more: Any) -> InboundItem:
    """Remember, once, something that is no message."""
    reason, summary = clean(why)[:MAX_NAME_CHARS], digest_without_urls(what)
    return InboundItem("noted", f"{reason[:64]}:{summary}", summary, reason=reason, **more)


def error_summary(of: JsonObject) -> str | None:
    """Tell the errors by code and title: `131047 Re-engagement message`."""
    told = (
        join_present(" ", identifier(one.get("code")), short_text(one.get("title")))
        for one in _errors(of)
    )
    return text_or_none(join_present("; ", *told), MAX_NAME_CHARS)


def _errors(of: JsonObject) -> list[JsonObject]:
    return objects_in(of, "errors")[:5]
