"""Links, quotations and forward origins of a Telegram message.

core.telegram.org/bots/api#messageentity, #textquote, #externalreplyinfo, #messageorigin
"""

from collections.abc import Iterator
from typing import Any

from ingest.channels.parsing import (
    MAX_NAME_CHARS,
    int_or_none,
    subobject,
    text_or_none,
    url_or_none,
)
from ingest.channels.telegram import content
from trunkline_contracts.parts import Attachment

MAX_QUOTE_CHARS = 4096
"""Characters kept of a quotation."""
FORWARD_FLAGS = {
    "channel": "it was forwarded from a channel",
    "chat": "it was forwarded from a group",
    "hidden_user": "it was forwarded: somebody else wrote it",
    "user": "it was forwarded: somebody else wrote it",
}
"""Flags by the type of origin; the original author's name is left out for privacy."""


def extras_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return the item fields for links, quotation and origin; only those that are present."""
    answered = subobject(body, "external_reply")
    kind = content.type_of({key: answered[key] for key in answered if key != "origin"})
    quoted = text_or_none(subobject(body, "quote").get("text"), MAX_QUOTE_CHARS)
    files = content.contents_of(answered, kind)["attachments"] if kind else ()
    extras = {
        "attachments": (*_links(body, "text", "entities"),
                        *_links(body, "caption", "caption_entities"), *files),
        "quoted": quoted or (content.placeholder(answered, kind) if kind else None),
        "flags": tuple(_forward_flags(body)),
    }  # fmt: skip
    return {name: value for name, value in extras.items() if value}


def _links(body: dict[str, Any], text_key: str, entities_key: str) -> Iterator[Attachment]:
    """Yield the links under words; offsets count UTF-16 code units."""
    text, listed = body.get(text_key), body.get(entities_key)
    if not isinstance(text, str) or not isinstance(listed, list):
        return
    units = text.encode("utf-16-le", "surrogatepass")
    for entity in listed[:100]:
        if not isinstance(entity, dict) or entity.get("type") != "text_link":
            continue
        url, at, size = (
            url_or_none(entity.get("url")),
            int_or_none(entity.get("offset")),
            int_or_none(entity.get("length")),
        )
        if url is not None:
            under = units[2 * at : 2 * (at + size)] if at is not None and size is not None else b""
            name = text_or_none(under.decode("utf-16-le", "replace"), MAX_NAME_CHARS)
            yield Attachment(name=name or "link", url=url)


def _forward_flags(body: dict[str, Any]) -> Iterator[str]:
    """Yield a flag if somebody else wrote a forwarded message."""
    origin = subobject(body, "forward_origin")
    own = subobject(body, "from").get("id")
    if origin and (own is None or subobject(origin, "sender_user").get("id") != own):
        yield FORWARD_FLAGS.get(text_or_none(origin.get("type"), 64) or "", "it was forwarded")
