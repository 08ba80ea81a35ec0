"""Messenger: what happens between people and a page. Instagram's direct messages are the same.

Longer than other files: all that can happen in one list, side by side.
https://developers.facebook.com/documentation/business-messaging/messenger-platform/webhooks/webhook-events
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from ingest.channels.meta import messenger_content as content
from ingest.channels.meta.webhook import (
    Piece,
    Read,
    attempt,
    batch,
    each,
    joined,
    noted,
    piece,
    said_at,
    text,
)
from ingest.channels.parsing import (
    SHORT,
    digest,
    digest_but_addresses,
    instant_of_millis,
    named,
    part,
    words,
)
from ingest.domain.items import Item, Person, Raw, Unreadable

BESIDE = frozenset({"hop_context", "recipient", "sender", "timestamp"})
"""Keys that tell of an event, not what happened."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: with whom, whether by us, and when."""

    customer: str | None
    ours: bool
    at: datetime | None
    moment: str | None
    """The platform's own word for when: where nothing else tells two apart, this does."""

    def person(self) -> Person:
        """Who wrote; the platform tells no names."""
        if self.customer is None:
            raise Unreadable("sender.id is missing: nobody could be answered")
        return Person(self.customer)


Change = Callable[[Piece, Piece, Raw], Iterator[Read]]
"""Reads a change of one field: its value, its entry, its delivery."""
NO_CHANGES: MappingProxyType[str, Change] = MappingProxyType({})


def read(raw: Raw) -> tuple[Read, ...]:
    """Read one delivery."""
    return batch(raw, "page", events)


def events(
    where: str, entry: Piece, raw: Raw, changes: MappingProxyType[str, Change] = NO_CHANGES
) -> Iterator[Read]:
    """Read all that happened in an entry; of changes those that are known, the others are noted."""
    for at, one in each(entry, "messaging", where):
        yield from attempt(at, _event, one, entry, raw)
    for at, one in each(entry, "standby", where):
        yield from attempt(at, _standby, one)
    # An entry may be a change itself, so the platform's examples for Instagram show it.
    found = [*each(entry, "changes", where), *([(where, entry)] if "field" in entry else [])]
    for at, one in found:
        yield from attempt(at, _change, at, one, entry, raw, changes)


def _change(
    where: str, told: Any, entry: Piece, raw: Raw, changes: MappingProxyType[str, Change]
) -> Iterator[Read]:
    change = piece(told)
    field = words(change.get("field"), 64) or "a change of no field"
    for at, value in each(change, "value", where):
        if field in changes:
            yield from attempt(at, _known, changes[field], value, entry, raw)
        elif isinstance(value, dict) and "sender" in value:
            yield from attempt(at, _event, value, entry, raw)
        else:
            yield noted(field, [entry.get("time"), value])
    if change.get("value") in (None, []):
        yield noted(field, [entry.get("time"), None])


def _known(change: Change, value: Any, entry: Piece, raw: Raw) -> Iterator[Read]:
    return change(piece(value), entry, raw)


def _standby(told: Any) -> Iterator[Item]:
    """Another program answers this person at present; we only listen."""
    event = piece(told)
    yield noted(f"standby {_kind_of(event)}", event)


def _kind_of(event: Piece) -> str:
    return next((words(key, 64) or "?" for key in event if key not in BESIDE), "event")


def _event(told: Any, entry: Piece, raw: Raw) -> Iterator[Item]:
    body = piece(told)
    sender, recipient = part(body, "sender"), part(body, "recipient")
    kind = next((key for key in READERS if isinstance(body.get(key), dict)), None)
    if kind is None:
        if "message" in body:
            raise Unreadable("message is not an object")
        yield noted(_kind_of(body), body)
        return
    who = named(sender.get("id")) or named(sender.get("user_ref"))
    us = named(entry.get("id"))
    ours = part(body, "message").get("is_echo") is True or (us is not None and who == us)
    event = Event(
        named(recipient.get("id")) if ours else who,
        ours,
        said_at(body.get("timestamp"), raw),
        named(body.get("timestamp")),
    )
    if ours:
        yield _echo(event, body, kind)
    else:
        yield from READERS[kind](event, body[kind])


def _echo(event: Event, body: Piece, kind: str) -> Item:
    """We wrote, by this system or another: noted, never answered; our own id shows that it left."""
    told = body[kind]
    what = "deleted" if told.get("is_deleted") is True else kind
    id, metadata = named(told.get("mid")), words(told.get("metadata"), SHORT)
    summary = digest_but_addresses([what, id or told])
    mine = what == "message" and _is_ours(metadata)
    return Item(
        "receipt" if mine else "noted",
        f"echo:{what}:{id or summary}",
        summary,
        reason=joined(" ", "echo", None if what == "message" else what),
        conversation=event.customer or "",
        sent_at=event.at,
        platform_id=None if mine else id,
        about=id if mine else None,
        reference=metadata,
        state="sent" if mine else None,
    )


def _is_ours(metadata: str | None) -> bool:
    """Whether it may be the id of a message of ours; other programs have words of their own."""
    try:
        return metadata is not None and bool(UUID(metadata))
    except ValueError:
        return False


def _message(event: Event, body: Piece) -> Iterator[Item]:
    id = named(body.get("mid"))
    person = event.person()
    if body.get("is_deleted") is True:
        yield _remark("deleted", event, id, f"deleted:{id}")
        return
    summary = content.digest_of(body)
    quick = part(body, "quick_reply")
    yield Item(
        "message",
        id or f"sha256:{digest([summary, event.customer, event.moment])}",
        summary,
        conversation=person.address,
        person=person,
        text=content.text_of(body),
        sent_at=event.at,
        platform_id=id,
        attachments=content.attachments_of(body),
        reply_to=named(part(body, "reply_to").get("mid")),
        button=words(quick.get("payload"), 1000),
        place=content.place_of(body),
    )


def _postback(event: Event, body: Piece) -> Iterator[Item]:
    """A button, or an entry of the menu, was pressed."""
    id, person = named(body.get("mid")), event.person()
    summary, pressed = digest_but_addresses(body), words(body.get("payload"), 1000)
    yield Item(
        "message",
        id or f"postback:{person.address}:{event.moment or summary}",
        summary,
        conversation=person.address,
        person=person,
        text=text(body.get("title")) or pressed or "[postback]",
        sent_at=event.at,
        platform_id=id,
        attachments=content.attachments_of(body),
        button=pressed,
    )


def _edited(event: Event, body: Piece) -> Iterator[Item]:
    id, count = named(body.get("mid")), named(body.get("num_edit"))
    key = f"edit:{id}:{count or event.moment or digest_but_addresses(body)}"
    yield _remark("edited", event, id, key, text=text(body.get("text")) or "[message]")


def _reaction(event: Event, body: Piece) -> Iterator[Item]:
    id, person = named(body.get("mid")), event.person()
    gone = body.get("action") == "unreact"
    emoji = words(body.get("emoji"), 64) or words(body.get("reaction"), 64)
    what = "gone" if gone else emoji
    key = joined(":", "reaction", id, person.address, event.moment, what) or ""
    yield _remark("reacted", event, id, key, reaction=None if gone else emoji)


def _remark(kind: Any, event: Event, about: str | None, key: str, **more: Any) -> Item:
    """Something was done to a message."""
    if about is None:
        raise Unreadable("mid is missing")
    person = event.person()
    return Item(
        kind,
        key,
        digest([key, more.get("text")]),
        conversation=person.address,
        person=person,
        sent_at=event.at,
        about=about,
        **more,
    )


def _read(event: Event, body: Piece) -> Iterator[Item]:
    yield _receipt(event, "read", named(body.get("mid")), body)


def _delivered(event: Event, body: Piece) -> Iterator[Item]:
    ids = [id for _, one in each(body, "mids") if (id := named(one)) is not None]
    for id in ids[: content.MOST] or (None,):
        yield _receipt(event, "delivered", id, body)


def _receipt(event: Event, state: Any, id: str | None, body: Piece) -> Item:
    """A receipt of one message, or of all that was sent until then."""
    mark = named(body.get("watermark"))
    until = instant_of_millis(int(mark)) if mark and mark.isdecimal() and len(mark) < 16 else None
    if event.customer is None or (id is None and until is None):
        raise Unreadable(f"{state} names no message, no time or nobody")
    key = joined(":", state, event.customer, id or mark) or ""
    return Item(
        "receipt",
        key,
        digest(key),
        conversation=event.customer,
        sent_at=event.at,
        about=id,
        until=None if id else until,
        state=state,
    )


READERS: MappingProxyType[str, Callable[[Event, Piece], Iterator[Item]]] = MappingProxyType(
    {
        "message": _message,
        "message_edit": _edited,
        "postback": _postback,
        "reaction": _reaction,
        "read": _read,
        "delivery": _delivered,
    }
)
"""By what an event has; every other event is noted."""
