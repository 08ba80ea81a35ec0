"""WhatsApp Cloud: messages, statuses and errors, many in a delivery.

People are named by the id they have for our business where it is told (`from_user_id`), for who
took a username may hide the number; elsewhere by the number (`from`). Whoever was known by the
number stays so.
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
Long: who somebody is, by id or number, is settled here for all that comes.
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
"""How far a message of ours has come; a voice message that was played was read."""


def read(raw: RawDelivery) -> tuple[ParsedItem, ...]:
    """Read one delivery."""
    return read_batch(raw, "whatsapp_business_account", _entry)


def _entry(where: str, entry: JsonObject, raw: RawDelivery) -> Iterator[ParsedItem]:
    for at, change in members(entry, "changes", where):
        yield from attempt(at, _change, at, change, raw)


def _change(where: str, told: Any, raw: RawDelivery) -> Iterator[ParsedItem]:
    change = require_object(told)
    value, found = subobject(change, "value"), False
    for key, read_one in READERS.items():
        for at, one in members(value, key, f"{where}.value"):
            found = True
            yield from attempt(at, read_one, one, value, raw)
    if not found:
        yield noted_item(text_or_none(change.get("field"), 64) or "a change of no field", change)


def _message(told: Any, value: JsonObject, raw: RawDelivery) -> Iterator[InboundItem]:
    message = require_object(told)
    kind = content.type_of(message)
    id, summary = identifier(message.get("id")), content.digest_of(message, kind)
    person = _person(message, value)
    if person is None and kind not in content.SYSTEM_TYPES:
        raise Unreadable("from is missing: nobody could be answered")
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
    """Give the number, where somebody is known by another name."""
    number = identifier(message.get("from"))
    return (number,) if number is not None and person and number != person.address else ()


def _person(message: JsonObject, value: JsonObject) -> Person | None:
    number, id = identifier(message.get("from")), identifier(message.get("from_user_id"))
    address = id or number
    if address is None:
        return None
    known = objects_in(value, "contacts")
    theirs = [
        one
        for one in known
        if address in (identifier(one.get("user_id")), identifier(one.get("wa_id")))
        or (number is not None and identifier(one.get("wa_id")) == number)
    ]
    card = subobject((theirs or (known if len(known) == 1 else None) or [{}])[0], "profile")
    name = short_text(card.get("name")) or short_text(card.get("username"))
    return Person(address, name, phone=number)


def _status(told: Any, _: JsonObject, raw: RawDelivery) -> Iterator[InboundItem]:
    """What became of a message of ours; in a group, with one of its members."""
    status = require_object(told)
    id, word = identifier(status.get("id")), text_or_none(status.get("status"), 64)
    if id is None or word is None:
        raise Unreadable("id or status is missing")
    member = identifier(status.get("recipient_participant_id"))
    external_id = join_present(":", "status", id, word, member)
    if word not in DELIVERY_STATES:
        yield InboundItem("noted", external_id, digest(external_id), reason=f"status {word}")
        return
    group = status.get("recipient_type") == "group"
    person = identifier(status.get("recipient_user_id"))
    number = identifier(status.get("recipient_id"))
    talk = (None if group else person) or number or ""
    yield InboundItem(
        "receipt",
        external_id,
        digest(external_id),
        reason=error_summary(status),
        conversation=talk,
        also=(number,) if number and person == talk != number else (),
        sent_at=sent_at(status.get("timestamp"), raw),
        about=id,
        reference=short_text(status.get("biz_opaque_callback_data")),
        state=DELIVERY_STATES[word],
    )


def _error(told: Any, _: JsonObject, __: RawDelivery) -> Iterator[InboundItem]:
    """Trouble the platform has with us."""
    error = require_object(told)
    yield noted_item(f"error {error_summary({'errors': error}) or 'unknown'}", error)


def _echo(told: Any, _: JsonObject, raw: RawDelivery) -> Iterator[InboundItem]:
    """Somebody of ours wrote from the telephone; nothing is to be answered."""
    echo = require_object(told)
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
"""By what a change has: whoever subscribes to one field is sent all of these in it."""
