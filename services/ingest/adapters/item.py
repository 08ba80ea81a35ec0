"""What every channel's deliveries become."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from trunkline_contracts.parts import Attachment


class Unreadable(Exception):
    """It can never become a message; what is said here is the reason its sender is told."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A delivery as the door accepted it."""

    channel: str
    account: str
    inbound_id: str
    body: bytes
    received_at: datetime
    sha256: str = ""
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Who wrote, as far as the platform tells."""

    address: str
    name: str | None = None
    language: str | None = None
    email: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client asked of the request; the workspace has the last word."""

    topic: str | None = None
    title: str | None = None
    type: str | None = None
    priority: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Thread:
    """How a message names itself, and those it answers: what it belongs to is found by that."""

    id: str
    answers: tuple[str, ...] = ()
    """The nearest first."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that happened on a channel."""

    kind: Literal["message", "noted"]
    external_id: str | None
    """The platform's id of it: it is one, however often it comes. None: it never comes again."""
    digest: str
    """What it says, in short: the same id with another digest is not the same thing."""
    reused: Literal["rejected", "new"] = "rejected"
    """What the same id with another digest is: a mistake, or another message (ids began anew)."""
    reason: str | None = None
    conversation: str = ""
    person: Person | None = None
    text: str = ""
    sent_at: datetime | None = None
    platform_id: str | None = None
    asked: Asked | None = None
    attachments: tuple[Attachment, ...] = ()
    html: str | None = None
    thread: Thread | None = None
    """On a channel where messages are named; `conversation` is then that of a new thread."""
    automatic: str | None = None
    """By which sign no person wrote it."""
