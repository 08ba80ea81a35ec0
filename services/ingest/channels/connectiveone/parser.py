"""ConnectiveOne's custom-channel format: one update per delivery.

docs.connectiveone.io/en/integrations/how-to/custom-channel/integrate-via-custom-channel.html

The first message must be `/start`, which begins a bot's dialog before the customer has written
anything. It is noted, and the next message opens the request.
"""

from typing import Any

from ingest.channels.parsing import (
    MAX_NAME_CHARS,
    digest,
    identifier,
    parse,
    parse_timestamp,
    subobject,
    text_or_none,
)
from ingest.domain.items import InboundItem, Person, RawDelivery, Unreadable

START_COMMAND = "/start"
FORMAT = "connectiveone"
"""The format name the gateway gives to deliveries it authenticated as updates."""


def is_update(raw: RawDelivery) -> bool:
    """Return whether a custom channel's delivery has this format.

    The gateway says so; without its word the body decides.
    """
    if raw.form:
        return raw.form == FORMAT
    return _looks_like_update(raw.body)


def _looks_like_update(body: bytes) -> bool:
    if b"update_id" not in body:
        return False
    try:
        update = parse(body)
    except Unreadable:
        return False
    return "update_id" in update and "contact" not in update


def read(raw: RawDelivery) -> tuple[InboundItem, ...]:
    """Read one update; the platform writes `from.id` as a number or as a text."""
    update = parse(raw.body)
    number = identifier(update.get("update_id"))
    if number is None:
        raise Unreadable("update_id is missing, or neither a number nor a text")
    external_id, content_digest = f"update:{number}", digest(update)
    message = update.get("message")
    if not isinstance(message, dict):
        kind = next((key for key in update if key != "update_id"), "empty update")
        reason = text_or_none(kind, 64) or "empty update"
        return (InboundItem("noted", external_id, content_digest, reason=reason),)
    sender = subobject(message, "from")
    user = identifier(sender.get("id"))
    chat = identifier(subobject(message, "chat").get("id")) or user
    if chat is None:
        raise Unreadable(
            "message.from.id and message.chat.id are missing: it belongs to no conversation"
        )
    text = text_or_none(message.get("text"))
    begins = text is not None and text.split(maxsplit=1)[0] == START_COMMAND
    at = parse_timestamp(message.get("date"))
    return (
        InboundItem(
            "noted" if begins else "message",
            external_id,
            content_digest,
            reason="/start begins the dialog; nothing was asked yet" if begins else None,
            conversation=chat,
            person=_person(sender, user or chat),
            text=text or f"[{text_or_none(message.get('type'), 64) or 'message'}]",
            sent_at=None if at is None else min(at, raw.received_at),
            platform_id=identifier(message.get("message_id")) or number,
        ),
    )


def _person(sender: dict[str, Any], address: str) -> Person:
    names = (
        text_or_none(sender.get("first_name"), MAX_NAME_CHARS),
        text_or_none(sender.get("last_name"), MAX_NAME_CHARS),
    )
    name = " ".join(filter(None, names)) or text_or_none(sender.get("dialog_name"), MAX_NAME_CHARS)
    return Person(
        address,
        name or text_or_none(sender.get("username"), MAX_NAME_CHARS),
        text_or_none(sender.get("language_code"), 35),
        phone=text_or_none(sender.get("phone"), MAX_NAME_CHARS),
    )
