"""Telegram's Bot API: one update per delivery (core.telegram.org/bots/api#update).

A message's id counts within its chat, an update's within the bot: what an edit or a reaction is
about is found by the former, what came before is recognised by the latter.
"""

from dataclasses import replace
from typing import Any

from ingest.adapters import telegram_content as content
from ingest.adapters.item import Item, Person, Raw, Unreadable
from ingest.adapters.plain import SHORT, digest, instant, named, parse, part, whole, words

MOST = 100
"""Messages one update can say are deleted: no more are shown at a time by the platform."""

NOTES = frozenset(
    [
        "business_connection",
        "chat_boost",
        "chat_join_request",
        "chat_member",
        "chosen_inline_result",
        "inline_query",
        "managed_bot",
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
"""Updates that are no message and are about none: noted, never answered."""

MESSAGES = frozenset(
    [
        "business_message",
        "channel_post",
        "edited_business_message",
        "edited_channel_post",
        "edited_message",
        "message",
    ]
)
"""Updates that must have a chat; of those not known here, whichever has one is a message."""


def read(raw: Raw) -> tuple[Item, ...]:
    """Read one update; what is of an unknown kind is kept with a placeholder for its text."""
    update = parse(raw.body)
    number = whole(update.get("update_id"))
    if number is None:
        raise Unreadable("update_id is missing or not a whole number")
    noted = Item("noted", str(number), digest(update))
    kind = next((key for key in update if key != "update_id"), None)
    if kind is None or kind in NOTES:
        return (replace(noted, reason=_short(kind or "empty update")),)
    body = update[kind]
    if kind not in MESSAGES and (not isinstance(body, dict) or not _answerable(body)):
        return (replace(noted, reason=_short(kind)),)
    if not isinstance(body, dict):
        raise Unreadable(f"{_short(kind)} is not an object")
    match kind:
        case "callback_query":
            return (_pressed(body, noted),)
        case "message_reaction":
            return (_reaction(body, noted),)
        case "deleted_business_messages":
            return _deleted(body, noted)
        case _:
            return (_message(kind, body, noted),)


def _answerable(body: dict[str, Any]) -> bool:
    """Whether there is a chat, the message's own or that of the message it is about."""
    return any(whole(part(each, "chat").get("id")) for each in (body, part(body, "message")))


def _message(kind: str, body: dict[str, Any], noted: Item) -> Item:
    chat_id = whole(part(body, "chat").get("id"))
    if chat_id is None:
        raise Unreadable(f"{_short(kind)}.chat.id is missing or not a whole number")
    message_id = named(body.get("message_id"))
    notice = content.notice(body)
    edited = kind.startswith("edited_")
    if notice is not None or _ours(kind, body, chat_id) or (edited and message_id is None):
        reason = notice or ("our own message" if _ours(kind, body, chat_id) else _short(kind))
        return replace(
            noted, reason=reason, conversation=str(chat_id), sent_at=instant(body.get("date"))
        )
    said = replace(
        noted,
        kind="message",
        conversation=str(chat_id),
        person=_person(body, chat_id),
        text=content.text_of(body),
        sent_at=instant(body.get("date")),
        platform_id=message_id,
        attachments=content.attachments_of(body),
        place=content.place_of(body),
        cards=content.cards_of(body),
        reply_to=content.reply_to(body),
        button=content.button_of(body),
    )
    if not edited:
        return said
    at = instant(body.get("edit_date")) or said.sent_at
    return replace(said, kind="edited", about=message_id, platform_id=None, sent_at=at)


def _ours(kind: str, body: dict[str, Any], chat_id: int) -> bool:
    """Whether we wrote it ourselves, by another program, in a chat the bot looks after."""
    if not kind.endswith("business_message"):
        return False
    sender, chat = part(body, "from"), part(body, "chat")
    elsewhere = whole(sender.get("id")) not in (None, chat_id)
    return "sender_business_bot" in body or (chat.get("type") == "private" and elsewhere)


def _deleted(body: dict[str, Any], noted: Item) -> tuple[Item, ...]:
    """Who deleted them, and when, is not said."""
    chat_id = whole(part(body, "chat").get("id"))
    told = body.get("message_ids")
    ids = [named(each) for each in told[:MOST]] if isinstance(told, list) else []
    gone = [id for id in dict.fromkeys(ids) if id is not None]
    if chat_id is None or not gone:
        return (replace(noted, reason="deleted_business_messages of no message"),)
    return tuple(
        replace(
            noted,
            kind="deleted",
            external_id=f"{noted.external_id}:{id}",
            conversation=str(chat_id),
            about=id,
        )
        for id in gone
    )


def _reaction(body: dict[str, Any], noted: Item) -> Item:
    chat_id = whole(part(body, "chat").get("id"))
    about = named(body.get("message_id"))
    if chat_id is None or about is None:
        return replace(noted, reason="message_reaction to no message")
    told = body.get("new_reaction")
    now = told if isinstance(told, list) else []
    shown = [_emoji(each) for each in now if isinstance(each, dict)]
    return replace(
        noted,
        kind="reacted",
        conversation=str(chat_id),
        person=_person(body, chat_id, ("user", "actor_chat")),
        sent_at=instant(body.get("date")),
        about=about,
        reaction=" ".join(shown[:10]) or None,
    )


def _emoji(reaction: dict[str, Any]) -> str:
    emoji = words(reaction.get("emoji"), 32)
    if emoji is not None:
        return emoji
    custom = words(reaction.get("custom_emoji_id"), 64)
    return f"custom:{custom}" if custom else f"[{words(reaction.get('type'), 32) or '?'}]"


def _pressed(body: dict[str, Any], noted: Item) -> Item:
    """A button under a message of ours was pressed: that is what the customer says."""
    on = part(body, "message")
    chat_id = whole(part(on, "chat").get("id"))
    if chat_id is None:
        return replace(noted, reason="callback_query without a chat")
    pressed = words(body.get("data"), 4096) or words(body.get("game_short_name"), SHORT)
    label = _label(on, pressed)
    return replace(
        noted,
        kind="message",
        conversation=str(chat_id),
        person=_person({**body, "chat": on.get("chat")}, chat_id),
        text=label or (f"[button] {pressed}" if pressed else "[button]"),
        reply_to=named(on.get("message_id")),
        button=pressed,
    )


def _label(on: dict[str, Any], pressed: str | None) -> str | None:
    """Find what stood on the button."""
    rows = part(on, "reply_markup").get("inline_keyboard")
    for row in rows if isinstance(rows, list) else []:
        for button in row if isinstance(row, list) else []:
            if isinstance(button, dict) and pressed and button.get("callback_data") == pressed:
                return words(button.get("text"), SHORT)
    return None


def _person(
    body: dict[str, Any], chat_id: int, keys: tuple[str, ...] = ("from", "sender_chat", "chat")
) -> Person:
    """Who wrote; in a channel nobody is named, so the channel itself is."""
    for key in keys:
        sender = part(body, key)
        address = whole(sender.get("id"))
        if address is not None:
            names = (words(sender.get("first_name"), SHORT), words(sender.get("last_name"), SHORT))
            name = " ".join(filter(None, names)) or words(sender.get("title"), SHORT)
            name = name or words(sender.get("username"), SHORT)
            return Person(str(address), name, words(sender.get("language_code"), 35))
    return Person(str(chat_id))


def _short(text: str) -> str:
    return words(text, 64) or "?"
