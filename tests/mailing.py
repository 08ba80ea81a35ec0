"""Mails for tests: written, read as the door stores them, and taken in by a book."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

from chassis.auth import signed_ids
from ingest.channels.email import mailbox
from ingest.channels.email import message as email
from ingest.channels.email.mailbox import Mailbox
from ingest.domain.field_rules import Rules
from ingest.domain.inbound_item import Arrival
from ingest.domain.intake_batch import Book
from ingest.domain.items import Item, Raw
from trunkline_contracts import Contact, Message, Opened, contact_id

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
RULES = Rules("chat", "general", frozenset({"chat"}), frozenset({"low"}), {"general": {}})
PETRO = "petro@example.test"
DESK, SECRET = "support@desk.test", "a mailbox' secret"
BOX = Mailbox(
    DESK, (SECRET, "the one before"), {DESK: "main", "sales@desk.test": "sales"}, "mx.desk.test"
)

SALES = replace(BOX, address="sales@desk.test", secrets=("the other mailbox' secret",))
BOXES = {"main": BOX, "sales": SALES}


def mail(text: str = "hello", **headers: str) -> bytes:
    """A mail; underscores in the names of headers are hyphens."""
    told = {"From": "Iryna <iryna@example.test>", "Subject": "Order", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in told.items()]
    return ("\r\n".join(lines) + f"\r\n\r\n{text}\r\n").encode()


def raw(body: bytes, inbound_id: str = "i-1", **more: Any) -> Raw:
    """It as the door stored it."""
    return Raw("email", "main", inbound_id, body, NOW, sha256(body).hexdigest(), **more)


def read(body: bytes | str, **more: Any) -> Item:
    """The one item it is."""
    [item] = email.read(raw(body.encode() if isinstance(body, str) else body, **more))
    return item


def tagged(id: Any, purpose: str = "reply", secret: str = SECRET) -> str:
    """The mailbox's address with a tag."""
    local, _, domain = DESK.partition("@")
    return f"{local}+{signed_ids.write(id, purpose, secret)}@{domain}"


def arrival(
    body: bytes, number: int = 1, box: Mailbox = BOX, account: str = "main", **more: Any
) -> Arrival:
    """It on its way to its outcome, its tag read."""
    item = mailbox.opened(read(body, **more), box, BOXES.get)
    return Arrival(f"i-{number}", 0, "email", account, NOW, item, sequence=number)


def outbound(address: str, channel: str = "email", **more: Any) -> Opened:
    """A request that somebody of ours opened, and writes first."""
    contact = Contact(id=contact_id(channel, "main", address), address=address)
    message = Message(id=uuid4(), text="we write first", sent_at=NOW)
    return Opened(
        time=NOW, request_id=uuid4(), request_type="chat", channel=channel, account="main",
        contact=contact, topic="general", priority="low", status="new", message=message,
        origin="tickets", **more,
    )  # fmt: skip


def book() -> Book:
    """A book in which nothing is written yet."""
    return Book(RULES, NOW)


def take(book: Book, *bodies: bytes, box: Mailbox = BOX) -> list[Any]:
    """Take mails in, one after the other; gives what became of them."""
    before = len(book.outcomes)
    for number, body in enumerate(bodies, before + 1):
        book.take_in([arrival(body, number, box)])
    return book.outcomes[before:]
