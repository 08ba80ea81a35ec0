"""What facts are made of: contacts, messages, attachments, and the words they choose from."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from trunkline_contracts.fact import Fact, Part, Time, of_key

Token = Annotated[str, Field(pattern=r'^[^\s.*>"\\\x00-\x1f\x7f]{1,200}$')]
"""A name that fits into one token of a NATS subject: no dots, spaces, wildcards or quotes."""

Fields = dict[str, Any]
"""A topic's own fields: the workspace's field id and a JSON value."""

TopicBy = Literal["client", "triage", "none"]
"""Who named the topic."""

Presence = Literal["online", "busy", "away", "offline"]
"""What an operator is at the moment; only `online` is given work."""

Mode = Literal["auto", "claim", "offer", "sticky", "transfer"]
"""How a request came to its operator."""

Clock = Literal["FRT", "NRT", "TTR", "TIS", "ACCEPT"]
"""First response, next response, time to resolution, time in status, time to accept."""

DeliveryState = Literal["sent", "delivered", "read", "failed"]
"""How far a message to a customer has come."""


Number = Annotated[int, Field(ge=0, lt=2**53)]
"""A whole number that every reader of JSON takes for the same (RFC 8259, 6)."""


class Contact(Part):
    """The customer, as one channel's account knows them; `ids.contact_id` derives the id."""

    id: UUID
    name: str | None = None
    address: str | None = None
    language: str | None = None
    # Where this request is answered, when that is another address (RFC 5322, Reply-To).
    answer_to: str | None = None


class Attachment(Part):
    """Something that came with a message, by reference."""

    name: str | None = None
    content_type: str | None = None
    size: int | None = None
    url: str | None = None
    external_id: str | None = None


class Location(Part):
    """A place somebody sent, in degrees (WGS 84)."""

    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


class ContactCard(Part):
    """A contact somebody sent in a message; not the one who wrote it."""

    name: str | None = None
    phone: str | None = None
    email: str | None = None
    # The platform's id of that person, if it knows them.
    address: str | None = None


class Message(Part):
    """What a customer or an operator wrote."""

    id: UUID
    text: str
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()
    sent_at: Time
    # What the platform calls it.
    external_id: str | None = None
    # What the platform calls the message this one answers.
    reply_to: str | None = None
    location: Location | None = None
    contacts: tuple[ContactCard, ...] = ()
    # What the pressed button stands for, when it was one.
    button: str | None = None
    # What was quoted below the text, as far as it could be told apart.
    quoted: str | None = None
    # What is doubtful about it, in words: who wrote it, or where it belongs.
    flags: tuple[str, ...] = ()
    # Why no machine may answer it (RFC 3834): the sign that a machine or a list wrote it.
    no_auto_response: str | None = None
    # The sign that a machine sent it (RFC 3834), where there is one: then it starts no clock.
    automatic: str | None = None
    # The platform's number of it: of two of one instant the smaller came first.
    number: Number | None = None


class RequestFact(Fact):
    """A fact about one request."""

    request_id: Annotated[UUID, of_key("request_id")]
