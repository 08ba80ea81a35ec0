"""Facts of tickets: the complete history of each request, for subscribers."""

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
)


class TicketsFact(RequestFact):
    """A fact in a request's history; the envelope's subject is the request's id."""

    only_in_envelope: ClassVar[frozenset[str]] = frozenset({"request_id"})


class Opened(TicketsFact):
    """A request was opened."""

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
    """The customer sent another message."""

    type: Literal["trunkline.tickets.v1.message_added"] = "trunkline.tickets.v1.message_added"
    message: Message
    threaded_by: str | None = None


class MessageChanged(TicketsFact):
    """The customer edited or deleted a message, which keeps its id; `sent_at` is the time of it."""

    type: Literal["trunkline.tickets.v1.message_changed"] = "trunkline.tickets.v1.message_changed"
    message: Message
    # The message was deleted and has no text.
    deleted: bool = False


class ReactionChanged(TicketsFact):
    """A reaction was set on a message of a customer or an operator, or removed."""

    type: Literal["trunkline.tickets.v1.reaction_changed"] = "trunkline.tickets.v1.reaction_changed"
    message_id: UUID
    # Null removes the reaction.
    reaction: str | None
    reacted_at: Time
    contact_id: UUID | None = None
    # The platform's number; it orders reactions of the same time.
    number: Number | None = None


class MessageReturned(TicketsFact):
    """A message arrived too late for this request; ingest opens a follow-up with it."""

    type: Literal["trunkline.tickets.v1.message_returned"] = "trunkline.tickets.v1.message_returned"
    message: Message
    reason: str


class TitleChanged(TicketsFact):
    """The title was changed."""

    type: Literal["trunkline.tickets.v1.title_changed"] = "trunkline.tickets.v1.title_changed"
    from_: str | None
    to: str
    by: str


class TopicChanged(TicketsFact):
    """The topic was changed."""

    type: Literal["trunkline.tickets.v1.topic_changed"] = "trunkline.tickets.v1.topic_changed"
    from_: str
    to: str
    by: str


class PriorityChanged(TicketsFact):
    """The priority was changed."""

    type: Literal["trunkline.tickets.v1.priority_changed"] = "trunkline.tickets.v1.priority_changed"
    from_: str
    to: str
    by: str


class FieldsChanged(TicketsFact):
    """Fields the workspace defines were set; null removes a value."""

    type: Literal["trunkline.tickets.v1.fields_changed"] = "trunkline.tickets.v1.fields_changed"
    fields: Fields
    by: str


class StatusChanged(TicketsFact):
    """The status was changed."""

    type: Literal["trunkline.tickets.v1.status_changed"] = "trunkline.tickets.v1.status_changed"
    from_: str
    to: str
    by: str


class Paused(TicketsFact):
    """The request was paused; its status stays."""

    type: Literal["trunkline.tickets.v1.paused"] = "trunkline.tickets.v1.paused"
    by: str
    reason: str | None = None
    until: Time | None = None


class Resumed(TicketsFact):
    """The request was resumed."""

    type: Literal["trunkline.tickets.v1.resumed"] = "trunkline.tickets.v1.resumed"
    by: str


class Queued(TicketsFact):
    """The request entered the queue of a group."""

    type: Literal["trunkline.tickets.v1.queued"] = "trunkline.tickets.v1.queued"
    group: str


class Offered(TicketsFact):
    """The request was offered to an operator."""

    type: Literal["trunkline.tickets.v1.offered"] = "trunkline.tickets.v1.offered"
    operator: str
    expires_at: Time
    epoch: int


class AssigneeChanged(TicketsFact):
    """The request was assigned to another operator, or taken from its operator."""

    type: Literal["trunkline.tickets.v1.assignee_changed"] = "trunkline.tickets.v1.assignee_changed"
    from_: str | None = None
    to: str | None = None
    group: str | None = None
    # auto, claim, offer, sticky or transfer; without an assignee, the reason.
    mode: str
    by: str | None = None
    epoch: int


class TransferRequested(TicketsFact):
    """A transfer to another operator or group was requested."""

    type: Literal["trunkline.tickets.v1.transfer_requested"] = (
        "trunkline.tickets.v1.transfer_requested"
    )
    by: str
    operator: str | None = None
    group: str | None = None
    reason: str | None = None


class Escalated(TicketsFact):
    """The request was escalated to another operator or group."""

    type: Literal["trunkline.tickets.v1.escalated"] = "trunkline.tickets.v1.escalated"
    by: str
    operator: str | None = None
    group: str | None = None
    reason: str | None = None


class ReplySent(TicketsFact):
    """An operator replied; notify sends the message to the customer."""

    type: Literal["trunkline.tickets.v1.reply_sent"] = "trunkline.tickets.v1.reply_sent"
    message: Message
    by: str
    channel: str
    account: str
    contact: Contact
    conversation: str | None = None


class DeliveryRecorded(TicketsFact):
    """The delivery of a reply was reported."""

    type: Literal["trunkline.tickets.v1.delivery_recorded"] = (
        "trunkline.tickets.v1.delivery_recorded"
    )
    message_id: UUID
    state: DeliveryState
    platform_id: str | None = None
    reason: str | None = None
    permanent: bool = False
    """The mail failed because the address accepts none; the report is authenticated."""


class NoteAdded(TicketsFact):
    """A note was added, which customers never see."""

    type: Literal["trunkline.tickets.v1.note_added"] = "trunkline.tickets.v1.note_added"
    note: str
    by: str
    visibility: Literal["internal"] = "internal"


class WatcherAdded(TicketsFact):
    """A watcher was added: a person who is notified of every change."""

    type: Literal["trunkline.tickets.v1.watcher_added"] = "trunkline.tickets.v1.watcher_added"
    watcher: str
    by: str


class WatcherRemoved(TicketsFact):
    """A watcher was removed."""

    type: Literal["trunkline.tickets.v1.watcher_removed"] = "trunkline.tickets.v1.watcher_removed"
    watcher: str
    by: str


class TagAdded(TicketsFact):
    """A tag was added."""

    type: Literal["trunkline.tickets.v1.tag_added"] = "trunkline.tickets.v1.tag_added"
    tag: str
    by: str


class TagRemoved(TicketsFact):
    """A tag was removed."""

    type: Literal["trunkline.tickets.v1.tag_removed"] = "trunkline.tickets.v1.tag_removed"
    tag: str
    by: str


class Linked(TicketsFact):
    """The request was linked to another."""

    type: Literal["trunkline.tickets.v1.linked"] = "trunkline.tickets.v1.linked"
    to: UUID
    kind: str = "related"
    by: str


class Unlinked(TicketsFact):
    """A link to another request was removed."""

    type: Literal["trunkline.tickets.v1.unlinked"] = "trunkline.tickets.v1.unlinked"
    to: UUID
    kind: str = "related"
    by: str


class Merged(TicketsFact):
    """The request was merged into another; its history ends here."""

    type: Literal["trunkline.tickets.v1.merged"] = "trunkline.tickets.v1.merged"
    into: UUID
    by: str


class SubtaskAdded(TicketsFact):
    """A sub-task was added, which is a request of its own."""

    type: Literal["trunkline.tickets.v1.subtask_added"] = "trunkline.tickets.v1.subtask_added"
    subtask: UUID
    title: str | None = None
    by: str


class SubtaskChanged(TicketsFact):
    """The status of a sub-task was changed."""

    type: Literal["trunkline.tickets.v1.subtask_changed"] = "trunkline.tickets.v1.subtask_changed"
    subtask: UUID
    status: str
    closed: bool = False


class Closed(TicketsFact):
    """The request was closed, which is final."""

    type: Literal["trunkline.tickets.v1.closed"] = "trunkline.tickets.v1.closed"
    resolution: str
    by: Literal["operator", "customer", "timer", "rule"]
    status: str
    # The operator, when a person closed it.
    operator: str | None = None


class RatingRequested(TicketsFact):
    """The customer was asked for a rating."""

    type: Literal["trunkline.tickets.v1.rating_requested"] = "trunkline.tickets.v1.rating_requested"
    by: str | None = None


class Rated(TicketsFact):
    """The customer rated the request."""

    type: Literal["trunkline.tickets.v1.rated"] = "trunkline.tickets.v1.rated"
    score: int
    comment: str | None = None


class RatingDeleted(TicketsFact):
    """A rating was deleted."""

    type: Literal["trunkline.tickets.v1.rating_deleted"] = "trunkline.tickets.v1.rating_deleted"
    by: str


class ContactErased(Fact):
    """The personal data of a contact must be erased."""

    key: ClassVar[str] = "contact_id"
    type: Literal["trunkline.tickets.v1.contact_erased"] = "trunkline.tickets.v1.contact_erased"
    contact_id: Annotated[UUID, key_field("contact_id")]
    by: str
