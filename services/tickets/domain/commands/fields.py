"""Title, topic, priority, fields and tags."""

from collections.abc import Mapping
from typing import Any

from tickets.domain.commands.lifecycle import require_open
from tickets.domain.events import (
    NO_EVENTS,
    Events,
    FieldsChanged,
    PriorityChanged,
    TagAdded,
    TagRemoved,
    TitleChanged,
    TopicChanged,
)
from tickets.domain.request import Request
from tickets.domain.rules import Rules, require_active, require_one_of


def set_title(request: Request, to: str, by: str) -> Events:
    """Change the title."""
    require_open(request)
    return NO_EVENTS if to == request.title else (TitleChanged(request.title, to, by),)


def set_topic(request: Request, rules: Rules, to: str, by: str) -> Events:
    """Change the topic; raises `Invalid` for an unknown or retired one."""
    require_open(request)
    if to == request.topic:
        return NO_EVENTS
    return (TopicChanged(request.topic, require_active("topic", to, rules.topics), by),)


def set_priority(request: Request, rules: Rules, to: str, by: str) -> Events:
    """Change the priority; raises `Invalid` for an unknown one."""
    require_open(request)
    require_one_of("priority", to, rules.priorities)
    return NO_EVENTS if to == request.priority else (PriorityChanged(request.priority, to, by),)


def set_fields(request: Request, rules: Rules, values: Mapping[str, Any], by: str) -> Events:
    """Set field values; null removes one. Raises `Invalid` for values a field does not accept."""
    require_open(request)
    rules.check_fields(values)
    changed = {name: value for name, value in values.items() if request.fields.get(name) != value}
    return (FieldsChanged(changed, by),) if changed else NO_EVENTS


def tag(request: Request, name: str, by: str) -> Events:
    """Add a tag."""
    require_open(request)
    return NO_EVENTS if name in request.tags else (TagAdded(name, by),)


def untag(request: Request, name: str, by: str) -> Events:
    """Remove a tag."""
    require_open(request)
    return (TagRemoved(name, by),) if name in request.tags else NO_EVENTS
