"""Viber's REST bot API: one event per delivery (developers.viber.com/docs/api/rest-bot-api)."""

from typing import Any

from ingest.channels.parsing import (
    SHORT,
    degrees,
    digest_but_addresses,
    instant_of_millis,
    link,
    named,
    parse,
    part,
    size,
    words,
)
from ingest.domain.items import Item, Person, Place, Raw, Unreadable
from trunkline_contracts.parts import Attachment, DeliveryState

STATES: dict[str, DeliveryState] = {"delivered": "delivered", "seen": "read", "failed": "failed"}
"""What became of a message of ours."""

VARYING = frozenset({"chat_hostname", "sender", "user"})
"""What may differ when the same event is delivered again: the server, and a picture's address."""
NO_FILES = frozenset({"text", "url", "location", "contact"})
"""Messages whose `media`, if they have one, is no file."""


def read(raw: Raw) -> tuple[Item, ...]:
    """Read one event; one of an unknown kind is noted, a message of one kept with a placeholder."""
    body = parse(raw.body)
    event = words(body.get("event"), 64)
    if event is None:
        raise Unreadable("event is missing or not a text")
    told = _digest(body)
    token = named(body.get("message_token"))
    if event == "message":
        return (_message(body, token, told),)
    user = named(body.get("user_id")) or named(part(body, "user").get("id"))
    external_id = f"{event}:{token}:{user or ''}" if token else f"{event}:sha256:{told}"
    sent_at = instant_of_millis(body.get("timestamp"))
    if event in STATES and token is not None:
        return (
            Item(
                "receipt",
                external_id,
                told,
                reason=words(body.get("desc"), SHORT),
                conversation=user or "",
                sent_at=sent_at,
                about=token,
                state=STATES[event],
            ),
        )
    return (Item("noted", external_id, told, reason=event, sent_at=sent_at),)


def _digest(body: dict[str, Any]) -> str:
    """Sum up what an event says; the address of a picture may differ, one that is sent may not."""
    said = part(body, "message")
    sent = {"text": said.get("media")} if said.get("type") == "url" else None
    lasting = {key: value for key, value in body.items() if key not in VARYING}
    return digest_but_addresses([lasting, sent] if sent else lasting)


def _message(body: dict[str, Any], token: str | None, told: str) -> Item:
    said, sender = part(body, "message"), part(body, "sender")
    user = named(sender.get("id"))
    if user is None:
        raise Unreadable("sender.id is missing: nobody could be answered")
    kind = words(said.get("type"), 64) or "message"
    language = words(sender.get("language"), 35)
    return Item(
        "message",
        token or f"sha256:{told}",
        told,
        conversation=user,
        person=Person(user, words(sender.get("name"), SHORT), language),
        text=_text(said, kind),
        sent_at=instant_of_millis(body.get("timestamp")),
        platform_id=token,
        attachments=_attachments(said, kind),
        place=_place(said) if kind == "location" else None,
        cards=_cards(said) if kind == "contact" else (),
    )


def _text(said: dict[str, Any], kind: str) -> str:
    text = words(said.get("text"))
    if text is not None:
        return text
    if kind == "url":
        return words(said.get("media"), 2000) or "[url]"
    if kind == "sticker" and (sticker := named(said.get("sticker_id"))) is not None:
        return f"[sticker {sticker}]"
    return f"[{kind}]"


def _attachments(said: dict[str, Any], kind: str) -> tuple[Attachment, ...]:
    """The platform keeps what is sent for a while only; here it is named, not fetched."""
    where = link(said.get("media"))
    if where is None:
        return ()
    if kind == "url" and words(said.get("text")) not in (None, where):
        return (Attachment(name="link", url=where),)
    if kind in NO_FILES:
        return ()
    big = size(said.get("file_size")) or size(said.get("size"))
    return (Attachment(name=words(said.get("file_name"), SHORT), size=big, url=where),)


def _place(said: dict[str, Any]) -> Place | None:
    where = part(said, "location")
    found = degrees(where.get("lat"), where.get("lon"))
    if found is None:
        return None
    return Place(*found, address=words(where.get("address"), SHORT))


def _cards(said: dict[str, Any]) -> tuple[Person, ...]:
    card = part(said, "contact")
    phone, name = words(card.get("phone_number"), SHORT), words(card.get("name"), SHORT)
    address = phone or name
    return () if address is None else (Person(address, name, phone=phone),)
