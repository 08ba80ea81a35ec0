"""What is in a WhatsApp message, by its type.

Every type has a text, so that whoever reads the request sees that something came, and what. Long,
as it lists every type.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ingest.channels.meta.webhook import Piece, described, joined, pieces, short, text
from ingest.channels.parsing import (
    SHORT,
    degrees,
    digest_but_addresses,
    link,
    named,
    part,
    size,
    words,
)
from ingest.domain.items import Item, Person, Place, Unreadable
from trunkline_contracts.parts import Attachment

NOTICES = frozenset({"request_welcome", "system"})
"""Types nobody wrote: that a chat was opened, that somebody's number is another now."""


def type_of(message: Piece) -> str:
    """Give a message's type, or what seems to be it."""
    told = words(message.get("type"), 64)
    return told or next((key for key in message if key in CONTENTS), "unknown")


def digest_of(message: Piece, kind: str) -> str:
    """Sum up what a message says; a file's address is signed anew for whoever is told of it."""
    return digest_but_addresses(
        {**message, kind: {**part(message, kind), "url": None}} if kind in FILES else message
    )


def filled(base: Item, message: Piece, kind: str) -> Item:
    """Give an item with what is in the message."""
    return CONTENTS.get(kind, _other)(base, message, kind)


def _said(base: Item, message: Piece, **more: Any) -> Item:
    files = (*more.pop("attachments", ()), *_about(message))
    return replace(base, attachments=files, **more)


def _about(message: Piece) -> Iterator[Attachment]:
    """Name the goods, and the advertisement, a message came about."""
    goods = part(part(message, "context"), "referred_product")
    if (id := named(goods.get("product_retailer_id"))) is not None:
        yield Attachment(name="product", external_id=id)
    ad = part(message, "referral")
    id, url = named(ad.get("source_id")), link(ad.get("source_url"))
    if id or url:
        yield Attachment(name=short(ad.get("headline")) or "ad", url=url, external_id=id)


def _text(base: Item, message: Piece, kind: str) -> Item:
    body = part(message, kind)
    return _said(base, message, text=text(body.get("body")) or described(kind))


def _file(base: Item, message: Piece, kind: str) -> Item:
    """Files stay where they are, to be fetched by their id with the account's token."""
    body = part(message, kind)
    id, url, called = named(body.get("id")), link(body.get("url")), short(body.get("filename"))
    one = Attachment(
        name=called,
        content_type=words(body.get("mime_type"), 100),
        size=size(body.get("file_size")),
        url=url,
        external_id=id,
    )
    what = "voice" if body.get("voice") is True else kind
    return _said(
        base,
        message,
        text=text(body.get("caption")) or described(what, called),
        attachments=(one,) if id or url else (),
    )


def _location(base: Item, message: Piece, kind: str) -> Item:
    body = part(message, kind)
    name, address = short(body.get("name")), short(body.get("address"))
    found = degrees(body.get("latitude"), body.get("longitude"))
    point = f"{found[0]:.6g}, {found[1]:.6g}" if found else None
    return _said(
        base,
        message,
        text=described(kind, joined(", ", name, address) or point),
        place=Place(*found, name, address) if found else None,
    )


def _contacts(base: Item, message: Piece, kind: str) -> Item:
    cards = tuple(card for one in pieces(message, kind) if (card := _card(one)) is not None)
    told = joined("; ", *map(_all_of, pieces(message, kind)[:10]))
    return _said(base, message, text=described(kind, told), cards=cards)


def _all_of(body: Piece) -> str | None:
    """Write all that a contact tells, for a card has room for one number and one address."""
    card, org = _card(body), part(body, "org")
    lists = (("phones", "phone"), ("emails", "email"), ("urls", "url"))
    told = [short(one.get(key)) for name, key in lists for one in pieces(body, name)[:5]]
    where = (
        joined(" ", *(short(one.get(key)) for key in ("street", "zip", "city", "country")))
        for one in pieces(body, "addresses")[:5]
    )
    work = (short(org.get(key)) for key in ("company", "department", "title"))
    return joined(", ", card.name if card else None, *told, *work, *where)


def _card(body: Piece) -> Person | None:
    names, phones = part(body, "name"), pieces(body, "phones")
    name = short(names.get("formatted_name")) or joined(
        " ", short(names.get("first_name")), short(names.get("last_name"))
    )
    phone = next(filter(None, (short(one.get("phone")) for one in phones)), None)
    here = next(filter(None, (named(one.get("wa_id")) for one in phones)), None)
    email = next(filter(None, (short(one.get("email")) for one in pieces(body, "emails"))), None)
    address = here or phone or email or name
    return None if address is None else Person(address, name, email=email, phone=phone)


def _reaction(base: Item, message: Piece, kind: str) -> Item:
    body = part(message, kind)
    about = named(body.get("message_id"))
    if about is None:
        raise Unreadable("reaction.message_id is missing")
    return replace(
        base, kind="reacted", platform_id=None, about=about, reaction=words(body.get("emoji"), 64)
    )


def _button(base: Item, message: Piece, kind: str) -> Item:
    """A button of a template."""
    body = part(message, kind)
    pressed = words(body.get("payload"), SHORT)
    return _said(
        base, message, text=text(body.get("text")) or pressed or described(kind), button=pressed
    )


def _interactive(base: Item, message: Piece, kind: str) -> Item:
    """A button, a row of a list, or a form that was filled in (`nfm_reply`)."""
    body = part(message, kind)
    what = words(body.get("type"), 64) or next(iter(body), kind)
    reply = part(body, what)
    pressed = words(reply.get("id"), SHORT)
    titled = joined("\n", text(reply.get("title")), text(reply.get("description")))
    told = titled or text(reply.get("response_json")) or text(reply.get("body"))
    return _said(
        base, message, text=told or pressed or described(short(what) or kind), button=pressed
    )


def _order(base: Item, message: Piece, kind: str) -> Item:
    body = part(message, kind)
    goods = pieces(body, "product_items")
    lines = [described(kind), text(body.get("text")), *map(_ordered, goods)]
    ids = filter(None, (named(one.get("product_retailer_id")) for one in goods))
    return _said(
        base,
        message,
        text=joined("\n", *lines) or kind,
        attachments=tuple(Attachment(name="product", external_id=id) for id in ids),
    )


def _ordered(one: Piece) -> str | None:
    """Write one of the ordered goods: `2 × A-17, 9.5 EUR`."""
    id = named(one.get("product_retailer_id"))
    count, price = _number(one.get("quantity")), _number(one.get("item_price"))
    cost = joined(" ", price, words(one.get("currency"), 8)) if price else None
    return joined(", ", joined(" × ", count, id), cost)


def _number(value: Any) -> str | None:
    if isinstance(value, float):
        return f"{value:.10g}"
    return named(value)


def _edit(base: Item, message: Piece, kind: str) -> Item:
    """What an earlier message says now."""
    body = part(message, kind)
    about, now = named(body.get("original_message_id")), part(body, "message")
    if about is None:
        raise Unreadable("edit.original_message_id is missing")
    what = type_of(now)
    said = SPOKEN.get(what, _other)(base, now, what)
    return replace(said, kind="edited", about=about, platform_id=None)


def _revoke(base: Item, message: Piece, kind: str) -> Item:
    about = named(part(message, kind).get("original_message_id"))
    if about is None:
        raise Unreadable("revoke.original_message_id is missing")
    return replace(base, kind="deleted", about=about, platform_id=None)


def _notice(base: Item, message: Piece, kind: str) -> Item:
    what = words(part(message, kind).get("type"), 64)
    return replace(base, kind="noted", reason=joined(" ", kind, what), person=None)


def _other(base: Item, message: Piece, kind: str) -> Item:
    """What is not known here, or not to the platform's interface (`unsupported`)."""
    body = part(message, kind)
    told = text(body.get("body")) or text(body.get("caption")) or text(body.get("text"))
    return _said(base, message, text=told or described(kind, words(body.get("type"), 64)))


Content = Callable[[Item, Piece, str], Item]
FILES = frozenset({"audio", "document", "image", "sticker", "video", "voice"})
SPOKEN: MappingProxyType[str, Content] = MappingProxyType(
    {"text": _text, "location": _location, "contacts": _contacts, **dict.fromkeys(FILES, _file)}
)
CONTENTS: MappingProxyType[str, Content] = MappingProxyType(
    {
        **SPOKEN,
        **dict.fromkeys(NOTICES, _notice),
        "button": _button,
        "edit": _edit,
        "interactive": _interactive,
        "order": _order,
        "reaction": _reaction,
        "revoke": _revoke,
    }
)
