"""What is in a Telegram message: words, files, a place (core.telegram.org/bots/api#message).

Every type has a text, so that whoever reads the request sees that something came, and what. Long,
as it lists every type.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ingest.channels.parsing import SHORT, degrees, named, part, size, words
from ingest.channels.telegram.vcards import told_in
from ingest.domain.items import Person, Place
from trunkline_contracts.parts import Attachment

Part = dict[str, Any]

FILES: dict[str, str | None] = {
    "animation": "video/mp4",
    "audio": "audio/mpeg",
    "document": None,
    "video": "video/mp4",
    "video_note": "video/mp4",
    "voice": "audio/ogg",
}
"""Types that are one file, and what kind it is when that is not said."""

NOTICES = frozenset(
    [
        "boost_added", "channel_chat_created", "chat_background_set", "chat_owner_changed",
        "chat_owner_left", "connected_website", "delete_chat_photo",
        "direct_message_price_changed", "forum_topic_closed", "forum_topic_created",
        "forum_topic_edited", "forum_topic_reopened", "general_forum_topic_hidden",
        "general_forum_topic_unhidden", "giveaway_completed", "giveaway_created",
        "group_chat_created", "left_chat_member", "message_auto_delete_timer_changed",
        "migrate_from_chat_id", "migrate_to_chat_id", "new_chat_members", "new_chat_photo",
        "new_chat_title", "paid_message_price_changed", "pinned_message",
        "proximity_alert_triggered", "supergroup_chat_created", "video_chat_ended",
        "video_chat_participants_invited", "video_chat_scheduled", "video_chat_started",
        "write_access_allowed",
    ]
)  # fmt: skip
"""Types the platform writes itself, about the chat: nobody said anything."""

BESIDE = frozenset(
    [
        "author_signature", "business_connection_id", "caption", "caption_entities", "chat",
        "date", "direct_messages_topic", "edit_date", "effect_id", "entities", "external_reply",
        "forward_origin", "from", "has_media_spoiler", "has_protected_content",
        "is_automatic_forward", "is_from_offline", "is_paid_post", "is_topic_message",
        "link_preview_options", "media_group_id", "message_id", "message_thread_id",
        "paid_star_count", "quote", "reply_markup", "reply_to_checklist_task_id",
        "reply_to_message", "reply_to_story", "sender_boost_count", "sender_business_bot",
        "sender_chat", "sender_tag", "show_caption_above_media", "suggested_post_info", "text",
        "via_bot",
    ]
)  # fmt: skip
"""Keys that tell of a message, not what is in it."""

TWICE = {"animation": "document", "venue": "location"}
"""Types sent with another beside them, for programs that do not know them."""


def type_of(body: Part) -> str | None:
    """Name what is in a message beside its words; None when there is nothing."""
    for richer in TWICE:
        if richer in body:
            return richer
    return next((words(key, 64) or "?" for key in body if key not in BESIDE), None)


def words_of(body: Part) -> str | None:
    """Give what was written, if something was."""
    return words(body.get("text")) or words(body.get("caption"))


def placeholder(body: Part, kind: str | None) -> str:
    """Give words for what is in a message without any."""
    kind = kind or "message"
    told = _DESCRIBED.get(kind, _emoji)(part(body, kind))
    return f"[{kind} {told}]" if told else f"[{kind}]"


def inside(body: Part, kind: str) -> dict[str, Any]:
    """Give what is in a message beside its words."""
    return {
        "attachments": tuple(_files(body, kind))[:50],
        "place": _place(body),
        "cards": _cards(body),
        "button": words(part(body, "web_app_data").get("data"), 4096),
    }


def _emoji(value: Part) -> str | None:
    return words(value.get("emoji"), 64)


def _first(*keys: str) -> Callable[[Part], str | None]:
    """Describe by whichever of these is said."""
    return lambda value: next(filter(None, (words(value.get(key), SHORT) for key in keys)), None)


def _dice(value: Part) -> str | None:
    return " ".join(filter(None, (_emoji(value), named(value.get("value"))))) or None


def _point(value: Part) -> str | None:
    found = degrees(value.get("latitude"), value.get("longitude"))
    return f"{found[0]:.6g}, {found[1]:.6g}" if found else None


def _venue(value: Part) -> str | None:
    told = (words(value.get("title"), SHORT), words(value.get("address"), SHORT))
    return ", ".join(filter(None, told)) or None


def _checklist(value: Part) -> str | None:
    tasks = (words(task.get("text"), SHORT) for task in _parts(value.get("tasks")))
    told = (words(value.get("title"), SHORT), *tasks)
    return "; ".join(filter(None, told)) or None


def _poll(value: Part) -> str | None:
    options = (words(option.get("text"), SHORT) for option in _parts(value.get("options")))
    told = words(value.get("question"), 500)
    listed = " / ".join(filter(None, options))
    return ": ".join(filter(None, (told, listed))) or None


def _amount(value: Part) -> str | None:
    """Totals are in the smallest unit of the currency."""
    told = (named(value.get("total_amount")), words(value.get("currency"), 8))
    return " ".join(filter(None, told)) or None


def _name(value: Part) -> str | None:
    told = (words(value.get("first_name"), SHORT), words(value.get("last_name"), SHORT))
    return " ".join(filter(None, told)) or None


def _card(value: Part) -> str | None:
    phone = words(value.get("phone_number"), 64)
    return ", ".join(filter(None, (_name(value), phone, *_beside(value, phone)))) or None


def _beside(value: Part, phone: str | None) -> Iterator[str]:
    """Give what a card tells beside the number that is told anyway."""
    known = _digits(phone or "")
    for kind, told in told_in(words(value.get("vcard")) or ""):
        if kind != "TEL" or _digits(told) != known:
            yield told


def _digits(phone: str) -> str:
    return "".join(filter(str.isdecimal, phone))


_DESCRIBED: dict[str, Callable[[Part], str | None]] = {
    "audio": _first("title", "file_name"),
    "checklist": _checklist,
    "contact": _card,
    "dice": _dice,
    "document": _first("file_name"),
    "game": _first("title"),
    "invoice": _first("title"),
    "location": _point,
    "poll": _poll,
    "refunded_payment": _amount,
    "successful_payment": _amount,
    "venue": _venue,
    "video": _first("file_name"),
    "web_app_data": _first("button_text", "data"),
}


def _files(body: Part, unknown: str) -> Iterator[Attachment]:
    """Name the files of a message; the platform gives them to whoever shows the bot's token."""
    photo = _photo(body.get("photo"))
    if photo is not None:
        yield photo
    for kind, content_type in FILES.items():
        if kind == "document" and "animation" in body:
            continue
        file = _file(part(body, kind), content_type)
        if file is not None:
            yield file
    sticker = _file(part(body, "sticker"), _sticker_type(part(body, "sticker")))
    if sticker is not None:
        yield sticker
    new = None if unknown in {*FILES, "sticker"} else _file(part(body, unknown), None)
    if new is not None:
        yield new
    for paid in _parts(part(body, "paid_media").get("paid_media")):
        yield from _files(paid, "")


def _photo(sizes: Any) -> Attachment | None:
    """Of a photo's sizes the largest."""
    found = [each for each in _parts(sizes) if words(each.get("file_id"))]
    largest = max(found, key=lambda each: size(each.get("width")) or 0, default=None)
    return _file(largest, "image/jpeg") if largest else None


def _file(file: Part, content_type: str | None) -> Attachment | None:
    id = words(file.get("file_id"), 500)
    if id is None:
        return None
    return Attachment(
        name=words(file.get("file_name"), SHORT),
        content_type=words(file.get("mime_type"), 100) or content_type,
        size=size(file.get("file_size")),
        external_id=id,
    )


def _sticker_type(sticker: Part) -> str:
    if sticker.get("is_animated") is True:
        return "application/x-tgsticker"
    return "video/webm" if sticker.get("is_video") is True else "image/webp"


def _place(body: Part) -> Place | None:
    """Give the place a message shows."""
    venue = part(body, "venue")
    where = part(venue, "location") or part(body, "location")
    found = degrees(where.get("latitude"), where.get("longitude"))
    if found is None:
        return None
    return Place(*found, words(venue.get("title"), SHORT), words(venue.get("address"), SHORT))


def _cards(body: Part) -> tuple[Person, ...]:
    """Give the contacts in a message."""
    shared = _parts(part(body, "users_shared").get("users"))
    cards = [part(body, "contact"), *({**user, "user_id": user.get("user_id")} for user in shared)]
    return tuple(card for each in cards if (card := _person(each)) is not None)[:50]


def _person(card: Part) -> Person | None:
    phone = words(card.get("phone_number"), 64)
    address = named(card.get("user_id")) or phone
    beside = told_in(words(card.get("vcard")) or "")
    email = next((told for kind, told in beside if kind == "EMAIL"), None)
    return None if address is None else Person(address, _name(card), email=email, phone=phone)


def reply_to(body: Part) -> str | None:
    """Name the message this one answers; the first of a topic is the topic's, not an answer."""
    answered = named(part(body, "reply_to_message").get("message_id"))
    topic = named(body.get("message_thread_id")) if body.get("is_topic_message") is True else None
    return None if answered == topic else answered


def _parts(value: Any) -> list[Part]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
