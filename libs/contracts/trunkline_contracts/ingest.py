"""Facts of ingest: contacts, and messages and reports that came in."""

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from trunkline_contracts.fact import Fact, Time, key_field
from trunkline_contracts.parts import (
    Contact,
    DeliveryState,
    Fields,
    Message,
    Number,
    RequestFact,
    Token,
    TopicBy,
)


class RequestOpened(RequestFact):
    """A customer's message opened a request."""

    type: Literal["trunkline.ingest.v1.request_opened"] = "trunkline.ingest.v1.request_opened"
    # The kind of request: chat, ticket or task.
    request_type: str
    channel: str
    account: str
    # The platform's name of the conversation; `conversation_key` derives the key.
    conversation: str
    contact: Contact
    message: Message
    title: str | None = None
    topic: str | None = None
    topic_by: TopicBy = "none"
    fields: Fields = {}
    priority: str | None = None
    follow_up_of: UUID | None = None


class MessageReceived(RequestFact):
    """A customer sent another message to a request."""

    type: Literal["trunkline.ingest.v1.message_received"] = "trunkline.ingest.v1.message_received"
    message: Message
    # Why the message belongs to this request.
    threaded_by: str
    conversation: str | None = None


class MessageEdited(RequestFact):
    """A customer edited or deleted a message, which keeps its id; `sent_at` is the time of it."""

    type: Literal["trunkline.ingest.v1.message_edited"] = "trunkline.ingest.v1.message_edited"
    message: Message
    # The message was deleted and has no text.
    deleted: bool = False


class MessageReacted(RequestFact):
    """A reaction was set on a message of a customer or an operator, or removed."""

    type: Literal["trunkline.ingest.v1.message_reacted"] = "trunkline.ingest.v1.message_reacted"
    message_id: UUID
    # Null removes the reaction.
    reaction: str | None
    reacted_at: Time
    contact_id: UUID | None = None
    # The platform's number; it orders reactions of the same time.
    number: Number | None = None


class RatingReceived(RequestFact):
    """A customer rated a request."""

    type: Literal["trunkline.ingest.v1.rating_received"] = "trunkline.ingest.v1.rating_received"
    score: int
    comment: str | None = None


class DeliveryReported(RequestFact):
    """A platform reported the delivery of a message to the customer, named by either id."""

    type: Literal["trunkline.ingest.v1.delivery_reported"] = "trunkline.ingest.v1.delivery_reported"
    state: DeliveryState
    message_id: UUID | None = None
    platform_id: str | None = None
    reason: str | None = None
    permanent: bool = False
    """The mail failed because the address accepts none; the report is authenticated."""


class MessageRejected(Fact):
    """A delivery was rejected: it can never become a message of a request."""

    key: ClassVar[str] = "inbound_id"
    type: Literal["trunkline.ingest.v1.message_rejected"] = "trunkline.ingest.v1.message_rejected"
    inbound_id: Annotated[Token, key_field("inbound_id")]
    reason: str
    channel: str | None = None
    account: str | None = None


class ContactChanged(Fact):
    """The data of a contact changed."""

    key: ClassVar[str] = "contact_id"
    type: Literal["trunkline.ingest.v1.contact_changed"] = "trunkline.ingest.v1.contact_changed"
    contact_id: Annotated[UUID, key_field("contact_id")]
    contact: Contact
