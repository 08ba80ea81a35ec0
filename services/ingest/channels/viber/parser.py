"""Viber's REST bot API: one event per delivery (developers.viber.com/docs/api/rest-bot-api)."""

from typing import Any

from ingest.channels.parsing import (
    MAX_NAME_CHARS,
    byte_count,
    coordinates,
    digest_without_urls,
    identifier,
    parse,
    subobject,
    text_or_none,
    timestamp_from_ms,
    url_or_none,
)
from ingest.domain.items import InboundItem, Person, RawDelivery, SharedLocation, Unreadable
from trunkline_contracts.parts import Attachment, DeliveryState

DELIVERY_STATES: dict[str, DeliveryState] = {
    "delivered": "delivered",
    "seen": "read",
    "failed": "failed",
}
"""What became of a message of ours."""

VARYING_KEYS = frozenset({"chat_hostname", "sender", "user"})
"""What may differ when the same event is delivered again: the server, and a picture's address."""
TYPES_WITHOUT_FILE = frozenset({"text", "url", "location", "contact"})
"""Messages whose `media`, if they have one, is no file."""


def read(raw: RawDelivery) -> tuple[InboundItem, ...]:
    """Read one event; one of an unknown kind is noted, a message of one kept with a placeholder."""
    body = parse(raw.body)
    event = text_or_none(body.get("event"), 64)
    if event is None:
        raise Unreadable("event is missing or not a text")
    told = _digest(body)
    token = identifier(body.get("message_token"))
    if event == "message":
        return (_message(body, token, told),)
    user = identifier(body.get("user_id")) or identifier(subobject(body, "user").get("id"))
    external_id = f"{event}:{token}:{user or ''}" if token else f"{event}:sha256:{told}"
    sent_at = timestamp_from_ms(body.get("timestamp"))
    if event in DELIVERY_STATES and token is not None:
        return (
            InboundItem(
                "receipt",
                external_id,
                told,
                reason=text_or_none(body.get("desc"), MAX_NAME_CHARS),
                conversation=user or "",
                sent_at=sent_at,
                about=token,
                state=DELIVERY_STATES[event],
            ),
        )
    return (InboundItem("noted", external_id, told, reason=event, sent_at=sent_at),)


def _digest(body: dict[str, Any]) -> str:
    """Sum up what an event says; the address of a picture may differ, one that is sent may not."""
    said = subobject(body, "message")
    sent = {"text": said.get("media")} if said.get("type") == "url" else None
    lasting = {key: value for key, value in body.items() if key not in VARYING_KEYS}
    return digest_without_urls([lasting, sent] if sent else lasting)


def _message(body: dict[str, Any], token: str | None, told: str) -> InboundItem:
    said, sender = subobject(body, "message"), subobject(body, "sender")
    user = identifier(sender.get("id"))
    if user is None:
        raise Unreadable("sender.id is missing: nobody could be answered")
    kind = text_or_none(said.get("type"), 64) or "message"
    language = text_or_none(sender.get("language"), 35)
    return InboundItem(
        "message",
        token or f"sha256:{told}",
        told,
        conversation=user,
        person=Person(user, text_or_none(sender.get("name"), MAX_NAME_CHARS), language),
        text=_text(said, kind),
        sent_at=timestamp_from_ms(body.get("timestamp")),
        platform_id=token,
        attachments=_attachments(said, kind),
        place=_location(said) if kind == "location" else None,
        cards=_cards(said) if kind == "contact" else (),
    )


def _text(said: dict[str, Any], kind: str) -> str:
    text = text_or_none(said.get("text"))
    if text is not None:
        return text
    if kind == "url":
        return text_or_none(said.get("media"), 2000) or "[url]"
    if kind == "sticker" and (sticker := identifier(said.get("sticker_id"))) is not None:
        return f"[sticker {sticker}]"
    return f"[{kind}]"


def _attachments(said: dict[str, Any], kind: str) -> tuple[Attachment, ...]:
    """The platform keeps what is sent for a while only; here it is named, not fetched."""
    where = url_or_none(said.get("media"))
    if where is None:
        return ()
    if kind == "url" and text_or_none(said.get("text")) not in (None, where):
        return (Attachment(name="link", url=where),)
    if kind in TYPES_WITHOUT_FILE:
        return ()
    big = byte_count(said.get("file_size")) or byte_count(said.get("size"))
    return (
        Attachment(name=text_or_none(said.get("file_name"), MAX_NAME_CHARS), size=big, url=where),
    )


def _location(said: dict[str, Any]) -> SharedLocation | None:
    where = subobject(said, "location")
    found = coordinates(where.get("lat"), where.get("lon"))
    if found is None:
        return None
    return SharedLocation(*found, address=text_or_none(where.get("address"), MAX_NAME_CHARS))


def _cards(said: dict[str, Any]) -> tuple[Person, ...]:
    card = subobject(said, "contact")
    phone, name = (
        text_or_none(card.get("phone_number"), MAX_NAME_CHARS),
        text_or_none(card.get("name"), MAX_NAME_CHARS),
    )
    address = phone or name
    return () if address is None else (Person(address, name, phone=phone),)
