"""The state of a request, built from its events. Applying an event never fails."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from tickets.domain import events as e

SNAPSHOT_VERSION = 5
"""Raise it whenever `Request` or `evolve` change: a snapshot of another version is not used."""

MessageTime = tuple[datetime, int | None]
"""A time by the platform's clock, and the platform's number of the message, if it has one."""


class Request(Struct, frozen=True):
    """The state of one request after all of its events."""

    id: UUID
    version: int
    type: str
    status: str
    title: str
    topic: str
    priority: str
    channel: str
    account: str
    contact: e.Contact
    fields: dict[str, Any]
    conversation: str | None
    origin: str
    follow_up_of: UUID | None
    opened_at: datetime
    updated_at: datetime
    messages: frozenset[str]
    """Message ids in hexadecimal, which decode fast: there may be many thousands."""
    assignee: str | None = None
    group: str | None = None
    queued: bool = False
    epoch: int = 0
    paused: bool = False
    tags: tuple[str, ...] = ()
    watchers: tuple[str, ...] = ()
    invited_watchers: tuple[str, ...] = ()
    """Watchers added by another person: they may read the request wherever it is assigned."""
    deliveries: frozenset[str] = frozenset()
    """The delivery states of replies; see `delivery_key`."""
    platform_ids: dict[str, UUID] = {}
    """Our message ids by the platform's ids."""
    edits: dict[UUID, MessageTime] = {}
    """The time of each message's last edit."""
    deleted: frozenset[UUID] = frozenset()
    reactions: dict[str, tuple[MessageTime, str | None]] = {}
    """The last reaction of each person to each message; see `reaction_key`."""
    resolution: str | None = None
    rated: bool = False
    closed_at: datetime | None = None

    def has_message(self, message_id: UUID) -> bool:
        """Return whether a message belongs to this request."""
        return message_id.hex in self.messages

    def has_delivery_state(self, message_id: UUID, state: str) -> bool:
        """Return whether a reply has reached a delivery state."""
        return delivery_key(message_id, state) in self.deliveries

    @property
    def closed(self) -> bool:
        """Return whether the request is closed."""
        return self.closed_at is not None


def replay(history: Iterable[e.Recorded], request: Request | None = None) -> Request | None:
    """Apply events in order to a request, or to none."""
    for recorded in history:
        request = evolve(request, recorded)
    return request


def evolve(request: Request | None, recorded: e.Recorded) -> Request:
    """Return the request after one event."""
    event = recorded.data
    if isinstance(event, e.Opened):
        return _opened(recorded, event)
    assert request is not None, "every history begins with `opened`"  # noqa: S101  for the type
    return replace(
        request,
        version=recorded.originator_version,
        updated_at=recorded.time,
        **_CHANGES[type(event)](request, event, recorded.time),
    )


def _opened(recorded: e.Recorded, event: e.Opened) -> Request:
    return Request(
        id=recorded.originator_id,
        version=recorded.originator_version,
        type=event.type,
        status=event.status,
        title=event.title,
        topic=event.topic,
        priority=event.priority,
        channel=event.channel,
        account=event.account,
        contact=event.contact,
        fields=event.fields,
        conversation=event.conversation,
        origin=event.origin,
        follow_up_of=event.follow_up_of,
        opened_at=recorded.time,
        updated_at=recorded.time,
        messages=frozenset((event.message.id.hex,)),
    )


Changes = dict[str, Any]


def _message_added(
    request: Request, event: e.MessageAdded | e.MessageReturned | e.ReplySent, _: datetime
) -> Changes:
    return {"messages": request.messages | {event.message.id.hex}}


def _message_changed(request: Request, event: e.MessageChanged, _: datetime) -> Changes:
    message = event.message
    return {
        "edits": {**request.edits, message.id: (message.sent_at, message.number)},
        "deleted": request.deleted | ({message.id} if event.deleted else set()),
    }


def _reaction_changed(request: Request, event: e.ReactionChanged, _: datetime) -> Changes:
    key = reaction_key(event.message_id, event.contact_id)
    reaction = (event.reacted_at, event.number), event.reaction
    return {"reactions": {**request.reactions, key: reaction}}


def _delivery_recorded(request: Request, event: e.DeliveryRecorded, _: datetime) -> Changes:
    key = delivery_key(event.message_id, event.state)
    changes: Changes = {"deliveries": request.deliveries | {key}}
    if event.platform_id:
        changes["platform_ids"] = {**request.platform_ids, event.platform_id: event.message_id}
    return changes


def _assignee_changed(request: Request, event: e.AssigneeChanged, _: datetime) -> Changes:
    return {
        "assignee": event.to,
        "group": event.group if event.group is not None else request.group,
        "queued": False,
        "epoch": max(event.epoch, request.epoch),
    }


def _closed(_: Request, event: e.Closed, time: datetime) -> Changes:
    return {
        "status": event.status,
        "resolution": event.resolution,
        "closed_at": time,
        "queued": False,
        "paused": False,
    }


def _fields_changed(request: Request, event: e.FieldsChanged, _: datetime) -> Changes:
    values = {**request.fields, **event.fields}
    return {"fields": {name: value for name, value in values.items() if value is not None}}


def _watcher_added(request: Request, event: e.WatcherAdded, _: datetime) -> Changes:
    changes: Changes = {"watchers": _with(request.watchers, event.watcher)}
    if event.by != event.watcher:
        changes["invited_watchers"] = _with(request.invited_watchers, event.watcher)
    return changes


def _watcher_removed(request: Request, event: e.WatcherRemoved, _: datetime) -> Changes:
    return {
        "watchers": _without(request.watchers, event.watcher),
        "invited_watchers": _without(request.invited_watchers, event.watcher),
    }


_CHANGES: dict[type[e.Event], Callable[[Request, Any, datetime], Changes]] = {
    e.MessageAdded: _message_added,
    e.MessageReturned: _message_added,
    e.ReplySent: _message_added,
    e.MessageChanged: _message_changed,
    e.ReactionChanged: _reaction_changed,
    e.DeliveryRecorded: _delivery_recorded,
    e.AssigneeChanged: _assignee_changed,
    e.Queued: lambda _, event, __: {"group": event.group, "queued": True},
    e.StatusChanged: lambda _, event, __: {"status": event.to},
    e.Closed: _closed,
    e.TitleChanged: lambda _, event, __: {"title": event.to},
    e.TopicChanged: lambda _, event, __: {"topic": event.to},
    e.PriorityChanged: lambda _, event, __: {"priority": event.to},
    e.FieldsChanged: _fields_changed,
    e.Paused: lambda *_: {"paused": True},
    e.Resumed: lambda *_: {"paused": False},
    e.NoteAdded: lambda *_: {},
    e.WatcherAdded: _watcher_added,
    e.WatcherRemoved: _watcher_removed,
    e.TagAdded: lambda request, event, _: {"tags": _with(request.tags, event.tag)},
    e.TagRemoved: lambda request, event, _: {"tags": _without(request.tags, event.tag)},
    e.Rated: lambda *_: {"rated": True},
}
"""The fields that each event changes, given the request, the event and its time."""


def delivery_key(message_id: UUID, state: str) -> str:
    """Return the key of one delivery state of one reply."""
    return f"{message_id.hex}/{state}"


def reaction_key(message_id: UUID, contact_id: UUID | None) -> str:
    """Return the key under which one person has one reaction to one message."""
    return f"{message_id}/{contact_id or ''}"


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return names if name in names else (*names, name)


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(other for other in names if other != name)
