"""What is in a WhatsApp message, by its type.

Every type has a text, so that whoever reads the request sees that something came, and what. Long,
as it lists every type.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ingest.channels.meta.webhook import (
    JsonObject,
    join_present,
    long_text,
    objects_in,
    placeholder,
    short_text,
)
from ingest.channels.parsing import (
    MAX_NAME_CHARS,
    byte_count,
    coordinates,
    digest_without_urls,
    identifier,
    subobject,
    text_or_none,
    url_or_none,
)
from ingest.domain.items import InboundItem, Person, SharedLocation, Unreadable
from trunkline_contracts.parts import Attachment

SYSTEM_TYPES = frozenset({"request_welcome", "system"})
"""Types nobody wrote: that a chat was opened, that somebody's number is another now."""


def type_of(message: JsonObject) -> str:
    """Give a message's type, or what seems to be it."""
    told = text_or_none(message.get("type"), 64)
    return told or next((key for key in message if key in CONTENTS), "unknown")


def digest_of(message: JsonObject, kind: str) -> str:
    """Sum up what a message says; a file's address is signed anew for whoever is told of it."""
    return digest_without_urls(
        {**message, kind: {**subobject(message, kind), "url": None}}
        if kind in FILE_TYPES
        else message
    )


def fill_item(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """Give an item with what is in the message."""
    return CONTENTS.get(kind, _other)(base, message, kind)


def _with_referrals(base: InboundItem, message: JsonObject, **more: Any) -> InboundItem:
    files = (*more.pop("attachments", ()), *_referrals(message))
    return replace(base, attachments=files, **more)


def _referrals(message: JsonObject) -> Iterator[Attachment]:
    """Name the goods, and the advertisement, a message came about."""
    goods = subobject(subobject(message, "context"), "referred_product")
    if (id := identifier(goods.get("product_retailer_id"))) is not None:
        yield Attachment(name="product", external_id=id)
    ad = subobject(message, "referral")
    id, url = identifier(ad.get("source_id")), url_or_none(ad.get("source_url"))
    if id or url:
        yield Attachment(name=short_text(ad.get("headline")) or "ad", url=url, external_id=id)


def _text(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    body = subobject(message, kind)
    return _with_referrals(base, message, text=long_text(body.get("body")) or placeholder(kind))


def _file(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """Files stay where they are, to be fetched by their id with the account's token."""
    body = subobject(message, kind)
    id, url, called = (
        identifier(body.get("id")),
        url_or_none(body.get("url")),
        short_text(body.get("filename")),
    )
    one = Attachment(
        name=called,
        content_type=text_or_none(body.get("mime_type"), 100),
        size=byte_count(body.get("file_size")),
        url=url,
        external_id=id,
    )
    what = "voice" if body.get("voice") is True else kind
    return _with_referrals(
        base,
        message,
        text=long_text(body.get("caption")) or placeholder(what, called),
        attachments=(one,) if id or url else (),
    )


def _location(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    body = subobject(message, kind)
    name, address = short_text(body.get("name")), short_text(body.get("address"))
    found = coordinates(body.get("latitude"), body.get("longitude"))
    point = f"{found[0]:.6g}, {found[1]:.6g}" if found else None
    return _with_referrals(
        base,
        message,
        text=placeholder(kind, join_present(", ", name, address) or point),
        place=SharedLocation(*found, name, address) if found else None,
    )


def _contacts(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    cards = tuple(card for one in objects_in(message, kind) if (card := _card(one)) is not None)
    told = join_present("; ", *map(_contact_line, objects_in(message, kind)[:10]))
    return _with_referrals(base, message, text=placeholder(kind, told), cards=cards)


def _contact_line(body: JsonObject) -> str | None:
    """Write all that a contact tells, for a card has room for one number and one address."""
    card, org = _card(body), subobject(body, "org")
    lists = (("phones", "phone"), ("emails", "email"), ("urls", "url"))
    told = [short_text(one.get(key)) for name, key in lists for one in objects_in(body, name)[:5]]
    where = (
        join_present(
            " ", *(short_text(one.get(key)) for key in ("street", "zip", "city", "country"))
        )
        for one in objects_in(body, "addresses")[:5]
    )
    work = (short_text(org.get(key)) for key in ("company", "department", "title"))
    return join_present(", ", card.name if card else None, *told, *work, *where)


def _card(body: JsonObject) -> Person | None:
    names, phones = subobject(body, "name"), objects_in(body, "phones")
    name = short_text(names.get("formatted_name")) or join_present(
        " ", short_text(names.get("first_name")), short_text(names.get("last_name"))
    )
    phone = next(filter(None, (short_text(one.get("phone")) for one in phones)), None)
    here = next(filter(None, (identifier(one.get("wa_id")) for one in phones)), None)
    email = next(
        filter(None, (short_text(one.get("email")) for one in objects_in(body, "emails"))), None
    )
    address = here or phone or email or name
    return None if address is None else Person(address, name, email=email, phone=phone)


def _reaction(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    body = subobject(message, kind)
    about = identifier(body.get("message_id"))
    if about is None:
        raise Unreadable("reaction.message_id is missing")
    return replace(
        base,
        kind="reacted",
        platform_id=None,
        about=about,
        reaction=text_or_none(body.get("emoji"), 64),
    )


def _button(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """A button of a template."""
    body = subobject(message, kind)
    pressed = text_or_none(body.get("payload"), MAX_NAME_CHARS)
    return _with_referrals(
        base,
        message,
        text=long_text(body.get("text")) or pressed or placeholder(kind),
        button=pressed,
    )


def _interactive(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """A button, a row of a list, or a form that was filled in (`nfm_reply`)."""
    body = subobject(message, kind)
    what = text_or_none(body.get("type"), 64) or next(iter(body), kind)
    reply = subobject(body, what)
    pressed = text_or_none(reply.get("id"), MAX_NAME_CHARS)
    titled = join_present("\n", long_text(reply.get("title")), long_text(reply.get("description")))
    told = titled or long_text(reply.get("response_json")) or long_text(reply.get("body"))
    return _with_referrals(
        base, message, text=told or pressed or placeholder(short_text(what) or kind), button=pressed
    )


def _order(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    body = subobject(message, kind)
    goods = objects_in(body, "product_items")
    lines = [placeholder(kind), long_text(body.get("text")), *map(_order_line, goods)]
    ids = filter(None, (identifier(one.get("product_retailer_id")) for one in goods))
    return _with_referrals(
        base,
        message,
        text=join_present("\n", *lines) or kind,
        attachments=tuple(Attachment(name="product", external_id=id) for id in ids),
    )


def _order_line(one: JsonObject) -> str | None:
    """Write one of the ordered goods: `2 × A-17, 9.5 EUR`."""
    id = identifier(one.get("product_retailer_id"))
    count, price = _number(one.get("quantity")), _number(one.get("item_price"))
    cost = join_present(" ", price, text_or_none(one.get("currency"), 8)) if price else None
    return join_present(", ", join_present(" × ", count, id), cost)


def _number(value: Any) -> str | None:
    if isinstance(value, float):
        return f"{value:.10g}"
    return identifier(value)


def _edit(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """What an earlier message says now."""
    body = subobject(message, kind)
    about, now = identifier(body.get("original_message_id")), subobject(body, "message")
    if about is None:
        raise Unreadable("edit.original_message_id is missing")
    what = type_of(now)
    said = EDITABLE_CONTENTS.get(what, _other)(base, now, what)
    return replace(said, kind="edited", about=about, platform_id=None)


def _revoke(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    about = identifier(subobject(message, kind).get("original_message_id"))
    if about is None:
        raise Unreadable("revoke.original_message_id is missing")
    return replace(base, kind="deleted", about=about, platform_id=None)


def _notice(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    what = text_or_none(subobject(message, kind).get("type"), 64)
    return replace(base, kind="noted", reason=join_present(" ", kind, what), person=None)


def _other(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """What is not known here, or not to the platform's interface (`unsupported`)."""
    body = subobject(message, kind)
    told = (
        long_text(body.get("body")) or long_text(body.get("caption")) or long_text(body.get("text"))
    )
    return _with_referrals(
        base, message, text=told or placeholder(kind, text_or_none(body.get("type"), 64))
    )


Content = Callable[[InboundItem, JsonObject, str], InboundItem]
FILE_TYPES = frozenset({"audio", "document", "image", "sticker", "video", "voice"})
EDITABLE_CONTENTS: MappingProxyType[str, Content] = MappingProxyType(
    {
        "text": _text,
        "location": _location,
        "contacts": _contacts,
        **dict.fromkeys(FILE_TYPES, _file),
    }
)
CONTENTS: MappingProxyType[str, Content] = MappingProxyType(
    {
        **EDITABLE_CONTENTS,
        **dict.fromkeys(SYSTEM_TYPES, _notice),
        "button": _button,
        "edit": _edit,
        "interactive": _interactive,
        "order": _order,
        "reaction": _reaction,
        "revoke": _revoke,
    }
)
