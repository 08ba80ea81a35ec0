"""What pages of the web send: forms, and the messages of the widget.

A person has written it, so nothing about it is a mistake to be sent back: what cannot be used is
left out and told as a flag, and the message goes on. Long, as each part of a page's message is read
leniently in its own way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError

from ingest.channels.custom.parser import File
from ingest.channels.parsing import LONGEST, SHORT, digest, parse, words
from ingest.domain.items import Asked, Item, Person, Raw, Unreadable
from ingest.domain.text import clean
from trunkline_contracts.addresses import mail_address
from trunkline_contracts.parts import Attachment

TRAP = "website"
"""A field people do not see: whoever fills it is no person."""
FILES, NAMES, MOST = 50, 500, 20
"""Attachments of a message; values of a form; flags of a message."""
LATE = timedelta(days=1)
"""How long a page may keep a message before it can send it."""
NOTHING = "[form]"
"""What stands for the words of a form that has none."""


@dataclass(slots=True)
class Page:
    """What a page sent: read piece by piece, with what is wrong written down."""

    body: dict[str, Any]
    flags: list[str]

    def text(self, name: str, limit: int = SHORT) -> str | None:
        """Give a text; one that is too long is cut."""
        value = self.body.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)[:SHORT]
        said = words(value)
        if said is None:
            if value is not None and not isinstance(value, str):
                self.flags.append(f"{name} must be a text")
            return None
        if len(said) > limit:
            self.flags.append(f"{name} may have {limit} characters")
        return said.strip()[:limit]

    def part(self, name: str) -> dict[str, Any]:
        """Give an object; names with a dot or in brackets belong to it, too."""
        value = self.body.get(name)
        if value is not None and not isinstance(value, dict):
            self.flags.append(f"{name} must be an object")
        inner = {
            key[len(name) + 1 :].removesuffix("]"): each
            for key, each in self.body.items()
            if key.startswith((f"{name}.", f"{name}["))
        }
        return {**(value if isinstance(value, dict) else {}), **inner}

    def asked(self) -> Asked:
        """Give what is asked of the request."""
        topic, title, type, priority = map(self.text, ("topic", "title", "type", "priority"))
        fields = {clean(name): value for name, value in self.part("fields").items()}
        return Asked(topic, title, type, priority, fields, typed=True)

    def person(self, address: str | None) -> Person:
        """Give who wrote; without an address, as their mail or phone says."""
        mine = Page({**self.body, **self.part("contact")}, self.flags)
        name, language, email, phone = map(mine.text, ("name", "language", "email", "phone"))
        known = address or mail_address(email or "") or phone or ""
        return Person(known, name, language, email, phone)

    def files(self) -> Iterator[Attachment]:
        """Give what came with it, by reference."""
        told = self.body.get("attachments") or []
        if not isinstance(told, list):
            self.flags.append("attachments must be a list")
            return
        for number, each in enumerate(told[:FILES]):
            try:
                file = File.model_validate(each)
            except ValidationError:
                self.flags.append(f"attachments.{number} is no attachment: it needs a url")
                continue
            named = {key: clean(value) for key, value in file if isinstance(value, str)}
            yield Attachment(size=file.size, **named)
        if len(told) > FILES:
            self.flags.append(f"there may be {FILES} attachments")

    def moment(self, received_at: datetime) -> datetime:
        """Give when it was written: the page's own clock counts within reason."""
        try:
            at = datetime.fromisoformat(str(self.body.get("sent_at"))[:40])
        except ValueError:
            return received_at
        return at if at.tzinfo and received_at - LATE < at < received_at else received_at


def form(raw: Raw) -> tuple[Item, ...]:
    """Read a form: a conversation of its own, unless it names one."""
    page = Page(_body(raw.body), [])
    if words(page.body.get(TRAP)) is not None:
        raise Unreadable(f"{TRAP} was filled, which people do not see: a machine wrote it")
    conversation = page.text("conversation") or raw.inbound_id
    asked, person = page.asked(), page.person(None)
    files = tuple(page.files())
    text = page.text("text", LONGEST) or page.text("description", LONGEST)
    if text is None:
        if not any((asked.title, asked.fields, person.name, person.address, files)):
            raise Unreadable("there is nothing in it")
        page.flags.append("text is missing")
    if not person.address:
        person = Person(conversation, person.name, person.language)
    said = text or asked.title or NOTHING
    return (_item(raw, page, (conversation, digest(page.body)), person, asked, said, files),)


def widget(raw: Raw) -> tuple[Item, ...]:
    """Read a message of the widget: by whom and where is what the session says."""
    if raw.sender is None or raw.conversation is None:
        raise Unreadable("it came without a session")
    page = Page(parse(raw.body.removeprefix(b"\xef\xbb\xbf")), [])
    asked, person = page.asked(), page.person(raw.sender.address)
    files = tuple(page.files())
    text = page.text("text", LONGEST)
    if text is None and not files:
        raise Unreadable("there is nothing in it")
    told = digest([text, page.body.get("attachments")])
    said = text or "[attachment]"
    return (_item(raw, page, (raw.conversation, told), person, asked, said, files),)


def _item(
    raw: Raw,
    page: Page,
    where: tuple[str, str],
    person: Person,
    asked: Asked,
    text: str,
    files: tuple[Attachment, ...],
) -> Item:
    id, (conversation, told) = _id(page), where
    mine = raw.sender.address if raw.sender else ""
    return Item(
        "message",
        None if id is None else f"{mine}:{id}" if mine else id,
        told,
        "new",
        flags=tuple(page.flags[:MOST]),
        conversation=conversation,
        person=person,
        text=text,
        sent_at=page.moment(raw.received_at),
        platform_id=id,
        asked=asked,
        attachments=files,
    )


def _id(page: Page) -> str | None:
    """Give the page's own id of it; one that is too long is known by its digest."""
    told = page.text("id", 10 * SHORT)
    return told if told is None or len(told) <= SHORT else digest(told)


def _body(body: bytes) -> dict[str, Any]:
    """Read an object, or what a page's form sends: names and values, a name perhaps repeatedly."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    if body.lstrip().startswith((b"{", b"[")):
        return parse(body)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=NAMES)
    except ValueError:
        raise Unreadable("the body is neither JSON nor a form") from None
    if not pairs or b"=" not in body:
        raise Unreadable("the body is neither JSON nor a form")
    told: dict[str, Any] = {}
    for name, value in pairs:
        told[name] = f"{told[name]}\n{value}" if told.get(name) else value
    return told
