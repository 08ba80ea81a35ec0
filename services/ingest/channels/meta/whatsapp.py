"""WhatsApp Cloud API: messages, statuses and errors, many in one delivery.

A customer is known by the business-scoped user id (`from_user_id`) where it is sent, because a
customer with a username may hide the number; elsewhere by the number (`from`). A customer first
known by the number stays known by it.
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
"""

from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

from ingest.channels.meta import whatsapp_content as content
from ingest.channels.meta.webhook import (
    JsonObject,
    attempt,
    error_summary,
    join_present,
    members,
    noted_item,
    objects_in,
    read_batch,
    require_object,
    sent_at,
    short_text,
)
from ingest.channels.parsing import (
    ParsedItem,
    digest,
    digest_without_urls,
    identifier,
    subobject,
    text_or_none,
)
from ingest.domain.items import InboundItem, Person, RawDelivery, Unreadable
from trunkline_contracts.parts import DeliveryState

DELIVERY_STATES: MappingProxyType[str, DeliveryState] = MappingProxyType(
    {"sent": "sent", "delivered": "delivered", "read": "read", "played": "read", "failed": "failed"}
)
"""Delivery states by status; a voice message that was played was read."""


def read(raw: RawDelivery) -> tuple[ParsedItem, ...]:
    """Read one delivery."""
    return read_batch(raw, "whatsapp_business_account", _entry)


def _entry(path: str, entry: JsonObject, raw: RawDelivery) -> Iterator[ParsedItem]:
    for change_path, change in members(entry, "changes", path):
        yield from attempt(change_path, _change, change_path, change, raw)


def _change(path: str, member_value: Any, raw: RawDelivery) -> Iterator[ParsedItem]:
    change = require_object(member_value)
    value, found = subobject(change, "value"), False
    for key, read_one in READERS.items():
        for member_path, member in members(value, key, f"{path}.value"):
            found = True
            yield from attempt(member_path, read_one, member, value, raw)
    if not found:
        yield noted_item(text_or_none(change.get("field"), 64) or "a change of no field", change)


def _message(member: Any, value: JsonObject, raw: RawDelivery) -> Iterator[InboundItem]:
    message = require_object(member)
    kind = content.type_of(message)
    id, summary = identifier(message.get("id")), content.digest_of(message, kind)
    person = _person(message, value)
    if person is None and kind not in content.SYSTEM_TYPES:
        raise Unreadable("from is missing: there is nobody to answer")
    context = subobject(message, "context")
    forwarded = True in (context.get("forwarded"), context.get("frequently_forwarded"))
    base = InboundItem(
        "message",
        id or f"sha256:{summary}",
        summary,
        reason=error_summary(message),
        conversation=identifier(message.get("group_id")) or (person.address if person else ""),
        person=person,
        sent_at=sent_at(message.get("timestamp"), raw),
        also=_other_address(message, person),
        platform_id=id,
        reply_to=identifier(context.get("id")),
        flags=("it was forwarded: somebody else wrote it",) if forwarded else (),
    )
    yield content.fill_item(base, message, kind)


def _other_address(message: JsonObject, person: Person | None) -> tuple[str, ...]:
    """Return the number, if the customer is known by an id instead."""
    number = identifier(message.get("from"))
    return (number,) if number is not None and person and number != person.address else ()


def _person(message: JsonObject, value: JsonObject) -> Person | None:
    number, id = identifier(message.get("from")), identifier(message.get("from_user_id"))
    address = id or number
    if address is None:
        return None
    contacts = objects_in(value, "contacts")
    matching = [
        contact
        for contact in contacts
        if address in (identifier(contact.get("user_id")), identifier(contact.get("wa_id")))
        or (number is not None and identifier(contact.get("wa_id")) == number)
    ]
    card = subobject((matching or (contacts if len(contacts) == 1 else None) or [{}])[0], "profile")
    name = short_text(card.get("name")) or short_text(card.get("username"))
    return Person(address, name, phone=number)


def _status(element: Any, _: JsonObject, raw: RawDelivery) -> Iterator[InboundItem]:
    """Yield the delivery state of a message of ours; in a group, for one member."""
    status = require_object(element)
    id, state_word = identifier(status.get("id")), text_or_none(status.get("status"), 64)
    if id is None or state_word is None:
        raise Unreadable("id or status is missing")
    member = identifier(status.get("recipient_participant_id"))
    external_id = join_present(":", "status", id, state_word, member)
    if state_word not in DELIVERY_STATES:
        yield InboundItem("noted", external_id, digest(external_id), reason=f"status {state_word}")
        return
    group = status.get("recipient_type") == "group"
    person = identifier(status.get("recipient_user_id"))
    number = identifier(status.get("recipient_id"))
    conversation = (None if group else person) or number or ""
    yield InboundItem(
        "receipt",
        external_id,
        digest(external_id),
        reason=error_summary(status),
        conversation=conversation,
        also=(number,) if number and person == conversation != number else (),
        sent_at=sent_at(status.get("timestamp"), raw),
        about=id,
        reference=short_text(status.get("biz_opaque_callback_data")),
        state=DELIVERY_STATES[state_word],
    )


def _error(member: Any, _: JsonObject, __: RawDelivery) -> Iterator[InboundItem]:
    """Yield a note for an error the platform reports."""
    error = require_object(member)
    yield noted_item(f"error {error_summary({'errors': error}) or 'unknown'}", error)


def _echo(member: Any, _: JsonObject, raw: RawDelivery) -> Iterator[InboundItem]:
    """Yield a note for a message a colleague wrote in the WhatsApp app."""
    echo = require_object(member)
    id, summary = identifier(echo.get("id")), digest_without_urls(echo)
    yield InboundItem(
        "noted",
        f"echo:{id or summary}",
        summary,
        reason="echo",
        conversation=identifier(echo.get("to_user_id")) or identifier(echo.get("to")) or "",
        sent_at=sent_at(echo.get("timestamp"), raw),
        platform_id=id,
    )


READERS: MappingProxyType[str, Callable[[Any, JsonObject, RawDelivery], Iterator[InboundItem]]] = (
    MappingProxyType(
        {"messages": _message, "statuses": _status, "errors": _error, "message_echoes": _echo}
    )
)
"""By the list a change has: a subscription to one field delivers all of these in it."""
