"""What ingest says: contacts, conversations and the messages that came in."""

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from trunkline_contracts.fact import Fact, Time, of_key
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
    # What the platform calls the conversation; `ids.conversation_key` makes the key of it.
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
    """A customer wrote again about a request."""

    type: Literal["trunkline.ingest.v1.message_received"] = "trunkline.ingest.v1.message_received"
    message: Message
    # Why the message belongs to this request.
    threaded_by: str
    conversation: str | None = None


class MessageEdited(RequestFact):
    """A customer changed a message, or took it back; it keeps its id. `sent_at` says when."""

    type: Literal["trunkline.ingest.v1.message_edited"] = "trunkline.ingest.v1.message_edited"
    message: Message
    # Taken back: there is no text any more.
    deleted: bool = False


class MessageReacted(RequestFact):
    """Somebody put a reaction on a message, a customer's or ours, or took it off again."""

    type: Literal["trunkline.ingest.v1.message_reacted"] = "trunkline.ingest.v1.message_reacted"
    message_id: UUID
    # Null takes it off.
    reaction: str | None
    reacted_at: Time
    contact_id: UUID | None = None
    # The platform's number of it: of two of one instant the smaller came first.
    number: Number | None = None


class RatingReceived(RequestFact):
    """A customer rated how the request was handled."""

    type: Literal["trunkline.ingest.v1.rating_received"] = "trunkline.ingest.v1.rating_received"
    score: int
    comment: str | None = None


class DeliveryReported(RequestFact):
    """A platform says what became of a message to the customer; it is named by either id."""

    type: Literal["trunkline.ingest.v1.delivery_reported"] = "trunkline.ingest.v1.delivery_reported"
    state: DeliveryState
    message_id: UUID | None = None
    platform_id: str | None = None
    reason: str | None = None
    permanent: bool = False
    """Of a failure by mail: its receiver's address takes no mail; whoever says so is proven."""


class MessageRejected(Fact):
    """Something came in that can never become a message of a request."""

    key: ClassVar[str] = "inbound_id"
    type: Literal["trunkline.ingest.v1.message_rejected"] = "trunkline.ingest.v1.message_rejected"
    inbound_id: Annotated[Token, of_key("inbound_id")]
    reason: str
    channel: str | None = None
    account: str | None = None


class ContactChanged(Fact):
    """What is known of a contact is different now."""

    key: ClassVar[str] = "contact_id"
    type: Literal["trunkline.ingest.v1.contact_changed"] = "trunkline.ingest.v1.contact_changed"
    contact_id: Annotated[UUID, of_key("contact_id")]
    contact: Contact
