"""Instagram: direct messages, as Messenger's; comments and mentions, as changes.

A comment's conversation is its author's share of the thread below a picture: others who join in
there have their own. https://developers.facebook.com/docs/graph-api/webhooks/reference/instagram
"""

from collections.abc import Iterator
from types import MappingProxyType

from ingest.channels.meta.messenger import Change, read_events
from ingest.channels.meta.webhook import (
    JsonObject,
    join_present,
    long_text,
    placeholder,
    read_batch,
    sent_at,
    short_text,
)
from ingest.channels.parsing import ParsedItem, digest, identifier, subobject, text_or_none
from ingest.domain.items import InboundItem, Person, RawDelivery, Unreadable
from trunkline_contracts.parts import Attachment


def read(raw: RawDelivery) -> tuple[ParsedItem, ...]:
    """Read one delivery."""
    return read_batch(raw, "instagram", _entry)


def _entry(where: str, entry: JsonObject, raw: RawDelivery) -> Iterator[ParsedItem]:
    yield from read_events(where, entry, raw, CHANGES)


def _comment(value: JsonObject, entry: JsonObject, raw: RawDelivery) -> Iterator[InboundItem]:
    """A comment, under a picture or a live video; our own are noted."""
    id, author = identifier(value.get("id")), subobject(value, "from")
    who, summary = identifier(author.get("id")), digest([value.get("text"), value.get("id")])
    above = identifier(value.get("parent_id"))
    if who is None and id is None:
        raise Unreadable("id and from.id are missing: it cannot be found, and nobody answered")
    root, at = above or id or summary, sent_at(entry.get("time"), raw)
    ours = author.get("self_ig_scoped_id") is not None
    if ours or (who is not None and who == identifier(entry.get("id"))):
        yield InboundItem(
            "noted", f"echo:comment:{id or summary}", summary, reason="echo comment", sent_at=at
        )
        return
    yield InboundItem(
        "message",
        id or f"comment:{who}:{summary}",
        summary,
        conversation=f"comment:{root}:{who or id}",
        person=Person(who or f"comment:{id}", short_text(author.get("username"))),
        text=long_text(value.get("text")) or placeholder("comment"),
        sent_at=at,
        platform_id=id,
        attachments=_media_of_comment(value),
        reply_to=above,
    )


def _media_of_comment(value: JsonObject) -> tuple[Attachment, ...]:
    """Name the picture a comment is under."""
    media = subobject(value, "media")
    id, kind = identifier(media.get("id")), text_or_none(media.get("media_product_type"), 64)
    return () if id is None else (Attachment(name=kind or "media", external_id=id),)


def _mention(value: JsonObject, entry: JsonObject, raw: RawDelivery) -> Iterator[InboundItem]:
    """Somebody named us, elsewhere; who and how is not told, only where."""
    media, comment = identifier(value.get("media_id")), identifier(value.get("comment_id"))
    key = join_present(":", "mention", media, comment)
    if media is None and comment is None:
        raise Unreadable("media_id and comment_id are missing: it cannot be found")
    yield InboundItem(
        "message",
        key,
        digest(key),
        conversation=key or "",
        person=Person(key or ""),
        text=placeholder("mention"),
        sent_at=sent_at(entry.get("time"), raw),
        platform_id=comment,
        attachments=(Attachment(name="media", external_id=media),) if media else (),
    )


CHANGES: MappingProxyType[str, Change] = MappingProxyType(
    {"comments": _comment, "live_comments": _comment, "mentions": _mention}
)
