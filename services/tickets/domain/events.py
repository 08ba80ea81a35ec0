"""Everything that can happen to a request, as it is stored and told.

The JSON of an event is exactly the `data` of its contract; its topic is the contract's name. Fields
may be added, with a default: history is read with today's classes. Long, as it lists every event.
"""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from msgspec import Struct

PREFIX = "trunkline.tickets.v1."


class Contact(Struct, frozen=True):
    """Who wrote, as far as their channel tells."""

    id: UUID
    name: str | None = None
    address: str | None = None
    language: str | None = None
    answer_to: str | None = None


class Message(Struct, frozen=True):
    """What somebody wrote, once."""

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
    """Something that happened to a request."""

    TOPIC: ClassVar[str]


class Opened(Event, frozen=True):
    """A request began."""

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
    """The customer wrote again."""

    TOPIC = PREFIX + "message_added"
    message: Message
    threaded_by: str | None = None


class MessageChanged(Event, frozen=True):
    """The customer corrected a message, or took it back; its `sent_at` says when."""

    TOPIC = PREFIX + "message_changed"
    message: Message
    deleted: bool = False


class ReactionChanged(Event, frozen=True):
    """Somebody put a reaction on a message, or took it off."""

    TOPIC = PREFIX + "reaction_changed"
    message_id: UUID
    reaction: str | None
    reacted_at: datetime
    contact_id: UUID | None = None
    number: int | None = None


class MessageReturned(Event, frozen=True):
    """A message came too late for this request; who brought it finds it another."""

    TOPIC = PREFIX + "message_returned"
    message: Message
    reason: str


class TitleChanged(Event, frozen=True, rename={"from_": "from"}):
    """It has another title."""

    TOPIC = PREFIX + "title_changed"
    from_: str
    to: str
    by: str


class TopicChanged(Event, frozen=True, rename={"from_": "from"}):
    """It is about something else, so another group may be the right one."""

    TOPIC = PREFIX + "topic_changed"
    from_: str
    to: str
    by: str


class PriorityChanged(Event, frozen=True, rename={"from_": "from"}):
    """It matters more, or less."""

    TOPIC = PREFIX + "priority_changed"
    from_: str
    to: str
    by: str


class FieldsChanged(Event, frozen=True):
    """Fields have new values; a null takes a field away."""

    TOPIC = PREFIX + "fields_changed"
    fields: dict[str, Any]
    by: str


class StatusChanged(Event, frozen=True, rename={"from_": "from"}):
    """It moved forward."""

    TOPIC = PREFIX + "status_changed"
    from_: str
    to: str
    by: str


class Paused(Event, frozen=True):
    """Its clocks stand still until it is resumed."""

    TOPIC = PREFIX + "paused"
    by: str
    reason: str | None = None
    until: datetime | None = None


class Resumed(Event, frozen=True):
    """Its clocks run again."""

    TOPIC = PREFIX + "resumed"
    by: str


class Queued(Event, frozen=True):
    """It waits for an operator of a group."""

    TOPIC = PREFIX + "queued"
    group: str


class AssigneeChanged(Event, frozen=True, rename={"from_": "from"}):
    """Somebody else, or nobody, is responsible for it now."""

    TOPIC = PREFIX + "assignee_changed"
    from_: str | None
    to: str | None
    group: str | None
    mode: str
    by: str | None = None
    epoch: int = 0


class ReplySent(Event, frozen=True):
    """An operator answered the customer; notify delivers it."""

    TOPIC = PREFIX + "reply_sent"
    message: Message
    by: str
    channel: str
    account: str
    contact: Contact
    conversation: str | None = None


class DeliveryRecorded(Event, frozen=True):
    """What became of an answer on its way to the customer."""

    TOPIC = PREFIX + "delivery_recorded"
    message_id: UUID
    state: str
    platform_id: str | None = None
    reason: str | None = None
    permanent: bool = False


class NoteAdded(Event, frozen=True):
    """A colleague left a note; customers never see it."""

    TOPIC = PREFIX + "note_added"
    note: str
    by: str
    visibility: str = "internal"


class WatcherAdded(Event, frozen=True):
    """Somebody wants to know whatever happens to it."""

    TOPIC = PREFIX + "watcher_added"
    watcher: str
    by: str


class WatcherRemoved(Event, frozen=True):
    """Somebody has seen enough."""

    TOPIC = PREFIX + "watcher_removed"
    watcher: str
    by: str


class TagAdded(Event, frozen=True):
    """It carries a tag."""

    TOPIC = PREFIX + "tag_added"
    tag: str
    by: str


class TagRemoved(Event, frozen=True):
    """It no longer carries a tag."""

    TOPIC = PREFIX + "tag_removed"
    tag: str
    by: str


class Closed(Event, frozen=True):
    """Its processing ended, for good."""

    TOPIC = PREFIX + "closed"
    resolution: str
    by: str
    status: str
    operator: str | None = None


class Rated(Event, frozen=True):
    """The customer said how it was."""

    TOPIC = PREFIX + "rated"
    score: int
    comment: str | None = None


EVENTS: dict[str, type[Event]] = {cls.TOPIC: cls for cls in Event.__subclasses__()}
"""Topics as they are stored."""


class Recorded(Struct, frozen=True, kw_only=True):
    """An event at its place in a request's history."""

    originator_id: UUID
    originator_version: int
    time: datetime
    data: Event
    workspace: int = 0
    traceparent: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
