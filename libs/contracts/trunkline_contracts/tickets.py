"""What tickets says: the one history of each request. This is what subscribers read.

Long, because it lists every event in a request's life; each is a few lines.
"""

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
)


class TicketsFact(RequestFact):
    """A fact in a request's one history; the envelope's subject says which request."""

    unsaid: ClassVar[frozenset[str]] = frozenset({"request_id"})


class Opened(TicketsFact):
    """The request's life begins."""

    type: Literal["trunkline.tickets.v1.opened"] = "trunkline.tickets.v1.opened"
    # The kind of request: chat, ticket or task.
    request_type: str
    channel: str
    account: str
    contact: Contact
    topic: str
    priority: str
    status: str
    message: Message
    title: str | None = None
    fields: Fields = {}
    conversation: str | None = None
    origin: Literal["ingest", "tickets"] = "ingest"
    follow_up_of: UUID | None = None
    by: str | None = None


class MessageAdded(TicketsFact):
    """The customer wrote again."""

    type: Literal["trunkline.tickets.v1.message_added"] = "trunkline.tickets.v1.message_added"
    message: Message
    threaded_by: str | None = None


class MessageChanged(TicketsFact):
    """The customer changed a message, or took it back; it keeps its id. `sent_at` says when."""

    type: Literal["trunkline.tickets.v1.message_changed"] = "trunkline.tickets.v1.message_changed"
    message: Message
    # Taken back: there is no text any more.
    deleted: bool = False


class ReactionChanged(TicketsFact):
    """Somebody put a reaction on a message, a customer's or ours, or took it off again."""

    type: Literal["trunkline.tickets.v1.reaction_changed"] = "trunkline.tickets.v1.reaction_changed"
    message_id: UUID
    # Null takes it off.
    reaction: str | None
    reacted_at: Time
    contact_id: UUID | None = None
    # The platform's number of it: of two of one instant the smaller came first.
    number: Number | None = None


class MessageReturned(TicketsFact):
    """A message came too late for this request; ingest opens a follow-up with it."""

    type: Literal["trunkline.tickets.v1.message_returned"] = "trunkline.tickets.v1.message_returned"
    message: Message
    reason: str


class TitleChanged(TicketsFact):
    """The request has another title."""

    type: Literal["trunkline.tickets.v1.title_changed"] = "trunkline.tickets.v1.title_changed"
    from_: str | None
    to: str
    by: str


class TopicChanged(TicketsFact):
    """The request is about something else."""

    type: Literal["trunkline.tickets.v1.topic_changed"] = "trunkline.tickets.v1.topic_changed"
    from_: str
    to: str
    by: str


class PriorityChanged(TicketsFact):
    """The request is more or less urgent now."""

    type: Literal["trunkline.tickets.v1.priority_changed"] = "trunkline.tickets.v1.priority_changed"
    from_: str
    to: str
    by: str


class FieldsChanged(TicketsFact):
    """Some of the topic's own fields have new values; null takes a value away."""

    type: Literal["trunkline.tickets.v1.fields_changed"] = "trunkline.tickets.v1.fields_changed"
    fields: Fields
    by: str


class StatusChanged(TicketsFact):
    """The request moved forward."""

    type: Literal["trunkline.tickets.v1.status_changed"] = "trunkline.tickets.v1.status_changed"
    from_: str
    to: str
    by: str


class Paused(TicketsFact):
    """Work on the request rests; its status stays."""

    type: Literal["trunkline.tickets.v1.paused"] = "trunkline.tickets.v1.paused"
    by: str
    reason: str | None = None
    until: Time | None = None


class Resumed(TicketsFact):
    """Work on the request goes on."""

    type: Literal["trunkline.tickets.v1.resumed"] = "trunkline.tickets.v1.resumed"
    by: str


class Queued(TicketsFact):
    """The request waits for an operator of a group."""

    type: Literal["trunkline.tickets.v1.queued"] = "trunkline.tickets.v1.queued"
    group: str


class Offered(TicketsFact):
    """An operator is asked to take the request."""

    type: Literal["trunkline.tickets.v1.offered"] = "trunkline.tickets.v1.offered"
    operator: str
    expires_at: Time
    epoch: int


class AssigneeChanged(TicketsFact):
    """Somebody else is responsible now, or nobody."""

    type: Literal["trunkline.tickets.v1.assignee_changed"] = "trunkline.tickets.v1.assignee_changed"
    from_: str | None = None
    to: str | None = None
    group: str | None = None
    # auto, claim, offer, sticky or transfer; for a release, its reason.
    mode: str
    by: str | None = None
    epoch: int


class TransferRequested(TicketsFact):
    """Another operator or group should take the request."""

    type: Literal["trunkline.tickets.v1.transfer_requested"] = (
        "trunkline.tickets.v1.transfer_requested"
    )
    by: str
    operator: str | None = None
    group: str | None = None
    reason: str | None = None


class Escalated(TicketsFact):
    """The request needs more than its assignee."""

    type: Literal["trunkline.tickets.v1.escalated"] = "trunkline.tickets.v1.escalated"
    by: str
    operator: str | None = None
    group: str | None = None
    reason: str | None = None


class ReplySent(TicketsFact):
    """An operator answered; notify carries the message to the customer."""

    type: Literal["trunkline.tickets.v1.reply_sent"] = "trunkline.tickets.v1.reply_sent"
    message: Message
    by: str
    channel: str
    account: str
    contact: Contact
    conversation: str | None = None


class DeliveryRecorded(TicketsFact):
    """It is known what became of a reply."""

    type: Literal["trunkline.tickets.v1.delivery_recorded"] = (
        "trunkline.tickets.v1.delivery_recorded"
    )
    message_id: UUID
    state: DeliveryState
    platform_id: str | None = None
    reason: str | None = None
    permanent: bool = False
    """Of a failure by mail: its receiver's address takes no mail; whoever says so is proven."""


class NoteAdded(TicketsFact):
    """A colleague noted something; customers never see it."""

    type: Literal["trunkline.tickets.v1.note_added"] = "trunkline.tickets.v1.note_added"
    note: str
    by: str
    visibility: Literal["internal"] = "internal"


class WatcherAdded(TicketsFact):
    """Somebody wants to hear of every change."""

    type: Literal["trunkline.tickets.v1.watcher_added"] = "trunkline.tickets.v1.watcher_added"
    watcher: str
    by: str


class WatcherRemoved(TicketsFact):
    """Somebody no longer wants to hear of every change."""

    type: Literal["trunkline.tickets.v1.watcher_removed"] = "trunkline.tickets.v1.watcher_removed"
    watcher: str
    by: str


class TagAdded(TicketsFact):
    """The request carries a tag."""

    type: Literal["trunkline.tickets.v1.tag_added"] = "trunkline.tickets.v1.tag_added"
    tag: str
    by: str


class TagRemoved(TicketsFact):
    """The request carries a tag no more."""

    type: Literal["trunkline.tickets.v1.tag_removed"] = "trunkline.tickets.v1.tag_removed"
    tag: str
    by: str


class Linked(TicketsFact):
    """The request has to do with another."""

    type: Literal["trunkline.tickets.v1.linked"] = "trunkline.tickets.v1.linked"
    to: UUID
    kind: str = "related"
    by: str


class Unlinked(TicketsFact):
    """The request has nothing to do with another any more."""

    type: Literal["trunkline.tickets.v1.unlinked"] = "trunkline.tickets.v1.unlinked"
    to: UUID
    kind: str = "related"
    by: str


class Merged(TicketsFact):
    """The request goes on as another; nothing more happens here."""

    type: Literal["trunkline.tickets.v1.merged"] = "trunkline.tickets.v1.merged"
    into: UUID
    by: str


class SubtaskAdded(TicketsFact):
    """A part of the work became a request of its own."""

    type: Literal["trunkline.tickets.v1.subtask_added"] = "trunkline.tickets.v1.subtask_added"
    subtask: UUID
    title: str | None = None
    by: str


class SubtaskChanged(TicketsFact):
    """A sub-task moved on."""

    type: Literal["trunkline.tickets.v1.subtask_changed"] = "trunkline.tickets.v1.subtask_changed"
    subtask: UUID
    status: str
    closed: bool = False


class Closed(TicketsFact):
    """The request is done, for good."""

    type: Literal["trunkline.tickets.v1.closed"] = "trunkline.tickets.v1.closed"
    resolution: str
    by: Literal["operator", "customer", "timer", "rule"]
    status: str
    # Whose deed it was, when a person closed it.
    operator: str | None = None


class RatingRequested(TicketsFact):
    """The customer is asked how it was."""

    type: Literal["trunkline.tickets.v1.rating_requested"] = "trunkline.tickets.v1.rating_requested"
    by: str | None = None


class Rated(TicketsFact):
    """The customer said how it was."""

    type: Literal["trunkline.tickets.v1.rated"] = "trunkline.tickets.v1.rated"
    score: int
    comment: str | None = None


class RatingDeleted(TicketsFact):
    """A rating was taken back."""

    type: Literal["trunkline.tickets.v1.rating_deleted"] = "trunkline.tickets.v1.rating_deleted"
    by: str


class ContactErased(Fact):
    """Everything personal about a contact must be forgotten."""

    key: ClassVar[str] = "contact_id"
    type: Literal["trunkline.tickets.v1.contact_erased"] = "trunkline.tickets.v1.contact_erased"
    contact_id: Annotated[UUID, of_key("contact_id")]
    by: str
