"""Messages, edits, reactions, replies, notes and deliveries."""

from collections.abc import Callable
from uuid import UUID

from tickets.domain.commands.lifecycle import require_open
from tickets.domain.events import (
    NO_EVENTS,
    DeliveryRecorded,
    Events,
    Message,
    MessageAdded,
    MessageChanged,
    MessageReturned,
    NoteAdded,
    ReactionChanged,
    ReplySent,
)
from tickets.domain.request import MessageTime, Request, reaction_key


def on_message(request: Request, message: Message, threaded_by: str | None) -> Events:
    """Add a customer's further message, or return it when the request is closed."""
    if request.has_message(message.id):
        return NO_EVENTS
    if request.closed:
        return (MessageReturned(message, "closed"),)
    return (MessageAdded(message, threaded_by),)


def on_edit(request: Request, message: Message, *, deleted: bool = False) -> Events:
    """Apply an edit or a deletion of a message of this request.

    An edit older than the last one, and any edit of a deleted message, has no effect.
    """
    if not request.has_message(message.id) or message.id in request.deleted:
        return NO_EVENTS
    time = message.sent_at, message.number
    if not deleted and is_later(request.edits.get(message.id, time), time):
        return NO_EVENTS
    return (MessageChanged(message, deleted),)


def on_reaction(request: Request, change: ReactionChanged) -> Events:
    """Apply a reaction to a message of this request, unless the same person sent a later one."""
    if not request.has_message(change.message_id):
        return NO_EVENTS
    key = reaction_key(change.message_id, change.contact_id)
    time = change.reacted_at, change.number
    last_time, last = request.reactions.get(key, (time, None))
    return NO_EVENTS if is_later(last_time, time) or last == change.reaction else (change,)


def is_later(one: MessageTime, other: MessageTime) -> bool:
    """Return whether one message time is certainly after another.

    Equal times are ordered by the platform's numbers, where both messages have one.
    """
    if one[0] != other[0] or one[1] is None or other[1] is None:
        return one[0] > other[0]
    return one[1] > other[1]


def on_delivery(request: Request, delivery: DeliveryRecorded) -> Events:
    """Record a delivery state of a reply once, also after closing; `read` implies `delivered`."""
    covering = ("delivered", "read") if delivery.state == "delivered" else (delivery.state,)
    if any(request.has_delivery_state(delivery.message_id, state) for state in covering):
        return NO_EVENTS
    return (delivery,)


def on_delivery_report(
    request: Request, name: UUID | str | None, delivery_of: Callable[[UUID], DeliveryRecorded]
) -> Events:
    """Record a platform's report on a reply, named by our message id or by the platform's id."""
    message_id = name if isinstance(name, UUID) else request.platform_ids.get(name or "")
    return NO_EVENTS if message_id is None else on_delivery(request, delivery_of(message_id))


def reply(request: Request, message: Message, by: str) -> Events:
    """Send a reply to the customer."""
    require_open(request)
    sent = ReplySent(
        message=message,
        by=by,
        channel=request.channel,
        account=request.account,
        contact=request.contact,
        conversation=request.conversation,
    )
    return (sent,)


def note(_: Request, text: str, by: str) -> Events:
    """Add an internal note, also to a closed request."""
    return (NoteAdded(text, by),)
