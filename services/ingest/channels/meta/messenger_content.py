"""The content of a Messenger or Instagram message: text, files, location.

Every message has a text, so that the reader of the request sees what arrived.
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
"""Messages that one receipt may name."""
FILE_ID_KEYS = ("id", "sticker_id", "reel_video_id", "ig_post_media_id", "story_media_id")
"""Keys that may hold a file's id; most files have only a URL."""


def digest_of(message: JsonObject) -> str:
    """Return the digest of a message without URLs, which are signed anew each time."""
    story = subobject(subobject(message, "reply_to"), "story")
    files = [
        [
            file.get("type"),
            {key: value for key, value in subobject(file, "payload").items() if key != "url"},
        ]
        for file in objects_in(message, "attachments")
    ]
    rest = {key: value for key, value in message.items() if key not in ("attachments", "reply_to")}
    answered = [subobject(message, "reply_to").get("mid"), story.get("id")]
    return digest_without_urls([rest, files, answered])


def text_of(message: JsonObject) -> str:
    """Return the text of a message, or placeholders for its content."""
    text = long_text(message.get("text"))
    if text is not None:
        return text
    if message.get("is_unsupported") is True:
        return placeholder("unsupported")
    kinds = [_file_placeholder(file) for file in objects_in(message, "attachments")]
    return join_present(" ", *dict.fromkeys(kinds)) or placeholder("message")


def _file_placeholder(file: JsonObject) -> str:
    payload = subobject(file, "payload")
    kind = text_or_none(file.get("type"), 64) or "attachment"
    if kind == "image" and identifier(payload.get("sticker_id")):
        return placeholder("sticker")
    point = _point(file)
    location = f"{point[0]:.6g}, {point[1]:.6g}" if point else None
    return placeholder(
        kind, short_text(file.get("title")) or short_text(payload.get("title")) or location
    )


def _point(file: JsonObject) -> tuple[float, float] | None:
    position = subobject(subobject(file, "payload"), "coordinates")
    return coordinates(position.get("lat"), position.get("long"))


def location_of(message: JsonObject) -> SharedLocation | None:
    """Return the location of a message."""
    for file in objects_in(message, "attachments"):
        if (found := _point(file)) is not None:
            return SharedLocation(*found, short_text(file.get("title")))
    return None


def attachments_of(message: JsonObject) -> tuple[Attachment, ...]:
    """Return the files of a message, the story it answers, and the product or ad it came from."""
    return tuple(_attachments(message))[:MAX_LISTED]


def _attachments(message: JsonObject) -> Iterator[Attachment]:
    for file in objects_in(message, "attachments"):
        yield from _files(file)
    story = subobject(subobject(message, "reply_to"), "story")
    yield from _attachment("story", identifier(story.get("id")), url_or_none(story.get("url")))
    referral = subobject(message, "referral")
    yield from _attachment("product", identifier(subobject(referral, "product").get("id")))
    ad = subobject(referral, "ads_context_data")
    title = short_text(ad.get("ad_title")) or "ad"
    yield from _attachment(
        title, identifier(referral.get("ad_id")), url_or_none(ad.get("photo_url"))
    )
    yield from _attachment("link", text_or_none(referral.get("ref"), 500))


def _files(file: JsonObject) -> Iterator[Attachment]:
    payload = subobject(file, "payload")
    name = short_text(file.get("title")) or short_text(payload.get("title"))
    id = next(filter(None, (identifier(payload.get(key)) for key in FILE_ID_KEYS)), None)
    kind = text_or_none(file.get("type"), 64) or "attachment"
    yield from _attachment(
        name or kind, id, url_or_none(payload.get("url")) or url_or_none(file.get("url"))
    )
    for product in objects_in(subobject(payload, "product"), "elements"):
        name = short_text(product.get("title")) or "product"
        yield from _attachment(
            name, identifier(product.get("id")), url_or_none(product.get("image_url"))
        )


def _attachment(name: str, id: str | None, url: str | None = None) -> Iterator[Attachment]:
    if id or url:
        yield Attachment(name=name, url=url, external_id=id)
