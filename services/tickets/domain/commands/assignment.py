"""Queue and assignee: routing decides them, tickets records them."""

from msgspec.structs import replace

from tickets.domain.events import NO_EVENTS, AssigneeChanged, Events, Queued
from tickets.domain.request import Request


def on_queued(request: Request, group: str) -> Events:
    """Record that the request waits in a group's queue."""
    if request.closed or (request.queued and request.group == group):
        return NO_EVENTS
    return (Queued(group),)


def on_assigned(request: Request, change: AssigneeChanged) -> Events:
    """Record a new assignee, unless the request is closed or has a later routing epoch."""
    if request.closed or change.epoch < request.epoch or change.to == request.assignee:
        return NO_EVENTS
    return (replace(change, from_=request.assignee),)


def on_unassigned(request: Request, operator: str, reason: str, epoch: int) -> Events:
    """Record that the assignee was released, unless the fact is about an earlier assignment."""
    if request.closed or request.assignee != operator or epoch < request.epoch:
        return NO_EVENTS
    released = AssigneeChanged(
        from_=request.assignee, to=None, group=request.group, mode=reason, epoch=epoch
    )
    return (released,)
