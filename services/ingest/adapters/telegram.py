"""Telegram's Bot API: one update per delivery (core.telegram.org/bots/api#update)."""

from typing import Any

from ingest.adapters.item import Item, Person, Raw, Unreadable
from ingest.adapters.plain import SHORT, digest, instant, parse, whole, words

NOTES = frozenset(
    [
        "business_connection",
        "chat_boost",
        "chat_join_request",
        "chat_member",
        "chosen_inline_result",
        "deleted_business_messages",
        "inline_query",
        "managed_bot",
        "message_reaction",
        "message_reaction_count",
        "my_chat_member",
        "poll",
        "poll_answer",
        "pre_checkout_query",
        "purchased_paid_media",
        "removed_chat_boost",
        "shipping_query",
    ]
)
"""Updates that are no message: noted, never answered."""

ABOUT = frozenset(
    [
        "author_signature",
        "business_connection_id",
        "caption_entities",
        "chat",
        "date",
        "edit_date",
        "effect_id",
        "entities",
        "external_reply",
        "forward_origin",
        "from",
        "has_media_spoiler",
        "has_protected_content",
        "is_automatic_forward",
        "is_from_offline",
        "is_topic_message",
        "link_preview_options",
        "media_group_id",
        "message_id",
        "message_thread_id",
        "paid_star_count",
        "quote",
        "reply_markup",
        "reply_to_message",
        "reply_to_story",
        "sender_boost_count",
        "sender_business_bot",
        "sender_chat",
        "show_caption_above_media",
        "via_bot",
    ]
)
"""Keys that tell of a message, not what is in it."""


def read(raw: Raw) -> tuple[Item, ...]:
    """Read one update; what is of an unknown kind is kept with a placeholder for its text."""
    update = parse(raw.body)
    number = whole(update.get("update_id"))
    if number is None:
        raise Unreadable("update_id is missing or not a whole number")
    external_id, told = str(number), digest(update)
    kind = next((key for key in update if key != "update_id"), None)
    if kind is None or kind in NOTES or kind.startswith("edited_"):
        return (Item("noted", external_id, told, reason=_short(kind or "empty update")),)
    return (_message(kind, update[kind], external_id, told),)


def _message(kind: str, body: Any, external_id: str, told: str) -> Item:
    if not isinstance(body, dict):
        raise Unreadable(f"{_short(kind)} is not an object")
    said = _part(body, "message") if kind == "callback_query" else body
    chat_id = whole(_part(said, "chat").get("id"))
    if chat_id is None:
        if kind == "callback_query":
            return Item("noted", external_id, told, reason="callback_query without a chat")
        raise Unreadable(f"{_short(kind)}.chat.id is missing or not a whole number")
    message_id = whole(said.get("message_id"))
    return Item(
        "message",
        external_id,
        told,
        conversation=str(chat_id),
        person=_person(body, chat_id),
        text=_button(body) if kind == "callback_query" else _text(body, kind),
        sent_at=None if kind == "callback_query" else instant(body.get("date")),
        platform_id=None if message_id is None else str(message_id),
    )


def _person(body: dict[str, Any], chat_id: int) -> Person:
    """Who wrote; in a channel nobody is named, so the channel itself is."""
    for key in ("from", "sender_chat", "chat"):
        sender = _part(body, key)
        address = whole(sender.get("id"))
        if address is not None:
            names = (words(sender.get("first_name"), SHORT), words(sender.get("last_name"), SHORT))
            name = " ".join(filter(None, names)) or words(sender.get("title"), SHORT)
            name = name or words(sender.get("username"), SHORT)
            return Person(str(address), name, words(sender.get("language_code"), 35))
    return Person(str(chat_id))


def _text(body: dict[str, Any], kind: str) -> str:
    text = words(body.get("text")) or words(body.get("caption"))
    if text is not None:
        return text
    what = next((key for key in body if key not in ABOUT), kind)
    emoji = words(_part(body, what).get("emoji"), 64)
    return f"[{_short(what)} {emoji}]" if emoji else f"[{_short(what)}]"


def _button(body: dict[str, Any]) -> str:
    pressed = words(body.get("data")) or words(body.get("game_short_name"))
    return f"[button] {pressed}" if pressed else "[button]"


def _part(body: dict[str, Any], key: str) -> dict[str, Any]:
    value = body.get(key)
    return value if isinstance(value, dict) else {}


def _short(text: str) -> str:
    return words(text, 64) or "?"
