"""Parts of facts: contacts, messages, attachments, and the values some fields choose from."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from trunkline_contracts.fact import Fact, Part, Time, key_field

Token = Annotated[str, Field(pattern=r'^[^\s.*>"\\\x00-\x1f\x7f]{1,200}$')]
"""A name that is one token of a NATS subject: no dots, spaces, wildcards or quotes."""

Fields = dict[str, Any]
"""Fields the workspace defines: a JSON value for each field id."""

TopicBy = Literal["client", "triage", "none"]
"""The source of the topic."""

Presence = Literal["online", "busy", "away", "offline"]
"""An operator's own status; only operators who are `online` are assigned requests."""

Mode = Literal["auto", "claim", "offer", "sticky", "transfer"]
"""The way a request was assigned to its operator."""

Clock = Literal["FRT", "NRT", "TTR", "TIS", "ACCEPT"]
"""First response, next response, time to resolution, time in status, time to accept."""

DeliveryState = Literal["sent", "delivered", "read", "failed"]
"""The progress of a message to a customer."""


Number = Annotated[int, Field(ge=0, lt=2**53)]
"""An integer that every JSON reader represents exactly (RFC 8259, section 6)."""


class Contact(Part):
    """The customer at one account of a channel; `contact_id` derives the id."""

    id: UUID
    name: str | None = None
    address: str | None = None
    language: str | None = None
    # The address to answer this request at, if it differs (RFC 5322, Reply-To).
    answer_to: str | None = None


class Attachment(Part):
    """A file that belongs to a message, by reference."""

    name: str | None = None
    content_type: str | None = None
    size: int | None = None
    url: str | None = None
    external_id: str | None = None


class Location(Part):
    """A location sent as a message, in degrees (WGS 84)."""

    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


class ContactCard(Part):
    """A contact card sent as a message; not the author of the message."""

    name: str | None = None
    phone: str | None = None
    email: str | None = None
    # The platform's id of that person, if it gives one.
    address: str | None = None


class Message(Part):
    """A message of a customer or an operator."""

    id: UUID
    text: str
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()
    sent_at: Time
    # The platform's id of the message.
    external_id: str | None = None
    # The platform's id of the message this one answers.
    reply_to: str | None = None
    location: Location | None = None
    contacts: tuple[ContactCard, ...] = ()
    # The value of the button the customer pressed, if any.
    button: str | None = None
    # The quotation below the text, if it was recognised.
    quoted: str | None = None
    # Doubts about the message, in words: its author, or the request it belongs to.
    flags: tuple[str, ...] = ()
    # Why no automatic reply may be sent (RFC 3834): the header that shows a machine or a list.
    no_auto_response: str | None = None
    # The header that shows an automatic message (RFC 3834), if any; it starts no clock.
    automatic: str | None = None
    # The platform's number; it orders messages of the same time.
    number: Number | None = None


class RequestFact(Fact):
    """A fact about one request."""

    request_id: Annotated[UUID, key_field("request_id")]
