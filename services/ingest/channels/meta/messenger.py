"""Events between customers and a Messenger page; Instagram's direct messages have the same form.

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
    JsonObject,
    attempt,
    join_present,
    long_text,
    members,
    noted_item,
    read_batch,
    require_object,
    sent_at,
)
from ingest.channels.parsing import (
    MAX_NAME_CHARS,
    ParsedItem,
    digest,
    digest_without_urls,
    identifier,
    subobject,
    text_or_none,
    timestamp_from_ms,
)
from ingest.domain.items import InboundItem, Person, RawDelivery, Unreadable

METADATA_KEYS = frozenset({"hop_context", "recipient", "sender", "timestamp"})
"""Keys that describe an event but do not tell its kind."""


@dataclass(frozen=True, slots=True)
class Event:
    """The customer of an event, whether it is an echo of our own, and its time."""

    customer: str | None
    is_echo: bool
    sent_at: datetime | None
    raw_timestamp: str | None
    """The platform's unparsed timestamp, which tells events without an id apart."""

    def person(self) -> Person:
        """Return the customer; the platform sends no names."""
        if self.customer is None:
            raise Unreadable("sender.id is missing: there is nobody to answer")
        return Person(self.customer)


Change = Callable[[JsonObject, JsonObject, RawDelivery], Iterator[ParsedItem]]
"""Reads a change of one field from its value, its entry and its delivery."""
NO_CHANGES: MappingProxyType[str, Change] = MappingProxyType({})


def read(raw: RawDelivery) -> tuple[ParsedItem, ...]:
    """Read one delivery."""
    return read_batch(raw, "page", read_events)


def read_events(
    path: str,
    entry: JsonObject,
    raw: RawDelivery,
    changes: MappingProxyType[str, Change] = NO_CHANGES,
) -> Iterator[ParsedItem]:
    """Yield the items of an entry; changes of unknown fields are noted."""
    for member_path, member in members(entry, "messaging", path):
        yield from attempt(member_path, _event, member, entry, raw)
    for member_path, member in members(entry, "standby", path):
        yield from attempt(member_path, _standby, member)
    # An entry may be a change itself, as in the platform's examples for Instagram.
    found = [*members(entry, "changes", path), *([(path, entry)] if "field" in entry else [])]
    for member_path, member in found:
        yield from attempt(member_path, _change, member_path, member, entry, raw, changes)


def _change(
    path: str,
    member: Any,
    entry: JsonObject,
    raw: RawDelivery,
    changes: MappingProxyType[str, Change],
) -> Iterator[ParsedItem]:
    change = require_object(member)
    field = text_or_none(change.get("field"), 64) or "a change of no field"
    for member_path, value in members(change, "value", path):
        if field in changes:
            yield from attempt(member_path, _read_change, changes[field], value, entry, raw)
        elif isinstance(value, dict) and "sender" in value:
            yield from attempt(member_path, _event, value, entry, raw)
        else:
            yield noted_item(field, [entry.get("time"), value])
    if change.get("value") in (None, []):
        yield noted_item(field, [entry.get("time"), None])


def _read_change(
    change: Change, value: Any, entry: JsonObject, raw: RawDelivery
) -> Iterator[ParsedItem]:
    return change(require_object(value), entry, raw)


def _standby(member: Any) -> Iterator[InboundItem]:
    """Yield a note for an event that another program handles at present."""
    event = require_object(member)
    yield noted_item(f"standby {_kind_of(event)}", event)


def _kind_of(event: JsonObject) -> str:
    return next(
        (text_or_none(key, 64) or "?" for key in event if key not in METADATA_KEYS), "event"
    )


def _event(member: Any, entry: JsonObject, raw: RawDelivery) -> Iterator[InboundItem]:
    body = require_object(member)
    sender, recipient = subobject(body, "sender"), subobject(body, "recipient")
    kind = next((key for key in READERS if isinstance(body.get(key), dict)), None)
    if kind is None:
        if "message" in body:
            raise Unreadable("message is not an object")
        yield noted_item(_kind_of(body), body)
        return
    sender_id = identifier(sender.get("id")) or identifier(sender.get("user_ref"))
    page_id = identifier(entry.get("id"))
    is_echo = subobject(body, "message").get("is_echo") is True or (
        page_id is not None and sender_id == page_id
    )
    event = Event(
        identifier(recipient.get("id")) if is_echo else sender_id,
        is_echo,
        sent_at(body.get("timestamp"), raw),
        identifier(body.get("timestamp")),
    )
    if is_echo:
        yield _echo(event, body, kind)
    else:
        yield from READERS[kind](event, body[kind])


def _echo(event: Event, body: JsonObject, kind: str) -> InboundItem:
    """Return the echo of a message of ours, which is noted; with our own id it is a receipt."""
    echoed = body[kind]
    kind_label = "deleted" if echoed.get("is_deleted") is True else kind
    id, metadata = (
        identifier(echoed.get("mid")),
        text_or_none(echoed.get("metadata"), MAX_NAME_CHARS),
    )
    summary = digest_without_urls([kind_label, id or echoed])
    is_own = kind_label == "message" and _is_own_id(metadata)
    return InboundItem(
        "receipt" if is_own else "noted",
        f"echo:{kind_label}:{id or summary}",
        summary,
        reason=join_present(" ", "echo", None if kind_label == "message" else kind_label),
        conversation=event.customer or "",
        sent_at=event.sent_at,
        platform_id=None if is_own else id,
        about=id if is_own else None,
        reference=metadata,
        state="sent" if is_own else None,
    )


def _is_own_id(metadata: str | None) -> bool:
    """Return whether metadata may be our message id; other programs use metadata of their own."""
    try:
        return metadata is not None and bool(UUID(metadata))
    except ValueError:
        return False


def _message(event: Event, body: JsonObject) -> Iterator[InboundItem]:
    id = identifier(body.get("mid"))
    person = event.person()
    if body.get("is_deleted") is True:
        yield _message_update("deleted", event, id, f"deleted:{id}")
        return
    summary = content.digest_of(body)
    quick = subobject(body, "quick_reply")
    yield InboundItem(
        "message",
        id or f"sha256:{digest([summary, event.customer, event.raw_timestamp])}",
        summary,
        conversation=person.address,
        person=person,
        text=content.text_of(body),
        sent_at=event.sent_at,
        platform_id=id,
        attachments=content.attachments_of(body),
        reply_to=identifier(subobject(body, "reply_to").get("mid")),
        button=text_or_none(quick.get("payload"), 1000),
        place=content.location_of(body),
    )


def _postback(event: Event, body: JsonObject) -> Iterator[InboundItem]:
    """Yield a message for a pressed button or menu entry."""
    id, person = identifier(body.get("mid")), event.person()
    summary, pressed = digest_without_urls(body), text_or_none(body.get("payload"), 1000)
    yield InboundItem(
        "message",
        id or f"postback:{person.address}:{event.raw_timestamp or summary}",
        summary,
        conversation=person.address,
        person=person,
        text=long_text(body.get("title")) or pressed or "[postback]",
        sent_at=event.sent_at,
        platform_id=id,
        attachments=content.attachments_of(body),
        button=pressed,
    )


def _edit(event: Event, body: JsonObject) -> Iterator[InboundItem]:
    id, count = identifier(body.get("mid")), identifier(body.get("num_edit"))
    key = f"edit:{id}:{count or event.raw_timestamp or digest_without_urls(body)}"
    yield _message_update("edited", event, id, key, text=long_text(body.get("text")) or "[message]")


def _reaction(event: Event, body: JsonObject) -> Iterator[InboundItem]:
    id, person = identifier(body.get("mid")), event.person()
    gone = body.get("action") == "unreact"
    emoji = text_or_none(body.get("emoji"), 64) or text_or_none(body.get("reaction"), 64)
    change = "gone" if gone else emoji
    key = join_present(":", "reaction", id, person.address, event.raw_timestamp, change) or ""
    yield _message_update("reacted", event, id, key, reaction=None if gone else emoji)


def _message_update(
    kind: Any, event: Event, target_id: str | None, key: str, **more: Any
) -> InboundItem:
    """Return an edit, a deletion or a reaction of a message."""
    if target_id is None:
        raise Unreadable("mid is missing")
    person = event.person()
    return InboundItem(
        kind,
        key,
        digest([key, more.get("text")]),
        conversation=person.address,
        person=person,
        sent_at=event.sent_at,
        about=target_id,
        **more,
    )


def _read_receipts(event: Event, body: JsonObject) -> Iterator[InboundItem]:
    yield _receipt(event, "read", identifier(body.get("mid")), body)


def _delivery_receipts(event: Event, body: JsonObject) -> Iterator[InboundItem]:
    ids = [id for _, member in members(body, "mids") if (id := identifier(member)) is not None]
    for id in ids[: content.MAX_RECEIPT_IDS] or (None,):
        yield _receipt(event, "delivered", id, body)


def _receipt(event: Event, state: Any, id: str | None, body: JsonObject) -> InboundItem:
    """Return a receipt of one message, or of everything sent until a time."""
    mark = identifier(body.get("watermark"))
    until = timestamp_from_ms(int(mark)) if mark and mark.isdecimal() and len(mark) < 16 else None
    if event.customer is None or (id is None and until is None):
        raise Unreadable(f"{state} names no customer, or neither a message nor a time")
    key = join_present(":", state, event.customer, id or mark) or ""
    return InboundItem(
        "receipt",
        key,
        digest(key),
        conversation=event.customer,
        sent_at=event.sent_at,
        about=id,
        until=None if id else until,
        state=state,
    )


READERS: MappingProxyType[str, Callable[[Event, JsonObject], Iterator[InboundItem]]] = (
    MappingProxyType(
        {
            "message": _message,
            "message_edit": _edit,
            "postback": _postback,
            "reaction": _reaction,
            "read": _read_receipts,
            "delivery": _delivery_receipts,
        }
    )
)
"""By the key that tells an event's kind; other events are noted."""
