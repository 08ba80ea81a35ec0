"""What Meta's three channels have in common: batches, each update of which is read by itself.

A delivery is entry[] × (changes[] or messaging[]), up to a thousand updates about many people. One
that is unreadable is refused alone. What is told wrongly beside a message is taken for missing.
https://developers.facebook.com/docs/graph-api/webhooks/getting-started
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from ingest.channels.parsing import SHORT, digest_but_addresses, instant_of, named, parse, words
from ingest.domain.items import Item, Raw, Unreadable
from ingest.domain.text import clean

Read = Item | Unreadable
Piece = dict[str, Any]

MOST = 5_000
"""Updates of one delivery that are taken in."""
LISTED = 50
"""Files, contacts or goods of one message."""
LONGEST = 50_000
"""Characters of a text that go into a request; the delivery itself is kept whole."""


def batch(
    raw: Raw, object: str, entry: Callable[[str, Piece, Raw], Iterator[Read]]
) -> tuple[Read, ...]:
    """Read the entries of a delivery about such an object."""
    body = parse(raw.body)
    if body.get("object") not in (None, object):
        raise Unreadable(f"object is another than {object}")
    items: list[Read] = []
    for where, one in each(body, "entry"):
        items += attempt(where, _of_entry, where, one, raw, entry)
        if len(items) > MOST:
            raise Unreadable(f"it has more than {MOST} updates")
    return tuple(items)


def _of_entry(
    where: str, one: Any, raw: Raw, entry: Callable[[str, Piece, Raw], Iterator[Read]]
) -> Iterator[Read]:
    found = list(entry(where, piece(one), raw))
    if not found:
        raise Unreadable("there is nothing in it")
    yield from found


def each(of: Piece, key: str, where: str = "") -> Iterator[tuple[str, Any]]:
    """Give the members of a list, each with its path; what is no list is its only member."""
    value = of.get(key)
    if value is None:
        return
    path = f"{where}.{key}" if where else key
    for n, one in enumerate(value if isinstance(value, list) else [value]):
        yield f"{path}.{n}", one


def attempt(where: str, read: Callable[..., Iterable[Read]], *given: Any) -> Iterator[Read]:
    """Read something, or say where and why that cannot be done."""
    try:
        yield from list(read(*given))
    except Unreadable as why:
        yield Unreadable(f"{where}: {why}")
    except RecursionError:
        yield Unreadable(f"{where}: it is nested too deeply")


def piece(value: Any) -> Piece:
    """Give an object; raises `Unreadable` when it is none."""
    if not isinstance(value, dict):
        raise Unreadable("it is not an object")
    return value


def pieces(of: Piece, key: str) -> list[Piece]:
    """Give the objects of a list, of very many the first."""
    found = []
    for _, one in each(of, key):
        if isinstance(one, dict):
            found.append(one)
        if len(found) == LISTED:
            break
    return found


def text(value: Any) -> str | None:
    """Give what somebody wrote, or None."""
    return words(value, LONGEST)


def short(value: Any) -> str | None:
    """Give a name, a title or a word, or None."""
    return words(value, SHORT)


def joined(between: str, *told: str | None) -> str | None:
    """Put together what is told."""
    return between.join(filter(None, told)) or None


def described(kind: str, *told: str | None) -> str:
    """Say what a message is when nobody wrote anything: `[document invoice.pdf]`."""
    return f"[{joined(' ', kind, *told)}]"


def said_at(value: Any, raw: Raw) -> datetime | None:
    """Give when something was said, by unix seconds or milliseconds: never later than it came."""
    told = instant_of(value)
    return None if told is None else min(told, raw.received_at)


def noted(why: str, what: Any, **more: Any) -> Item:
    """Remember, once, something that is no message."""
    reason, summary = clean(why)[:SHORT], digest_but_addresses(what)
    return Item("noted", f"{reason[:64]}:{summary}", summary, reason=reason, **more)


def trouble(of: Piece) -> str | None:
    """Tell the errors by code and title: `131047 Re-engagement message`."""
    told = (joined(" ", named(one.get("code")), short(one.get("title"))) for one in _errors(of))
    return words(joined("; ", *told), SHORT)


def _errors(of: Piece) -> list[Piece]:
    return pieces(of, "errors")[:5]
