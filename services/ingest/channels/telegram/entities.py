"""What a Telegram message shows beside its own words: addresses under words, and others' words.

core.telegram.org/bots/api#messageentity, #textquote, #externalreplyinfo, #messageorigin
"""

from collections.abc import Iterator
from typing import Any

from ingest.channels.parsing import SHORT, link, part, whole, words
from ingest.channels.telegram import content
from trunkline_contracts.parts import Attachment

QUOTED = 4096
"""Characters of a quotation that are kept."""
FORWARDED = {
    "channel": "it was forwarded from a channel",
    "chat": "it was forwarded from a group",
    "hidden_user": "it was forwarded: somebody else wrote it",
    "user": "it was forwarded: somebody else wrote it",
}
"""By the origin's type; who that is may be nobody's business here."""


def beside(body: dict[str, Any]) -> dict[str, Any]:
    """Give what is shown beside what was written, as an item has it; nothing where it is not."""
    answered = part(body, "external_reply")
    kind = content.type_of({key: answered[key] for key in answered if key != "origin"})
    quoted = words(part(body, "quote").get("text"), QUOTED)
    files = content.inside(answered, kind)["attachments"] if kind else ()
    told = {
        "attachments": (*_links(body, "text", "entities"),
                        *_links(body, "caption", "caption_entities"), *files),
        "quoted": quoted or (content.placeholder(answered, kind) if kind else None),
        "flags": tuple(_origin(body)),
    }  # fmt: skip
    return {name: value for name, value in told.items() if value}


def _links(body: dict[str, Any], said: str, entities: str) -> Iterator[Attachment]:
    """Name what words lead to; places count in units of UTF-16."""
    text, listed = body.get(said), body.get(entities)
    if not isinstance(text, str) or not isinstance(listed, list):
        return
    units = text.encode("utf-16-le", "surrogatepass")
    for each in listed[:100]:
        if not isinstance(each, dict) or each.get("type") != "text_link":
            continue
        url, at, size = link(each.get("url")), whole(each.get("offset")), whole(each.get("length"))
        if url is not None:
            under = units[2 * at : 2 * (at + size)] if at is not None and size is not None else b""
            name = words(under.decode("utf-16-le", "replace"), SHORT)
            yield Attachment(name=name or "link", url=url)


def _origin(body: dict[str, Any]) -> Iterator[str]:
    """Say that words are another's; who forwards what they wrote themselves has written it."""
    origin = part(body, "forward_origin")
    own = part(body, "from").get("id")
    if origin and (own is None or part(origin, "sender_user").get("id") != own):
        yield FORWARDED.get(words(origin.get("type"), 64) or "", "it was forwarded")
