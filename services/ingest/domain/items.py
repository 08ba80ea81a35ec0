"""What every channel's deliveries become.

Long, as it lists the parts of an item.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from trunkline_contracts.parts import Attachment, DeliveryState


class Unreadable(Exception):
    """It can never become a message; what is said here is the reason its sender is told."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who wrote, as far as the platform tells."""

    address: str
    name: str | None = None
    language: str | None = None
    email: str | None = None
    phone: str | None = None


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
    sender: Person | None = None
    """Who sends, where the door knows: what the body says of that counts for nothing."""
    envelope: tuple[str, ...] = ()
    """Of a mail that came by SMTP: by whom it was sent (empty: by nobody), and to whom."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """What the account calls the fields: the sender's name of each, and ours."""
    conversation: str | None = None
    """Where it was written, where the door knows that."""
    form: str = ""
    """In whose form it is, where a channel takes several and the door knows which it let in."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client asked of the request; the workspace has the last word."""

    topic: str | None = None
    title: str | None = None
    type: str | None = None
    priority: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    typed: bool = False
    """Whether a person typed the fields' values, so that numbers are written out."""


@dataclass(frozen=True, slots=True)
class Thread:
    """How a message names itself, and those it answers: what it belongs to is found by that."""

    id: str
    answers: tuple[str, ...] = ()
    """The nearest first."""
    to: tuple[str, ...] = ()
    """The addresses it was sent to; the mailbox's own are taken out when its tag is read."""
    verdicts: tuple[tuple[str, str], ...] = ()
    """What servers on its way found of its sender: the server's name and its DMARC verdict."""
    tag: UUID | None = None
    """The conversation whose reply address it was sent to, and whether that is signed by us."""
    signed: bool = False
    acknowledged: bool = False
    """Whether its mailbox acknowledges what begins a request."""
    reply_to: Person | None = None
    """Where it asks to be answered, when that is one address, and not its sender's."""
    answer_to: str | None = None
    """That address, when its sender is proven: a request it begins is answered there."""
    doubt: str | None = None
    """Why its sender may not be who it seems: then it joins no conversation."""
    content: str = ""
    """A digest of its id and content, which is the same in whichever mailboxes it arrives."""
    beside: tuple["Beside", ...] = ()
    """What it is to those other mailboxes of ours it was sent to as well."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What a message's addresses say of it in another mailbox than the one it came to."""

    account: str
    tag: UUID | None = None
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A place somebody sent."""

    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


Kind = Literal["message", "edited", "deleted", "reacted", "receipt", "noted"]
"""A message; what is done to one (`about` names it); or what is only remembered."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that happened on a channel."""

    kind: Kind
    external_id: str | None
    """The platform's id of it: it is one, however often it comes. None: it never comes again."""
    digest: str
    """What it says, in short: the same id with another digest is not the same thing."""
    reused: Literal["rejected", "new"] = "new"
    """What the same id with another digest is: another message, flagged, for platforms may begin
    their ids anew; or, where the sender chose the id so as to be taken once, a mistake."""
    reason: str | None = None
    flags: tuple[str, ...] = ()
    """What of a message could not be used, and is left out."""
    conversation: str = ""
    person: Person | None = None
    also: tuple[str, ...] = ()
    """What else the platform calls whoever it is about."""
    text: str = ""
    sent_at: datetime | None = None
    platform_id: str | None = None
    asked: Asked | None = None
    attachments: tuple[Attachment, ...] = ()
    html: str | None = None
    quoted: str | None = None
    """What was quoted below the text."""
    thread: Thread | None = None
    """On a channel where messages are named; `conversation` is then that of a new thread."""
    automatic: str | None = None
    """By which sign a machine sent it; a person may have written it."""
    auto_reply: str | None = None
    """By which sign a machine wrote it, too, in answer to what came: an absence, a receipt."""
    no_auto_response: str | None = None
    """Why no machine may answer it: that sign, or that it came over a list, or asks for silence."""
    about: str | None = None
    """The platform's id of the message that was edited, deleted, reacted to or received."""
    until: datetime | None = None
    """Of a receipt that names no message: everything sent until then."""
    reference: str | None = None
    """Of a receipt or an echo: the id we gave the message, when the platform tells it back."""
    state: DeliveryState | None = None
    """Of a receipt: how far the message has come."""
    permanent: bool = False
    """Of a failure: no other message will come to that address either."""
    reaction: str | None = None
    """The emoji; None takes an earlier one back."""
    reply_to: str | None = None
    """The platform's id of the message this one answers."""
    button: str | None = None
    """What a pressed button stands for."""
    place: Place | None = None
    cards: tuple[Person, ...] = ()
    """Contacts somebody sent."""
