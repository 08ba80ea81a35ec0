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
"""Delivery states by event."""

VARYING_KEYS = frozenset({"chat_hostname", "sender", "user"})
"""Keys that may differ when an event is delivered again: the server, and the URL of a picture."""
TYPES_WITHOUT_FILE = frozenset({"text", "url", "location", "contact"})
"""Message types whose `media` is no file."""


def read(raw: RawDelivery) -> tuple[InboundItem, ...]:
    """Read one event; an unknown event is noted, an unknown type of message kept with a
    placeholder."""
    body = parse(raw.body)
    event = text_or_none(body.get("event"), 64)
    if event is None:
        raise Unreadable("event is missing or not a text")
    content_digest = _digest(body)
    token = identifier(body.get("message_token"))
    if event == "message":
        return (_message(body, token, content_digest),)
    user = identifier(body.get("user_id")) or identifier(subobject(body, "user").get("id"))
    external_id = f"{event}:{token}:{user or ''}" if token else f"{event}:sha256:{content_digest}"
    sent_at = timestamp_from_ms(body.get("timestamp"))
    if event in DELIVERY_STATES and token is not None:
        return (
            InboundItem(
                "receipt",
                external_id,
                content_digest,
                reason=text_or_none(body.get("desc"), MAX_NAME_CHARS),
                conversation=user or "",
                sent_at=sent_at,
                about=token,
                state=DELIVERY_STATES[event],
            ),
        )
    return (InboundItem("noted", external_id, content_digest, reason=event, sent_at=sent_at),)


def _digest(body: dict[str, Any]) -> str:
    """Return the digest of an event; URLs of pictures may change, but a URL that was sent
    counts."""
    message = subobject(body, "message")
    sent = {"text": message.get("media")} if message.get("type") == "url" else None
    lasting = {key: value for key, value in body.items() if key not in VARYING_KEYS}
    return digest_without_urls([lasting, sent] if sent else lasting)


def _message(body: dict[str, Any], token: str | None, content_digest: str) -> InboundItem:
    message, sender = subobject(body, "message"), subobject(body, "sender")
    user = identifier(sender.get("id"))
    if user is None:
        raise Unreadable("sender.id is missing: there is nobody to answer")
    kind = text_or_none(message.get("type"), 64) or "message"
    language = text_or_none(sender.get("language"), 35)
    return InboundItem(
        "message",
        token or f"sha256:{content_digest}",
        content_digest,
        conversation=user,
        person=Person(user, text_or_none(sender.get("name"), MAX_NAME_CHARS), language),
        text=_text(message, kind),
        sent_at=timestamp_from_ms(body.get("timestamp")),
        platform_id=token,
        attachments=_attachments(message, kind),
        place=_location(message) if kind == "location" else None,
        cards=_cards(message) if kind == "contact" else (),
    )


def _text(message: dict[str, Any], kind: str) -> str:
    text = text_or_none(message.get("text"))
    if text is not None:
        return text
    if kind == "url":
        return text_or_none(message.get("media"), 2000) or "[url]"
    if kind == "sticker" and (sticker := identifier(message.get("sticker_id"))) is not None:
        return f"[sticker {sticker}]"
    return f"[{kind}]"


def _attachments(message: dict[str, Any], kind: str) -> tuple[Attachment, ...]:
    """Return the file by its URL. It is not fetched, and the platform keeps it only for a while."""
    url = url_or_none(message.get("media"))
    if url is None:
        return ()
    if kind == "url" and text_or_none(message.get("text")) not in (None, url):
        return (Attachment(name="link", url=url),)
    if kind in TYPES_WITHOUT_FILE:
        return ()
    size = byte_count(message.get("file_size")) or byte_count(message.get("size"))
    return (
        Attachment(name=text_or_none(message.get("file_name"), MAX_NAME_CHARS), size=size, url=url),
    )


def _location(message: dict[str, Any]) -> SharedLocation | None:
    position = subobject(message, "location")
    found = coordinates(position.get("lat"), position.get("lon"))
    if found is None:
        return None
    return SharedLocation(*found, address=text_or_none(position.get("address"), MAX_NAME_CHARS))


def _cards(message: dict[str, Any]) -> tuple[Person, ...]:
    card = subobject(message, "contact")
    phone, name = (
        text_or_none(card.get("phone_number"), MAX_NAME_CHARS),
        text_or_none(card.get("name"), MAX_NAME_CHARS),
    )
    address = phone or name
    return () if address is None else (Person(address, name, phone=phone),)
