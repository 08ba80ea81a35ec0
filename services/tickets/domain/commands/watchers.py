"""Watchers."""

from tickets.domain.events import NO_EVENTS, Events, WatcherAdded, WatcherRemoved
from tickets.domain.request import Request


def watch(request: Request, watcher: str, by: str) -> Events:
    """Add a watcher; adding one who already watches on their own initiative invites them."""
    watchers = request.watchers if watcher == by else request.invited_watchers
    return NO_EVENTS if watcher in watchers else (WatcherAdded(watcher, by),)


def unwatch(request: Request, watcher: str, by: str) -> Events:
    """Remove a watcher."""
    return (WatcherRemoved(watcher, by),) if watcher in request.watchers else NO_EVENTS
