"""Web forms and messages of the chat widget.

A person wrote them, so no mistake is sent back: an unusable value is left out and flagged, and the
message is accepted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError

from ingest.channels.custom.parser import File
from ingest.channels.parsing import MAX_NAME_CHARS, MAX_TEXT_CHARS, digest, parse, text_or_none
from ingest.domain.items import InboundItem, Person, RawDelivery, RequestAttributes, Unreadable
from ingest.domain.text import clean
from trunkline_contracts.addresses import mail_address
from trunkline_contracts.parts import Attachment

HONEYPOT_FIELD = "website"
"""A field that people do not see: only machines fill it in."""
MAX_FORM_ATTACHMENTS, MAX_FORM_VALUES, MAX_FLAGS = 50, 500, 20
"""Attachments of a message, values of a form, flags of a message."""
MAX_CLIENT_DELAY = timedelta(days=1)
"""How long a page may keep a message before it sends it."""
EMPTY_FORM_TEXT = "[form]"
"""The text of a form without one."""


@dataclass(slots=True)
class PageBody:
    """The body a page sent; every part that cannot be used adds a flag."""

    body: dict[str, Any]
    flags: list[str]

    def text(self, name: str, limit: int = MAX_NAME_CHARS) -> str | None:
        """Return a text, cut to the limit."""
        value = self.body.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)[:MAX_NAME_CHARS]
        text = text_or_none(value)
        if text is None:
            if value is not None and not isinstance(value, str):
                self.flags.append(f"{name} must be a text")
            return None
        if len(text) > limit:
            self.flags.append(f"{name} may have {limit} characters")
        return text.strip()[:limit]

    def part(self, name: str) -> dict[str, Any]:
        """Return an object, including names such as `contact.email` and `contact[email]`."""
        value = self.body.get(name)
        if value is not None and not isinstance(value, dict):
            self.flags.append(f"{name} must be an object")
        inner = {
            key[len(name) + 1 :].removesuffix("]"): inner_value
            for key, inner_value in self.body.items()
            if key.startswith((f"{name}.", f"{name}["))
        }
        return {**(value if isinstance(value, dict) else {}), **inner}

    def attributes(self) -> RequestAttributes:
        """Return the request attributes."""
        topic, title, type, priority = map(self.text, ("topic", "title", "type", "priority"))
        fields = {clean(name): value for name, value in self.part("fields").items()}
        return RequestAttributes(topic, title, type, priority, fields, typed=True)

    def person(self, address: str | None) -> Person:
        """Return the author; without an address, known by e-mail address or phone number."""
        contact = PageBody({**self.body, **self.part("contact")}, self.flags)
        name, language, email, phone = map(contact.text, ("name", "language", "email", "phone"))
        own_address = address or mail_address(email or "") or phone or ""
        return Person(own_address, name, language, email, phone)

    def attachments(self) -> Iterator[Attachment]:
        """Yield the attachments, by reference."""
        attachments = self.body.get("attachments") or []
        if not isinstance(attachments, list):
            self.flags.append("attachments must be a list")
            return
        for number, listed in enumerate(attachments[:MAX_FORM_ATTACHMENTS]):
            try:
                file = File.model_validate(listed)
            except ValidationError:
                self.flags.append(f"attachments.{number} is no attachment: it needs a url")
                continue
            fields = {key: clean(value) for key, value in file if isinstance(value, str)}
            yield Attachment(size=file.size, **fields)
        if len(attachments) > MAX_FORM_ATTACHMENTS:
            self.flags.append(f"there may be {MAX_FORM_ATTACHMENTS} attachments")

    def sent_at(self, received_at: datetime) -> datetime:
        """Return the sending time; the page's clock counts within `MAX_CLIENT_DELAY`."""
        try:
            at = datetime.fromisoformat(str(self.body.get("sent_at"))[:40])
        except ValueError:
            return received_at
        return (
            at if at.tzinfo and received_at - MAX_CLIENT_DELAY < at < received_at else received_at
        )


def read_form(raw: RawDelivery) -> tuple[InboundItem, ...]:
    """Read a form: a conversation of its own, unless it names one."""
    page = PageBody(_body(raw.body), [])
    if text_or_none(page.body.get(HONEYPOT_FIELD)) is not None:
        raise Unreadable(
            f"{HONEYPOT_FIELD} is filled in, which people do not see: a machine wrote it"
        )
    conversation = page.text("conversation") or raw.inbound_id
    attributes, person = page.attributes(), page.person(None)
    files = tuple(page.attachments())
    text = page.text("text", MAX_TEXT_CHARS) or page.text("description", MAX_TEXT_CHARS)
    if text is None:
        if not any((attributes.title, attributes.fields, person.name, person.address, files)):
            raise Unreadable("there is nothing in it")
        page.flags.append("text is missing")
    if not person.address:
        person = Person(conversation, person.name, person.language)
    shown_text = text or attributes.title or EMPTY_FORM_TEXT
    return (
        _item(raw, page, (conversation, digest(page.body)), person, attributes, shown_text, files),
    )


def read_widget(raw: RawDelivery) -> tuple[InboundItem, ...]:
    """Read a message of the widget; author and conversation come from its session."""
    if raw.sender is None or raw.conversation is None:
        raise Unreadable("it came without a session")
    page = PageBody(parse(raw.body.removeprefix(b"\xef\xbb\xbf")), [])
    attributes, person = page.attributes(), page.person(raw.sender.address)
    files = tuple(page.attachments())
    text = page.text("text", MAX_TEXT_CHARS)
    if text is None and not files:
        raise Unreadable("there is nothing in it")
    content_digest = digest([text, page.body.get("attachments")])
    shown_text = text or "[attachment]"
    return (
        _item(raw, page, (raw.conversation, content_digest), person, attributes, shown_text, files),
    )


def _item(
    raw: RawDelivery,
    page: PageBody,
    origin: tuple[str, str],
    person: Person,
    attributes: RequestAttributes,
    text: str,
    files: tuple[Attachment, ...],
) -> InboundItem:
    id, (conversation, content_digest) = _id(page), origin
    visitor = raw.sender.address if raw.sender else ""
    return InboundItem(
        "message",
        None if id is None else f"{visitor}:{id}" if visitor else id,
        content_digest,
        "new",
        flags=tuple(page.flags[:MAX_FLAGS]),
        conversation=conversation,
        person=person,
        text=text,
        sent_at=page.sent_at(raw.received_at),
        platform_id=id,
        asked=attributes,
        attachments=files,
    )


def _id(page: PageBody) -> str | None:
    """Return the page's own id of the message; a long one is replaced by its digest."""
    id = page.text("id", 10 * MAX_NAME_CHARS)
    return id if id is None or len(id) <= MAX_NAME_CHARS else digest(id)


def _body(body: bytes) -> dict[str, Any]:
    """Parse an object or an urlencoded form; values of a repeated name are joined."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    if body.lstrip().startswith((b"{", b"[")):
        return parse(body)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FORM_VALUES)
    except ValueError:
        raise Unreadable("the body is neither JSON nor a form") from None
    if not pairs or b"=" not in body:
        raise Unreadable("the body is neither JSON nor a form")
    values: dict[str, Any] = {}
    for name, value in pairs:
        values[name] = f"{values[name]}\n{value}" if values.get(name) else value
    return values
