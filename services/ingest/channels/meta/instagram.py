"""Instagram: direct messages in Messenger's form; comments and mentions as changes.

A comment's conversation is its author's part of the thread below a post: other people in that
thread have conversations of their own.
https://developers.facebook.com/docs/graph-api/webhooks/reference/instagram
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


def _entry(path: str, entry: JsonObject, raw: RawDelivery) -> Iterator[ParsedItem]:
    yield from read_events(path, entry, raw, CHANGES)


def _comment(value: JsonObject, entry: JsonObject, raw: RawDelivery) -> Iterator[InboundItem]:
    """Yield a comment on a post or a live video; our own comments are noted."""
    id, author = identifier(value.get("id")), subobject(value, "from")
    author_id, summary = identifier(author.get("id")), digest([value.get("text"), value.get("id")])
    above = identifier(value.get("parent_id"))
    if author_id is None and id is None:
        raise Unreadable("id and from.id are missing: it can be neither found nor answered")
    root, at = above or id or summary, sent_at(entry.get("time"), raw)
    ours = author.get("self_ig_scoped_id") is not None
    if ours or (author_id is not None and author_id == identifier(entry.get("id"))):
        yield InboundItem(
            "noted", f"echo:comment:{id or summary}", summary, reason="echo comment", sent_at=at
        )
        return
    yield InboundItem(
        "message",
        id or f"comment:{author_id}:{summary}",
        summary,
        conversation=f"comment:{root}:{author_id or id}",
        person=Person(author_id or f"comment:{id}", short_text(author.get("username"))),
        text=long_text(value.get("text")) or placeholder("comment"),
        sent_at=at,
        platform_id=id,
        attachments=_media_of_comment(value),
        reply_to=above,
    )


def _media_of_comment(value: JsonObject) -> tuple[Attachment, ...]:
    """Return the post a comment belongs to."""
    media = subobject(value, "media")
    id, kind = identifier(media.get("id")), text_or_none(media.get("media_product_type"), 64)
    return () if id is None else (Attachment(name=kind or "media", external_id=id),)


def _mention(value: JsonObject, entry: JsonObject, raw: RawDelivery) -> Iterator[InboundItem]:
    """Yield a message for a mention elsewhere: the platform tells only where, not the author or the
    text."""
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
