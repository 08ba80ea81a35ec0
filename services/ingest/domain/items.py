"""Items: the parts of a delivery, in one form for all channels.

Pending updates are stored as JSON by the field names of `InboundItem`: rename none of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from trunkline_contracts.parts import Attachment, DeliveryState


class Unreadable(Exception):
    """A delivery or item that can never become a message; the text is the reason shown to its
    sender."""


@dataclass(frozen=True, slots=True)
class Person:
    """The author of an item, or a contact card, as far as the platform tells."""

    address: str
    name: str | None = None
    language: str | None = None
    email: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class RawDelivery:
    """A delivery as the gateway accepted it."""

    channel: str
    account: str
    inbound_id: str
    body: bytes
    received_at: datetime
    sha256: str = ""
    idempotency_key: str | None = None
    sender: Person | None = None
    """The author where the gateway has authenticated one: the body's own claims are ignored."""
    envelope: tuple[str, ...] = ()
    """Of a mail that came by SMTP: the sender (empty for the null path), then the recipients."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """The account's field mapping: the sender's field names, and ours."""
    conversation: str | None = None
    """The conversation, where the gateway knows it."""
    form: str = ""
    """The format of the body, where a channel accepts several and the gateway knows which it is."""


@dataclass(frozen=True, slots=True)
class RequestAttributes:
    """Attributes a client asks for in a request; the workspace decides which are allowed."""

    topic: str | None = None
    title: str | None = None
    type: str | None = None
    priority: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    typed: bool = False
    """Whether a person typed the fields' values, so that numbers are texts."""


@dataclass(frozen=True, slots=True)
class ThreadingHeaders:
    """The Message-ID of a mail, those it answers, and what else decides its conversation."""

    id: str
    answers: tuple[str, ...] = ()
    """The nearest first."""
    to: tuple[str, ...] = ()
    """The recipients; the mailbox's own addresses are removed when its tag is read."""
    verdicts: tuple[tuple[str, str], ...] = ()
    """DMARC results of the sender: the name of the server that checked, and its verdict."""
    tag: UUID | None = None
    """The conversation whose reply address the mail was sent to; `signed`: that address is signed
    by us."""
    signed: bool = False
    acknowledged: bool = False
    """Whether the mailbox acknowledges mails that open a request."""
    reply_to: Person | None = None
    """The reply address, if there is exactly one and it is not the author's."""
    answer_to: str | None = None
    """The reply address to use for a request the mail opens: set only when the author is proven."""
    doubt: str | None = None
    """Why the author may be forged: such a mail joins no conversation."""
    content: str = ""
    """A digest of Message-ID and content, the same in every mailbox the mail arrives in."""
    beside: tuple["OtherMailbox", ...] = ()
    """The other mailboxes of ours the mail was sent to."""


@dataclass(frozen=True, slots=True)
class OtherMailbox:
    """The reply address of a mail in another mailbox than the one it arrived in."""

    account: str
    tag: UUID | None = None
    signed: bool = False


@dataclass(frozen=True, slots=True)
class SharedLocation:
    """A location a customer sent."""

    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


ItemKind = Literal["message", "edited", "deleted", "reacted", "receipt", "noted"]
"""A message; an update of one (`about` names it); or an event that is only noted."""


@dataclass(frozen=True, slots=True)
class InboundItem:
    """One message, update or event of a channel."""

    kind: ItemKind
    external_id: str | None
    """The platform's id of the item, by which duplicates are recognised. None: it never comes
    again."""
    digest: str
    """A digest of the content: the same id with another digest is another item."""
    reused: Literal["rejected", "new"] = "new"
    """The rule for a known id with another digest: accept a new message and flag it, because
    platforms may start their ids anew; or reject it, where the sender chose the id as an
    idempotency key."""
    reason: str | None = None
    flags: tuple[str, ...] = ()
    """Doubts about a message, and the parts of it that were left out."""
    conversation: str = ""
    person: Person | None = None
    also: tuple[str, ...] = ()
    """Other addresses of the customer on the platform."""
    text: str = ""
    sent_at: datetime | None = None
    platform_id: str | None = None
    asked: RequestAttributes | None = None
    attachments: tuple[Attachment, ...] = ()
    html: str | None = None
    quoted: str | None = None
    """The quotation below the text."""
    thread: ThreadingHeaders | None = None
    """Of a mail; `conversation` is then the conversation it begins if it belongs to none."""
    automatic: str | None = None
    """The sign that a machine sent it; a person may have written it."""
    auto_reply: str | None = None
    """The sign that a machine wrote it in answer to a message: an absence notice or a receipt."""
    no_auto_response: str | None = None
    """Why it must not be answered automatically: a sign of a machine, a mailing list, or a
    request."""
    about: str | None = None
    """The platform's id of the message an update refers to."""
    until: datetime | None = None
    """Of a receipt that names no message: it covers everything sent until then."""
    reference: str | None = None
    """Of a receipt or an echo: our own id of the message, if the platform returns it."""
    state: DeliveryState | None = None
    """Of a receipt: the delivery state of the message."""
    permanent: bool = False
    """Of a failure: the address will take no other message either."""
    reaction: str | None = None
    """The emoji; None removes an earlier one."""
    reply_to: str | None = None
    """The platform's id of the message this one answers."""
    button: str | None = None
    """The payload of a pressed button."""
    place: SharedLocation | None = None
    cards: tuple[Person, ...] = ()
    """Contact cards the customer sent."""
