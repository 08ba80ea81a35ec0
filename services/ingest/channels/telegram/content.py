"""The content of a Telegram message: text, files, location (core.telegram.org/bots/api#message).

Every type has a text, so that the reader of the request sees what arrived.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ingest.channels.parsing import (
    MAX_NAME_CHARS,
    byte_count,
    coordinates,
    identifier,
    subobject,
    text_or_none,
)
from ingest.channels.telegram.vcards import properties_in
from ingest.domain.items import Person, SharedLocation
from trunkline_contracts.parts import Attachment

JsonObject = dict[str, Any]

FILE_TYPES: dict[str, str | None] = {
    "animation": "video/mp4",
    "audio": "audio/mpeg",
    "document": None,
    "video": "video/mp4",
    "video_note": "video/mp4",
    "voice": "audio/ogg",
}
"""Types that are one file, with the content type to assume if the platform gives none."""

SERVICE_TYPES = frozenset(
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
"""Types that the platform writes about the chat itself: no person's message."""

METADATA_KEYS = frozenset(
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
"""Keys that describe a message but are not its content."""

COMPATIBILITY_TYPES = {"animation": "document", "venue": "location"}
"""Types that are sent with a simpler type beside them, for programs that do not know them."""


def type_of(body: JsonObject) -> str | None:
    """Return the type of a message's content besides its text; None if there is none."""
    for richer in COMPATIBILITY_TYPES:
        if richer in body:
            return richer
    return next((text_or_none(key, 64) or "?" for key in body if key not in METADATA_KEYS), None)


def text_of(body: JsonObject) -> str | None:
    """Return the written text, if any."""
    return text_or_none(body.get("text")) or text_or_none(body.get("caption"))


def placeholder(body: JsonObject, kind: str | None) -> str:
    """Return a text that describes a message without text."""
    kind = kind or "message"
    description = _DESCRIPTIONS.get(kind, _emoji)(subobject(body, kind))
    return f"[{kind} {description}]" if description else f"[{kind}]"


def contents_of(body: JsonObject, kind: str) -> dict[str, Any]:
    """Return the item fields of a message's content besides its text."""
    return {
        "attachments": tuple(_files(body, kind))[:50],
        "place": _location(body),
        "cards": _cards(body),
        "button": text_or_none(subobject(body, "web_app_data").get("data"), 4096),
    }


def _emoji(value: JsonObject) -> str | None:
    return text_or_none(value.get("emoji"), 64)


def _first_present(*keys: str) -> Callable[[JsonObject], str | None]:
    """Describe a content by the first of these keys that is present."""
    return lambda value: next(
        filter(None, (text_or_none(value.get(key), MAX_NAME_CHARS) for key in keys)), None
    )


def _dice(value: JsonObject) -> str | None:
    return " ".join(filter(None, (_emoji(value), identifier(value.get("value"))))) or None


def _point(value: JsonObject) -> str | None:
    found = coordinates(value.get("latitude"), value.get("longitude"))
    return f"{found[0]:.6g}, {found[1]:.6g}" if found else None


def _venue(value: JsonObject) -> str | None:
    parts = (
        text_or_none(value.get("title"), MAX_NAME_CHARS),
        text_or_none(value.get("address"), MAX_NAME_CHARS),
    )
    return ", ".join(filter(None, parts)) or None


def _checklist(value: JsonObject) -> str | None:
    tasks = (
        text_or_none(task.get("text"), MAX_NAME_CHARS) for task in _objects(value.get("tasks"))
    )
    parts = (text_or_none(value.get("title"), MAX_NAME_CHARS), *tasks)
    return "; ".join(filter(None, parts)) or None


def _poll(value: JsonObject) -> str | None:
    options = (
        text_or_none(option.get("text"), MAX_NAME_CHARS)
        for option in _objects(value.get("options"))
    )
    parts = text_or_none(value.get("question"), 500)
    listed = " / ".join(filter(None, options))
    return ": ".join(filter(None, (parts, listed))) or None


def _amount(value: JsonObject) -> str | None:
    """Return a price; totals are in the smallest unit of the currency."""
    parts = (identifier(value.get("total_amount")), text_or_none(value.get("currency"), 8))
    return " ".join(filter(None, parts)) or None


def _name(value: JsonObject) -> str | None:
    names = (
        text_or_none(value.get("first_name"), MAX_NAME_CHARS),
        text_or_none(value.get("last_name"), MAX_NAME_CHARS),
    )
    return " ".join(filter(None, names)) or None


def _card(value: JsonObject) -> str | None:
    phone = text_or_none(value.get("phone_number"), 64)
    return ", ".join(filter(None, (_name(value), phone, *_beside(value, phone)))) or None


def _beside(value: JsonObject, phone: str | None) -> Iterator[str]:
    """Return a card's properties besides its number."""
    number = _digits(phone or "")
    for kind, detail in properties_in(text_or_none(value.get("vcard")) or ""):
        if kind != "TEL" or _digits(detail) != number:
            yield detail


def _digits(phone: str) -> str:
    return "".join(filter(str.isdecimal, phone))


_DESCRIPTIONS: dict[str, Callable[[JsonObject], str | None]] = {
    "audio": _first_present("title", "file_name"),
    "checklist": _checklist,
    "contact": _card,
    "dice": _dice,
    "document": _first_present("file_name"),
    "game": _first_present("title"),
    "invoice": _first_present("title"),
    "location": _point,
    "poll": _poll,
    "refunded_payment": _amount,
    "successful_payment": _amount,
    "venue": _venue,
    "video": _first_present("file_name"),
    "web_app_data": _first_present("button_text", "data"),
}


def _files(body: JsonObject, unknown: str) -> Iterator[Attachment]:
    """Yield the files of a message, which are fetched with the bot's token."""
    photo = _photo(body.get("photo"))
    if photo is not None:
        yield photo
    for kind, content_type in FILE_TYPES.items():
        if kind == "document" and "animation" in body:
            continue
        file = _file(subobject(body, kind), content_type)
        if file is not None:
            yield file
    sticker = _file(subobject(body, "sticker"), _sticker_type(subobject(body, "sticker")))
    if sticker is not None:
        yield sticker
    new = None if unknown in {*FILE_TYPES, "sticker"} else _file(subobject(body, unknown), None)
    if new is not None:
        yield new
    for paid in _objects(subobject(body, "paid_media").get("paid_media")):
        yield from _files(paid, "")


def _photo(sizes: Any) -> Attachment | None:
    """Return the largest size of a photo."""
    found = [size for size in _objects(sizes) if text_or_none(size.get("file_id"))]
    largest = max(found, key=lambda each: byte_count(each.get("width")) or 0, default=None)
    return _file(largest, "image/jpeg") if largest else None


def _file(file: JsonObject, content_type: str | None) -> Attachment | None:
    id = text_or_none(file.get("file_id"), 500)
    if id is None:
        return None
    return Attachment(
        name=text_or_none(file.get("file_name"), MAX_NAME_CHARS),
        content_type=text_or_none(file.get("mime_type"), 100) or content_type,
        size=byte_count(file.get("file_size")),
        external_id=id,
    )


def _sticker_type(sticker: JsonObject) -> str:
    if sticker.get("is_animated") is True:
        return "application/x-tgsticker"
    return "video/webm" if sticker.get("is_video") is True else "image/webp"


def _location(body: JsonObject) -> SharedLocation | None:
    """Return the location of a message."""
    venue = subobject(body, "venue")
    position = subobject(venue, "location") or subobject(body, "location")
    found = coordinates(position.get("latitude"), position.get("longitude"))
    if found is None:
        return None
    return SharedLocation(
        *found,
        text_or_none(venue.get("title"), MAX_NAME_CHARS),
        text_or_none(venue.get("address"), MAX_NAME_CHARS),
    )


def _cards(body: JsonObject) -> tuple[Person, ...]:
    """Return the contact cards of a message."""
    shared = _objects(subobject(body, "users_shared").get("users"))
    cards = [
        subobject(body, "contact"),
        *({**user, "user_id": user.get("user_id")} for user in shared),
    ]
    return tuple(card for candidate in cards if (card := _person(candidate)) is not None)[:50]


def _person(card: JsonObject) -> Person | None:
    phone = text_or_none(card.get("phone_number"), 64)
    address = identifier(card.get("user_id")) or phone
    properties = properties_in(text_or_none(card.get("vcard")) or "")
    email = next((value for kind, value in properties if kind == "EMAIL"), None)
    return None if address is None else Person(address, _name(card), email=email, phone=phone)


def reply_to(body: JsonObject) -> str | None:
    """Return the id of the answered message; a topic's first message belongs to the topic, not to a
    reply."""
    answered = identifier(subobject(body, "reply_to_message").get("message_id"))
    topic = (
        identifier(body.get("message_thread_id")) if body.get("is_topic_message") is True else None
    )
    return None if answered == topic else answered


def _objects(value: Any) -> list[JsonObject]:
    return (
        [member for member in value if isinstance(member, dict)] if isinstance(value, list) else []
    )
