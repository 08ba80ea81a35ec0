"""Instagram: direct messages, as Messenger's; comments and mentions, as changes.

A comment's conversation is its author's share of the thread below a picture: others who join in
there have their own. https://developers.facebook.com/docs/graph-api/webhooks/reference/instagram
"""

from collections.abc import Iterator
from types import MappingProxyType

from ingest.channels.meta.messenger import Change, events
from ingest.channels.meta.webhook import Piece, Read, batch, described, joined, said_at, short, text
from ingest.channels.parsing import digest, named, part, words
from ingest.domain.items import Item, Person, Raw, Unreadable
from trunkline_contracts.parts import Attachment


def read(raw: Raw) -> tuple[Read, ...]:
    """Read one delivery."""
    return batch(raw, "instagram", _entry)


def _entry(where: str, entry: Piece, raw: Raw) -> Iterator[Read]:
    yield from events(where, entry, raw, CHANGES)


def _comment(value: Piece, entry: Piece, raw: Raw) -> Iterator[Item]:
    """A comment, under a picture or a live video; our own are noted."""
    id, author = named(value.get("id")), part(value, "from")
    who, summary = named(author.get("id")), digest([value.get("text"), value.get("id")])
    above = named(value.get("parent_id"))
    if who is None and id is None:
        raise Unreadable("id and from.id are missing: it cannot be found, and nobody answered")
    root, at = above or id or summary, said_at(entry.get("time"), raw)
    ours = author.get("self_ig_scoped_id") is not None
    if ours or (who is not None and who == named(entry.get("id"))):
        yield Item(
            "noted", f"echo:comment:{id or summary}", summary, reason="echo comment", sent_at=at
        )
        return
    yield Item(
        "message",
        id or f"comment:{who}:{summary}",
        summary,
        conversation=f"comment:{root}:{who or id}",
        person=Person(who or f"comment:{id}", short(author.get("username"))),
        text=text(value.get("text")) or described("comment"),
        sent_at=at,
        platform_id=id,
        attachments=_media(value),
        reply_to=above,
    )


def _media(value: Piece) -> tuple[Attachment, ...]:
    """Name the picture a comment is under."""
    media = part(value, "media")
    id, kind = named(media.get("id")), words(media.get("media_product_type"), 64)
    return () if id is None else (Attachment(name=kind or "media", external_id=id),)


def _mention(value: Piece, entry: Piece, raw: Raw) -> Iterator[Item]:
    """Somebody named us, elsewhere; who and how is not told, only where."""
    media, comment = named(value.get("media_id")), named(value.get("comment_id"))
    key = joined(":", "mention", media, comment)
    if media is None and comment is None:
        raise Unreadable("media_id and comment_id are missing: it cannot be found")
    yield Item(
        "message",
        key,
        digest(key),
        conversation=key or "",
        person=Person(key or ""),
        text=described("mention"),
        sent_at=said_at(entry.get("time"), raw),
        platform_id=comment,
        attachments=(Attachment(name="media", external_id=media),) if media else (),
    )


CHANGES: MappingProxyType[str, Change] = MappingProxyType(
    {"comments": _comment, "live_comments": _comment, "mentions": _mention}
)
