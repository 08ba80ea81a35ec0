"""The events of a request, as they are stored and published.

The JSON of an event is exactly the `data` of its contract, and its topic is the contract's name:
tests/domain/test_event_fields.py compares the fields. A field may be added only with a default,
because the whole history is read with today's classes. Events with more than four fields take them
by keyword only.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from msgspec import Struct

PREFIX = "trunkline.tickets.v1."


class Contact(Struct, frozen=True):
    """The customer, as far as their channel identifies them."""

    id: UUID
    name: str | None = None
    address: str | None = None
    language: str | None = None
    answer_to: str | None = None


class Message(Struct, frozen=True):
    """The content of one message at one moment."""

    id: UUID
    text: str
    sent_at: datetime
    html: str | None = None
    attachments: tuple[dict[str, Any], ...] = ()
    external_id: str | None = None
    reply_to: str | None = None
    location: dict[str, Any] | None = None
    contacts: tuple[dict[str, Any], ...] = ()
    button: str | None = None
    quoted: str | None = None
    flags: tuple[str, ...] = ()
    no_auto_response: str | None = None
    automatic: str | None = None
    number: int | None = None


class Event(Struct, frozen=True):
    """A change of one request."""

    TOPIC: ClassVar[str]


class Opened(Event, frozen=True, kw_only=True):
    """The first event of every request."""

    TOPIC = PREFIX + "opened"
    type: str
    channel: str
    account: str
    contact: Contact
    title: str
    topic: str
    priority: str
    status: str
    fields: dict[str, Any]
    message: Message
    conversation: str | None = None
    origin: str = "ingest"
    follow_up_of: UUID | None = None
    by: str | None = None


class MessageAdded(Event, frozen=True):
    """A further message of the customer."""

    TOPIC = PREFIX + "message_added"
    message: Message
    threaded_by: str | None = None


class MessageChanged(Event, frozen=True):
    """An edit or deletion of a message by the customer; `message.sent_at` is its time."""

    TOPIC = PREFIX + "message_changed"
    message: Message
    deleted: bool = False


class ReactionChanged(Event, frozen=True, kw_only=True):
    """A reaction added to a message, or removed from it (`reaction` is null)."""

    TOPIC = PREFIX + "reaction_changed"
    message_id: UUID
    reaction: str | None
    reacted_at: datetime
    contact_id: UUID | None = None
    number: int | None = None


class MessageReturned(Event, frozen=True):
    """A message that came after closing; ingest opens a follow-up request with it."""

    TOPIC = PREFIX + "message_returned"
    message: Message
    reason: str


class TitleChanged(Event, frozen=True, rename={"from_": "from"}):
    """A new title."""

    TOPIC = PREFIX + "title_changed"
    from_: str
    to: str
    by: str


class TopicChanged(Event, frozen=True, rename={"from_": "from"}):
    """A new topic; another group may be responsible for it."""

    TOPIC = PREFIX + "topic_changed"
    from_: str
    to: str
    by: str


class PriorityChanged(Event, frozen=True, rename={"from_": "from"}):
    """A new priority."""

    TOPIC = PREFIX + "priority_changed"
    from_: str
    to: str
    by: str


class FieldsChanged(Event, frozen=True):
    """New values of the topic's fields; null removes a value."""

    TOPIC = PREFIX + "fields_changed"
    fields: dict[str, Any]
    by: str


class StatusChanged(Event, frozen=True, rename={"from_": "from"}):
    """A step along the status graph of the request's type."""

    TOPIC = PREFIX + "status_changed"
    from_: str
    to: str
    by: str


class Paused(Event, frozen=True):
    """A pause: the clocks of the request stop until it is resumed."""

    TOPIC = PREFIX + "paused"
    by: str
    reason: str | None = None
    until: datetime | None = None


class Resumed(Event, frozen=True):
    """The end of a pause: the clocks run again."""

    TOPIC = PREFIX + "resumed"
    by: str


class Queued(Event, frozen=True):
    """Entry into the queue of a skill group."""

    TOPIC = PREFIX + "queued"
    group: str


class AssigneeChanged(Event, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A new assignee, or none (`to` is null)."""

    TOPIC = PREFIX + "assignee_changed"
    from_: str | None
    to: str | None
    group: str | None
    mode: str
    by: str | None = None
    epoch: int = 0


class ReplySent(Event, frozen=True, kw_only=True):
    """A reply of an operator; notify delivers it to the customer."""

    TOPIC = PREFIX + "reply_sent"
    message: Message
    by: str
    channel: str
    account: str
    contact: Contact
    conversation: str | None = None


class DeliveryRecorded(Event, frozen=True, kw_only=True):
    """A delivery state of a reply: sent, delivered, read or failed."""

    TOPIC = PREFIX + "delivery_recorded"
    message_id: UUID
    state: str
    platform_id: str | None = None
    reason: str | None = None
    permanent: bool = False


class NoteAdded(Event, frozen=True):
    """An internal note; customers never see it."""

    TOPIC = PREFIX + "note_added"
    note: str
    by: str
    visibility: str = "internal"


class WatcherAdded(Event, frozen=True):
    """A new watcher."""

    TOPIC = PREFIX + "watcher_added"
    watcher: str
    by: str


class WatcherRemoved(Event, frozen=True):
    """The removal of a watcher."""

    TOPIC = PREFIX + "watcher_removed"
    watcher: str
    by: str


class TagAdded(Event, frozen=True):
    """A new tag."""

    TOPIC = PREFIX + "tag_added"
    tag: str
    by: str


class TagRemoved(Event, frozen=True):
    """The removal of a tag."""

    TOPIC = PREFIX + "tag_removed"
    tag: str
    by: str


class Closed(Event, frozen=True):
    """The final event of the work on a request."""

    TOPIC = PREFIX + "closed"
    resolution: str
    by: str
    status: str
    operator: str | None = None


class Rated(Event, frozen=True):
    """The customer's rating of the request."""

    TOPIC = PREFIX + "rated"
    score: int
    comment: str | None = None


EVENTS: dict[str, type[Event]] = {cls.TOPIC: cls for cls in Event.__subclasses__()}
"""The class of each stored topic."""


class Recorded(Struct, frozen=True, kw_only=True):
    """An event with its position in the history of a request."""

    originator_id: UUID
    originator_version: int
    time: datetime
    data: Event
    workspace: int = 0
    traceparent: str | None = None
    correlationid: str | None = None
    causationid: str | None = None


Events = tuple[Event, ...]
NO_EVENTS: Events = ()


def number(
    request_id: UUID, version: int, events: Events, context: Mapping[str, Any]
) -> list[Recorded]:
    """Number events as the next ones after `version` in the request's history.

    `context` holds the other fields of `Recorded`: time, workspace and trace.
    """
    return [
        Recorded(originator_id=request_id, originator_version=n, data=event, **context)
        for n, event in enumerate(events, version + 1)
    ]
