"""The content of a WhatsApp message, by its type.

Every type has a text, so that the reader of the request sees what arrived.
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
"""Types that no person wrote: a chat was opened, a number has changed."""


def type_of(message: JsonObject) -> str:
    """Return a message's type; if it is missing, the known content key."""
    declared = text_or_none(message.get("type"), 64)
    return declared or next((key for key in message if key in CONTENTS), "unknown")


def digest_of(message: JsonObject, kind: str) -> str:
    """Return the digest of a message without URLs; a file's URL is signed anew each time."""
    return digest_without_urls(
        {**message, kind: {**subobject(message, kind), "url": None}}
        if kind in FILE_TYPES
        else message
    )


def fill_item(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """Return the item with the message's content."""
    return CONTENTS.get(kind, _other)(base, message, kind)


def _with_referrals(base: InboundItem, message: JsonObject, **more: Any) -> InboundItem:
    files = (*more.pop("attachments", ()), *_referrals(message))
    return replace(base, attachments=files, **more)


def _referrals(message: JsonObject) -> Iterator[Attachment]:
    """Yield the product and the advertisement a message came from."""
    product = subobject(subobject(message, "context"), "referred_product")
    if (id := identifier(product.get("product_retailer_id"))) is not None:
        yield Attachment(name="product", external_id=id)
    ad = subobject(message, "referral")
    id, url = identifier(ad.get("source_id")), url_or_none(ad.get("source_url"))
    if id or url:
        yield Attachment(name=short_text(ad.get("headline")) or "ad", url=url, external_id=id)


def _text(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    body = subobject(message, kind)
    return _with_referrals(base, message, text=long_text(body.get("body")) or placeholder(kind))


def _file(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """Return the item of a file, which is not fetched: its id and the account's token are needed
    for that."""
    body = subobject(message, kind)
    id, url, name = (
        identifier(body.get("id")),
        url_or_none(body.get("url")),
        short_text(body.get("filename")),
    )
    file = Attachment(
        name=name,
        content_type=text_or_none(body.get("mime_type"), 100),
        size=byte_count(body.get("file_size")),
        url=url,
        external_id=id,
    )
    kind_label = "voice" if body.get("voice") is True else kind
    return _with_referrals(
        base,
        message,
        text=long_text(body.get("caption")) or placeholder(kind_label, name),
        attachments=(file,) if id or url else (),
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
    cards = tuple(
        card for contact in objects_in(message, kind) if (card := _card(contact)) is not None
    )
    lines = join_present("; ", *map(_contact_line, objects_in(message, kind)[:10]))
    return _with_referrals(base, message, text=placeholder(kind, lines), cards=cards)


def _contact_line(body: JsonObject) -> str | None:
    """Return all numbers and addresses of a contact as text: a contact card holds only one of
    each."""
    card, org = _card(body), subobject(body, "org")
    lists = (("phones", "phone"), ("emails", "email"), ("urls", "url"))
    values = [
        short_text(entry.get(key)) for name, key in lists for entry in objects_in(body, name)[:5]
    ]
    addresses = (
        join_present(
            " ", *(short_text(entry.get(key)) for key in ("street", "zip", "city", "country"))
        )
        for entry in objects_in(body, "addresses")[:5]
    )
    work = (short_text(org.get(key)) for key in ("company", "department", "title"))
    return join_present(", ", card.name if card else None, *values, *work, *addresses)


def _card(body: JsonObject) -> Person | None:
    names, phones = subobject(body, "name"), objects_in(body, "phones")
    name = short_text(names.get("formatted_name")) or join_present(
        " ", short_text(names.get("first_name")), short_text(names.get("last_name"))
    )
    phone = next(filter(None, (short_text(entry.get("phone")) for entry in phones)), None)
    whatsapp_id = next(filter(None, (identifier(entry.get("wa_id")) for entry in phones)), None)
    email = next(
        filter(None, (short_text(entry.get("email")) for entry in objects_in(body, "emails"))), None
    )
    address = whatsapp_id or phone or email or name
    return None if address is None else Person(address, name, email=email, phone=phone)


def _reaction(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    body = subobject(message, kind)
    target_id = identifier(body.get("message_id"))
    if target_id is None:
        raise Unreadable("reaction.message_id is missing")
    return replace(
        base,
        kind="reacted",
        platform_id=None,
        about=target_id,
        reaction=text_or_none(body.get("emoji"), 64),
    )


def _button(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """Return the item of a pressed template button."""
    body = subobject(message, kind)
    payload = text_or_none(body.get("payload"), MAX_NAME_CHARS)
    return _with_referrals(
        base,
        message,
        text=long_text(body.get("text")) or payload or placeholder(kind),
        button=payload,
    )


def _interactive(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """Return the item of a button, a list row, or a submitted form (`nfm_reply`)."""
    body = subobject(message, kind)
    reply_type = text_or_none(body.get("type"), 64) or next(iter(body), kind)
    reply = subobject(body, reply_type)
    payload = text_or_none(reply.get("id"), MAX_NAME_CHARS)
    title = join_present("\n", long_text(reply.get("title")), long_text(reply.get("description")))
    text = title or long_text(reply.get("response_json")) or long_text(reply.get("body"))
    return _with_referrals(
        base,
        message,
        text=text or payload or placeholder(short_text(reply_type) or kind),
        button=payload,
    )


def _order(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    body = subobject(message, kind)
    products = objects_in(body, "product_items")
    lines = [placeholder(kind), long_text(body.get("text")), *map(_order_line, products)]
    ids = filter(None, (identifier(product.get("product_retailer_id")) for product in products))
    return _with_referrals(
        base,
        message,
        text=join_present("\n", *lines) or kind,
        attachments=tuple(Attachment(name="product", external_id=id) for id in ids),
    )


def _order_line(product: JsonObject) -> str | None:
    """Return one ordered product as text, such as `2 × A-17, 9.5 EUR`."""
    id = identifier(product.get("product_retailer_id"))
    count, price = _number(product.get("quantity")), _number(product.get("item_price"))
    cost = join_present(" ", price, text_or_none(product.get("currency"), 8)) if price else None
    return join_present(", ", join_present(" × ", count, id), cost)


def _number(value: Any) -> str | None:
    if isinstance(value, float):
        return f"{value:.10g}"
    return identifier(value)


def _edit(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """Return the new content of an earlier message."""
    body = subobject(message, kind)
    target_id, new = identifier(body.get("original_message_id")), subobject(body, "message")
    if target_id is None:
        raise Unreadable("edit.original_message_id is missing")
    new_type = type_of(new)
    content = EDITABLE_CONTENTS.get(new_type, _other)(base, new, new_type)
    return replace(content, kind="edited", about=target_id, platform_id=None)


def _revoke(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    target_id = identifier(subobject(message, kind).get("original_message_id"))
    if target_id is None:
        raise Unreadable("revoke.original_message_id is missing")
    return replace(base, kind="deleted", about=target_id, platform_id=None)


def _notice(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    notice_type = text_or_none(subobject(message, kind).get("type"), 64)
    return replace(base, kind="noted", reason=join_present(" ", kind, notice_type), person=None)


def _other(base: InboundItem, message: JsonObject, kind: str) -> InboundItem:
    """Return the item of a type that is unknown here or to the platform's API (`unsupported`)."""
    body = subobject(message, kind)
    text = (
        long_text(body.get("body")) or long_text(body.get("caption")) or long_text(body.get("text"))
    )
    return _with_referrals(
        base, message, text=text or placeholder(kind, text_or_none(body.get("type"), 64))
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
