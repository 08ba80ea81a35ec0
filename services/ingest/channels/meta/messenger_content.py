"""What is in a message of Messenger or Instagram: words, files, a place.

Every message has a text, so that whoever reads the request sees that something came, and what.
"""

from collections.abc import Iterator

from ingest.channels.meta.webhook import (
    MAX_LISTED,
    JsonObject,
    join_present,
    long_text,
    objects_in,
    placeholder,
    short_text,
)
from ingest.channels.parsing import (
    coordinates,
    digest_without_urls,
    identifier,
    subobject,
    text_or_none,
    url_or_none,
)
from ingest.domain.items import SharedLocation
from trunkline_contracts.parts import Attachment

MAX_RECEIPT_IDS = 500
"""Messages one receipt can name."""
FILE_ID_KEYS = ("id", "sticker_id", "reel_video_id", "ig_post_media_id", "story_media_id")
"""Where a file's id may stand; most files have an address only."""


def digest_of(message: JsonObject) -> str:
    """Sum up what a message says; addresses are left out, signed anew for whoever is told."""
    story = subobject(subobject(message, "reply_to"), "story")
    files = [
        [
            one.get("type"),
            {key: told for key, told in subobject(one, "payload").items() if key != "url"},
        ]
        for one in objects_in(message, "attachments")
    ]
    rest = {key: told for key, told in message.items() if key not in ("attachments", "reply_to")}
    answered = [subobject(message, "reply_to").get("mid"), story.get("id")]
    return digest_without_urls([rest, files, answered])


def text_of(message: JsonObject) -> str:
    """Give the words of a message, or words for what is in it."""
    told = long_text(message.get("text"))
    if told is not None:
        return told
    if message.get("is_unsupported") is True:
        return placeholder("unsupported")
    kinds = [_file_placeholder(one) for one in objects_in(message, "attachments")]
    return join_present(" ", *dict.fromkeys(kinds)) or placeholder("message")


def _file_placeholder(file: JsonObject) -> str:
    payload = subobject(file, "payload")
    kind = text_or_none(file.get("type"), 64) or "attachment"
    if kind == "image" and identifier(payload.get("sticker_id")):
        return placeholder("sticker")
    point = _point(file)
    where = f"{point[0]:.6g}, {point[1]:.6g}" if point else None
    return placeholder(
        kind, short_text(file.get("title")) or short_text(payload.get("title")) or where
    )


def _point(file: JsonObject) -> tuple[float, float] | None:
    where = subobject(subobject(file, "payload"), "coordinates")
    return coordinates(where.get("lat"), where.get("long"))


def location_of(message: JsonObject) -> SharedLocation | None:
    """Give the place a message shows."""
    for one in objects_in(message, "attachments"):
        if (found := _point(one)) is not None:
            return SharedLocation(*found, short_text(one.get("title")))
    return None


def attachments_of(message: JsonObject) -> tuple[Attachment, ...]:
    """Name the files of a message, the story it answers, and what it came about."""
    return tuple(_attachments(message))[:MAX_LISTED]


def _attachments(message: JsonObject) -> Iterator[Attachment]:
    for one in objects_in(message, "attachments"):
        yield from _files(one)
    story = subobject(subobject(message, "reply_to"), "story")
    yield from _attachment("story", identifier(story.get("id")), url_or_none(story.get("url")))
    came = subobject(message, "referral")
    yield from _attachment("product", identifier(subobject(came, "product").get("id")))
    about = subobject(came, "ads_context_data")
    title = short_text(about.get("ad_title")) or "ad"
    yield from _attachment(
        title, identifier(came.get("ad_id")), url_or_none(about.get("photo_url"))
    )
    yield from _attachment("link", text_or_none(came.get("ref"), 500))


def _files(file: JsonObject) -> Iterator[Attachment]:
    payload = subobject(file, "payload")
    called = short_text(file.get("title")) or short_text(payload.get("title"))
    id = next(filter(None, (identifier(payload.get(key)) for key in FILE_ID_KEYS)), None)
    kind = text_or_none(file.get("type"), 64) or "attachment"
    yield from _attachment(
        called or kind, id, url_or_none(payload.get("url")) or url_or_none(file.get("url"))
    )
    for goods in objects_in(subobject(payload, "product"), "elements"):
        called = short_text(goods.get("title")) or "product"
        yield from _attachment(
            called, identifier(goods.get("id")), url_or_none(goods.get("image_url"))
        )


def _attachment(name: str, id: str | None, url: str | None = None) -> Iterator[Attachment]:
    if id or url:
        yield Attachment(name=name, url=url, external_id=id)
