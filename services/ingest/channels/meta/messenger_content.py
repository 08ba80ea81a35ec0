"""What is in a message of Messenger or Instagram: words, files, a place.

Every message has a text, so that whoever reads the request sees that something came, and what.
"""

from collections.abc import Iterator

from ingest.channels.meta.webhook import LISTED, Piece, described, joined, pieces, short, text
from ingest.channels.parsing import degrees, digest_but_addresses, link, named, part, words
from ingest.domain.items import Place
from trunkline_contracts.parts import Attachment

MOST = 500
"""Messages one receipt can name."""
IDS = ("id", "sticker_id", "reel_video_id", "ig_post_media_id", "story_media_id")
"""Where a file's id may stand; most files have an address only."""


def digest_of(message: Piece) -> str:
    """Sum up what a message says; addresses are left out, signed anew for whoever is told."""
    story = part(part(message, "reply_to"), "story")
    files = [
        [one.get("type"), {key: told for key, told in part(one, "payload").items() if key != "url"}]
        for one in pieces(message, "attachments")
    ]
    rest = {key: told for key, told in message.items() if key not in ("attachments", "reply_to")}
    answered = [part(message, "reply_to").get("mid"), story.get("id")]
    return digest_but_addresses([rest, files, answered])


def text_of(message: Piece) -> str:
    """Give the words of a message, or words for what is in it."""
    told = text(message.get("text"))
    if told is not None:
        return told
    if message.get("is_unsupported") is True:
        return described("unsupported")
    kinds = [_described(one) for one in pieces(message, "attachments")]
    return joined(" ", *dict.fromkeys(kinds)) or described("message")


def _described(file: Piece) -> str:
    payload = part(file, "payload")
    kind = words(file.get("type"), 64) or "attachment"
    if kind == "image" and named(payload.get("sticker_id")):
        return described("sticker")
    point = _point(file)
    where = f"{point[0]:.6g}, {point[1]:.6g}" if point else None
    return described(kind, short(file.get("title")) or short(payload.get("title")) or where)


def _point(file: Piece) -> tuple[float, float] | None:
    where = part(part(file, "payload"), "coordinates")
    return degrees(where.get("lat"), where.get("long"))


def place_of(message: Piece) -> Place | None:
    """Give the place a message shows."""
    for one in pieces(message, "attachments"):
        if (found := _point(one)) is not None:
            return Place(*found, short(one.get("title")))
    return None


def attachments_of(message: Piece) -> tuple[Attachment, ...]:
    """Name the files of a message, the story it answers, and what it came about."""
    return tuple(_attachments(message))[:LISTED]


def _attachments(message: Piece) -> Iterator[Attachment]:
    for one in pieces(message, "attachments"):
        yield from _files(one)
    story = part(part(message, "reply_to"), "story")
    yield from _named("story", named(story.get("id")), link(story.get("url")))
    came = part(message, "referral")
    yield from _named("product", named(part(came, "product").get("id")))
    about = part(came, "ads_context_data")
    title = short(about.get("ad_title")) or "ad"
    yield from _named(title, named(came.get("ad_id")), link(about.get("photo_url")))
    yield from _named("link", words(came.get("ref"), 500))


def _files(file: Piece) -> Iterator[Attachment]:
    payload = part(file, "payload")
    called = short(file.get("title")) or short(payload.get("title"))
    id = next(filter(None, (named(payload.get(key)) for key in IDS)), None)
    kind = words(file.get("type"), 64) or "attachment"
    yield from _named(called or kind, id, link(payload.get("url")) or link(file.get("url")))
    for goods in pieces(part(payload, "product"), "elements"):
        called = short(goods.get("title")) or "product"
        yield from _named(called, named(goods.get("id")), link(goods.get("image_url")))


def _named(name: str, id: str | None, url: str | None = None) -> Iterator[Attachment]:
    if id or url:
        yield Attachment(name=name, url=url, external_id=id)
