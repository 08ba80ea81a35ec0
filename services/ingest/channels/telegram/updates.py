"""Telegram's Bot API: one update per delivery (core.telegram.org/bots/api#update).

A message's id counts within its chat, an update's within the bot: what an edit or a reaction is
about is found by the former, what came before is recognised by the latter. A chat may hold several
conversations: of businesses the bot works for, of a forum's topics, of who writes to a channel. A
reaction does not say in which topic its message is. Long, as it lists every kind of update.
"""

from dataclasses import dataclass
from typing import Any

from ingest.channels.parsing import SHORT, digest, instant, named, parse, part, whole, words
from ingest.channels.telegram import content
from ingest.channels.telegram.entities import beside
from ingest.domain.items import Item, Person, Raw, Unreadable
from trunkline_contracts.chats import TelegramChat

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


@dataclass(frozen=True, slots=True)
class _Told:
    """What every item of an update has."""

    number: str
    digest: str

    def noted(self, reason: str, where: str = "") -> Item:
        """Something that is only remembered."""
        return Item("noted", self.number, self.digest, reason=reason, conversation=where)


def read(raw: Raw) -> tuple[Item, ...]:
    """Read one update; what is of an unknown kind is kept with a placeholder for its text."""
    update = parse(raw.body)
    number = whole(update.get("update_id"))
    if number is None:
        raise Unreadable("update_id is missing or not a whole number")
    told = _Told(str(number), digest(update))
    kind = next((key for key in update if key != "update_id"), None)
    if kind is None or kind in NOTES:
        return (told.noted(_short(kind or "empty update")),)
    body = update[kind]
    if kind not in MESSAGES and (not isinstance(body, dict) or not _answerable(body)):
        return (told.noted(_short(kind)),)
    if not isinstance(body, dict):
        raise Unreadable(f"{_short(kind)} is not an object")
    match kind:
        case "callback_query":
            return (_pressed(body, told),)
        case "message_reaction":
            return (_reaction(body, told),)
        case "deleted_business_messages":
            return _deleted(body, told)
        case _:
            return (_message(kind, body, told),)


def _answerable(body: dict[str, Any]) -> bool:
    """Whether there is a chat, the message's own or that of the message it is about."""
    return any(whole(part(each, "chat").get("id")) for each in (body, part(body, "message")))


def _message(kind: str, body: dict[str, Any], told: _Told) -> Item:
    chat_id = whole(part(body, "chat").get("id"))
    if chat_id is None:
        raise Unreadable(f"{_short(kind)}.chat.id is missing or not a whole number")
    where = _conversation(body, chat_id)
    if _ours(kind, body, chat_id):
        return told.noted("our own message", where)
    inside = content.type_of(body)
    text = content.words_of(body)
    if text is None and inside in content.NOTICES:
        return told.noted(inside, where)
    message_id = named(body.get("message_id"))
    edited = kind.startswith("edited_")
    if edited and message_id is None:
        return told.noted(_short(kind), where)
    at = instant(body.get("date"))
    more = {} if inside is None else content.inside(body, inside)
    shown = beside(body)
    more |= {**shown, "attachments": (*more.get("attachments", ()), *shown.get("attachments", ()))}
    return Item(
        "edited" if edited else "message",
        told.number,
        told.digest,
        conversation=where,
        person=_person(body, chat_id),
        text=content.placeholder(body, inside) if text is None else text,
        sent_at=(instant(body.get("edit_date")) or at) if edited else at,
        platform_id=None if edited else message_id,
        about=message_id if edited else None,
        reply_to=content.reply_to(body) if "reply_to_message" in body else None,
        **more,
    )


def _conversation(body: dict[str, Any], chat_id: int) -> str:
    """Name the conversation: the chat, and what is apart within it.

    A thread is a topic only where that is said: elsewhere it is a chain of replies.
    """
    forum = body.get("is_topic_message") is True
    return TelegramChat(
        str(chat_id),
        named(body.get("business_connection_id")),
        whole(body.get("message_thread_id")) if forum else None,
        whole(part(body, "direct_messages_topic").get("topic_id")),
    ).name


def _ours(kind: str, body: dict[str, Any], chat_id: int) -> bool:
    """Whether we wrote it ourselves, by another program, in a chat the bot looks after."""
    if not kind.endswith("business_message"):
        return False
    sender, chat = part(body, "from"), part(body, "chat")
    elsewhere = whole(sender.get("id")) not in (None, chat_id)
    return "sender_business_bot" in body or (chat.get("type") == "private" and elsewhere)


def _deleted(body: dict[str, Any], told: _Told) -> tuple[Item, ...]:
    """Who deleted them, and when, is not said."""
    chat_id = whole(part(body, "chat").get("id"))
    listed = body.get("message_ids")
    ids = [named(each) for each in listed[:MOST]] if isinstance(listed, list) else []
    gone = [id for id in dict.fromkeys(ids) if id is not None]
    if chat_id is None or not gone:
        return (told.noted("deleted_business_messages of no message"),)
    where = _conversation(body, chat_id)
    return tuple(
        Item("deleted", f"{told.number}:{id}", told.digest, conversation=where, about=id)
        for id in gone
    )


def _reaction(body: dict[str, Any], told: _Told) -> Item:
    chat_id = whole(part(body, "chat").get("id"))
    about = named(body.get("message_id"))
    if chat_id is None or about is None:
        return told.noted("message_reaction to no message")
    new = body.get("new_reaction")
    now = new if isinstance(new, list) else []
    shown = [_emoji(each) for each in now if isinstance(each, dict)]
    return Item(
        "reacted",
        told.number,
        told.digest,
        conversation=_conversation(body, chat_id),
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


def _pressed(body: dict[str, Any], told: _Told) -> Item:
    """A button under a message of ours was pressed: that is what the customer says."""
    on = part(body, "message")
    chat_id = whole(part(on, "chat").get("id"))
    if chat_id is None:
        return told.noted("callback_query without a chat")
    pressed = words(body.get("data"), 4096) or words(body.get("game_short_name"), SHORT)
    label = _label(on, pressed)
    return Item(
        "message",
        told.number,
        told.digest,
        conversation=_conversation(on, chat_id),
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
