"""Updates of Telegram's Bot API, one per delivery (core.telegram.org/bots/api#update).

Message ids are unique within a chat, update ids within a bot: the former find the message an edit
or a reaction refers to, the latter recognise duplicates. One chat may hold several conversations:
those of businesses the bot works for, of a forum's topics, of a channel's direct messages. A
reaction does not name the topic of its message.
"""

from dataclasses import dataclass
from typing import Any

from ingest.channels.parsing import (
    MAX_NAME_CHARS,
    digest,
    identifier,
    int_or_none,
    parse,
    subobject,
    text_or_none,
    timestamp,
)
from ingest.channels.telegram import content
from ingest.channels.telegram.entities import extras_of
from ingest.domain.items import InboundItem, Person, RawDelivery, Unreadable
from trunkline_contracts.chats import TelegramChat

MAX_DELETIONS = 100
"""Deleted messages in one update; the platform sends no more at a time."""

NOTED_UPDATES = frozenset(
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
"""Updates that neither are a message nor refer to one: noted, never answered."""

MESSAGE_UPDATES = frozenset(
    [
        "business_message",
        "channel_post",
        "edited_business_message",
        "edited_channel_post",
        "edited_message",
        "message",
    ]
)
"""Updates that must have a chat. An unknown update with a chat is a message, too."""


@dataclass(frozen=True, slots=True)
class UpdateContext:
    """The values that every item of an update shares."""

    number: str
    digest: str

    def noted(self, reason: str, conversation: str = "") -> InboundItem:
        """Return an item that is only noted."""
        return InboundItem(
            "noted", self.number, self.digest, reason=reason, conversation=conversation
        )


def read(raw: RawDelivery) -> tuple[InboundItem, ...]:
    """Read one update; an unknown type of message is kept with a placeholder as its text."""
    update = parse(raw.body)
    number = int_or_none(update.get("update_id"))
    if number is None:
        raise Unreadable("update_id is missing or not a whole number")
    context = UpdateContext(str(number), digest(update))
    kind = next((key for key in update if key != "update_id"), None)
    if kind is None or kind in NOTED_UPDATES:
        return (context.noted(_short_text(kind or "empty update")),)
    body = update[kind]
    if kind not in MESSAGE_UPDATES and (not isinstance(body, dict) or not _has_chat(body)):
        return (context.noted(_short_text(kind)),)
    if not isinstance(body, dict):
        raise Unreadable(f"{_short_text(kind)} is not an object")
    match kind:
        case "callback_query":
            return (_button_press(body, context),)
        case "message_reaction":
            return (_reaction(body, context),)
        case "deleted_business_messages":
            return _deleted(body, context)
        case _:
            return (_message(kind, body, context),)


def _has_chat(body: dict[str, Any]) -> bool:
    """Return whether an update has a chat, of its own or of the message it refers to."""
    return any(
        int_or_none(subobject(message, "chat").get("id"))
        for message in (body, subobject(body, "message"))
    )


def _message(kind: str, body: dict[str, Any], context: UpdateContext) -> InboundItem:
    chat_id = int_or_none(subobject(body, "chat").get("id"))
    if chat_id is None:
        raise Unreadable(f"{_short_text(kind)}.chat.id is missing or not a whole number")
    conversation = _conversation(body, chat_id)
    if _is_own_message(kind, body, chat_id):
        return context.noted("our own message", conversation)
    inside = content.type_of(body)
    text = content.text_of(body)
    if text is None and inside in content.SERVICE_TYPES:
        return context.noted(inside, conversation)
    message_id = identifier(body.get("message_id"))
    edited = kind.startswith("edited_")
    if edited and message_id is None:
        return context.noted(_short_text(kind), conversation)
    at = timestamp(body.get("date"))
    contents = {} if inside is None else content.contents_of(body, inside)
    extras = extras_of(body)
    contents |= {
        **extras,
        "attachments": (*contents.get("attachments", ()), *extras.get("attachments", ())),
    }
    return InboundItem(
        "edited" if edited else "message",
        context.number,
        context.digest,
        conversation=conversation,
        person=_person(body, chat_id),
        text=content.placeholder(body, inside) if text is None else text,
        sent_at=(timestamp(body.get("edit_date")) or at) if edited else at,
        platform_id=None if edited else message_id,
        about=message_id if edited else None,
        reply_to=content.reply_to(body) if "reply_to_message" in body else None,
        **contents,
    )


def _conversation(body: dict[str, Any], chat_id: int) -> str:
    """Return the conversation's name: the chat, and the separate part of it, if any.

    A thread is a topic only if `is_topic_message` says so; elsewhere it is a chain of replies.
    """
    forum = body.get("is_topic_message") is True
    return TelegramChat(
        str(chat_id),
        identifier(body.get("business_connection_id")),
        int_or_none(body.get("message_thread_id")) if forum else None,
        int_or_none(subobject(body, "direct_messages_topic").get("topic_id")),
    ).name


def _is_own_message(kind: str, body: dict[str, Any], chat_id: int) -> bool:
    """Return whether we wrote a message ourselves, with another program, in a business chat."""
    if not kind.endswith("business_message"):
        return False
    sender, chat = subobject(body, "from"), subobject(body, "chat")
    elsewhere = int_or_none(sender.get("id")) not in (None, chat_id)
    return "sender_business_bot" in body or (chat.get("type") == "private" and elsewhere)


def _deleted(body: dict[str, Any], context: UpdateContext) -> tuple[InboundItem, ...]:
    """Return the deletions; the platform names neither the author nor the time."""
    chat_id = int_or_none(subobject(body, "chat").get("id"))
    listed = body.get("message_ids")
    ids = (
        [identifier(value) for value in listed[:MAX_DELETIONS]] if isinstance(listed, list) else []
    )
    gone = [id for id in dict.fromkeys(ids) if id is not None]
    if chat_id is None or not gone:
        return (context.noted("deleted_business_messages of no message"),)
    conversation = _conversation(body, chat_id)
    return tuple(
        InboundItem(
            "deleted", f"{context.number}:{id}", context.digest, conversation=conversation, about=id
        )
        for id in gone
    )


def _reaction(body: dict[str, Any], context: UpdateContext) -> InboundItem:
    chat_id = int_or_none(subobject(body, "chat").get("id"))
    target_id = identifier(body.get("message_id"))
    if chat_id is None or target_id is None:
        return context.noted("message_reaction to no message")
    new = body.get("new_reaction")
    now = new if isinstance(new, list) else []
    emoji = [_emoji(reaction) for reaction in now if isinstance(reaction, dict)]
    return InboundItem(
        "reacted",
        context.number,
        context.digest,
        conversation=_conversation(body, chat_id),
        person=_person(body, chat_id, ("user", "actor_chat")),
        sent_at=timestamp(body.get("date")),
        about=target_id,
        reaction=" ".join(emoji[:10]) or None,
    )


def _emoji(reaction: dict[str, Any]) -> str:
    emoji = text_or_none(reaction.get("emoji"), 32)
    if emoji is not None:
        return emoji
    custom = text_or_none(reaction.get("custom_emoji_id"), 64)
    return f"custom:{custom}" if custom else f"[{text_or_none(reaction.get('type'), 32) or '?'}]"


def _button_press(body: dict[str, Any], context: UpdateContext) -> InboundItem:
    """Return a message for a pressed button under one of our messages."""
    message = subobject(body, "message")
    chat_id = int_or_none(subobject(message, "chat").get("id"))
    if chat_id is None:
        return context.noted("callback_query without a chat")
    payload = text_or_none(body.get("data"), 4096) or text_or_none(
        body.get("game_short_name"), MAX_NAME_CHARS
    )
    label = _button_label(message, payload)
    return InboundItem(
        "message",
        context.number,
        context.digest,
        conversation=_conversation(message, chat_id),
        person=_person({**body, "chat": message.get("chat")}, chat_id),
        text=label or (f"[button] {payload}" if payload else "[button]"),
        reply_to=identifier(message.get("message_id")),
        button=payload,
    )


def _button_label(message: dict[str, Any], payload: str | None) -> str | None:
    """Return the label of the pressed button."""
    rows = subobject(message, "reply_markup").get("inline_keyboard")
    for row in rows if isinstance(rows, list) else []:
        for button in row if isinstance(row, list) else []:
            if isinstance(button, dict) and payload and button.get("callback_data") == payload:
                return text_or_none(button.get("text"), MAX_NAME_CHARS)
    return None


def _person(
    body: dict[str, Any], chat_id: int, keys: tuple[str, ...] = ("from", "sender_chat", "chat")
) -> Person:
    """Return the author; in a channel, which names none, the channel itself."""
    for key in keys:
        sender = subobject(body, key)
        address = int_or_none(sender.get("id"))
        if address is not None:
            names = (
                text_or_none(sender.get("first_name"), MAX_NAME_CHARS),
                text_or_none(sender.get("last_name"), MAX_NAME_CHARS),
            )
            name = " ".join(filter(None, names)) or text_or_none(
                sender.get("title"), MAX_NAME_CHARS
            )
            name = name or text_or_none(sender.get("username"), MAX_NAME_CHARS)
            return Person(str(address), name, text_or_none(sender.get("language_code"), 35))
    return Person(str(chat_id))


def _short_text(text: str) -> str:
    return text_or_none(text, 64) or "?"
