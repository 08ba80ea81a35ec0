"""A request as its history made it. Applying may not refuse: what has happened has happened.

Long, as it lists what each event changes.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from tickets.domain import events as e

SNAPSHOT_VERSION = 5
"""Raised whenever `Request` or `evolve` change: snapshots of another number are not believed."""

MessageTime = tuple[datetime, int | None]
"""When something was said, by the platform's clock, and its number there, if they are numbered."""


class Request(Struct, frozen=True):
    """What is known of one request, folded from its history."""

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
    """Ids in hexadecimal, as they are cheap to read: there may be many thousands."""
    assignee: str | None = None
    group: str | None = None
    queued: bool = False
    epoch: int = 0
    paused: bool = False
    tags: tuple[str, ...] = ()
    watchers: tuple[str, ...] = ()
    invited_watchers: tuple[str, ...] = ()
    """Watchers who were made so by somebody else: they may look, wherever it goes."""
    deliveries: frozenset[str] = frozenset()
    """What became of answers; see `delivery_key`."""
    platform_ids: dict[str, UUID] = {}
    """Our messages by what the platform calls them."""
    edits: dict[UUID, MessageTime] = {}
    """When messages were last corrected."""
    deleted: frozenset[UUID] = frozenset()
    reactions: dict[str, tuple[MessageTime, str | None]] = {}
    """The last of each person on each message; see `reaction_key`."""
    resolution: str | None = None
    rated: bool = False
    closed_at: datetime | None = None

    def has_message(self, message_id: UUID) -> bool:
        """Whether a message is one of this request's."""
        return message_id.hex in self.messages

    def has_delivery_state(self, message_id: UUID, state: str) -> bool:
        """Whether an answer has come this far."""
        return delivery_key(message_id, state) in self.deliveries

    @property
    def closed(self) -> bool:
        """Whether its processing has ended."""
        return self.closed_at is not None


def replay(history: Iterable[e.Recorded], request: Request | None = None) -> Request | None:
    """Fold a history, on top of what was known."""
    for recorded in history:
        request = evolve(request, recorded)
    return request


def evolve(request: Request | None, recorded: e.Recorded) -> Request:
    """Apply one event."""
    event = recorded.data
    if isinstance(event, e.Opened):
        return _opened(recorded, event)
    assert request is not None, "every history begins with opened"  # noqa: S101  for the type
    return replace(
        request,
        version=recorded.originator_version,
        updated_at=recorded.time,
        **_changes(request, recorded.time, event),
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


def _changes(request: Request, time: datetime, event: e.Event) -> dict[str, Any]:  # noqa: C901, PLR0912  one case per event
    match event:
        case e.MessageAdded(message) | e.MessageReturned(message) | e.ReplySent(message):
            return {"messages": request.messages | {message.id.hex}}
        case e.AssigneeChanged(to=to, group=group, epoch=epoch):
            return {
                "assignee": to,
                "group": group if group is not None else request.group,
                "queued": False,
                "epoch": max(epoch, request.epoch),
            }
        case e.Queued(group):
            return {"group": group, "queued": True}
        case e.StatusChanged(to=to):
            return {"status": to}
        case e.Closed(resolution=resolution, status=status):
            return {
                "status": status,
                "resolution": resolution,
                "closed_at": time,
                "queued": False,
                "paused": False,
            }
        case e.DeliveryRecorded(message_id, state, platform_id):
            named = {platform_id: message_id} if platform_id else {}
            return {
                "deliveries": request.deliveries | {delivery_key(message_id, state)},
                "platform_ids": {**request.platform_ids, **named},
            }
        case e.MessageChanged(message, deleted):
            gone = {message.id} if deleted else set()
            return {
                "edits": {**request.edits, message.id: (message.sent_at, message.number)},
                "deleted": request.deleted | gone,
            }
        case e.ReactionChanged(message_id, reaction, at, contact_id, number):
            key = reaction_key(message_id, contact_id)
            return {"reactions": {**request.reactions, key: ((at, number), reaction)}}
        case e.TitleChanged(to=to):
            return {"title": to}
        case e.TopicChanged(to=to):
            return {"topic": to}
        case e.PriorityChanged(to=to):
            return {"priority": to}
        case e.FieldsChanged(given):
            kept = {**request.fields, **given}
            return {"fields": {name: value for name, value in kept.items() if value is not None}}
        case e.Paused():
            return {"paused": True}
        case e.Resumed():
            return {"paused": False}
        case e.WatcherAdded(watcher, by):
            invited = (
                request.invited_watchers
                if by == watcher
                else _with(request.invited_watchers, watcher)
            )
            return {"watchers": _with(request.watchers, watcher), "invited_watchers": invited}
        case e.WatcherRemoved(watcher):
            return {
                "watchers": _without(request.watchers, watcher),
                "invited_watchers": _without(request.invited_watchers, watcher),
            }
        case e.TagAdded(tag):
            return {"tags": _with(request.tags, tag)}
        case e.TagRemoved(tag):
            return {"tags": _without(request.tags, tag)}
        case e.Rated():
            return {"rated": True}
        case _:
            return {}


def delivery_key(message_id: UUID, state: str) -> str:
    """Name one thing that can become of an answer, once."""
    return f"{message_id.hex}/{state}"


def reaction_key(message_id: UUID, contact_id: UUID | None) -> str:
    """Name what one person may have one reaction on."""
    return f"{message_id}/{contact_id or ''}"


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return names if name in names else (*names, name)


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(other for other in names if other != name)
