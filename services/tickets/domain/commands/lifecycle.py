"""Opening, status, pause and closing."""

from collections.abc import Mapping

from msgspec.structs import replace

from tickets.domain.events import (
    NO_EVENTS,
    Closed,
    Events,
    Opened,
    Paused,
    Resumed,
    StatusChanged,
)
from tickets.domain.request import Request
from tickets.domain.rules import (
    Graph,
    Invalid,
    Refused,
    Rules,
    Topic,
    missing_required,
    require_active,
    require_one_of,
)

MAX_TITLE_CHARS = 80


def title_of(text: str) -> str:
    """Return a title for a text: its first line that is not blank, cut at a word."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) <= MAX_TITLE_CHARS:
        return line
    head = line[: MAX_TITLE_CHARS - 1]
    return (head.rsplit(" ", 1)[0] if " " in head else head) + "…"


def require_open(request: Request) -> None:
    """Raise `Refused` if the request is closed."""
    if request.closed:
        raise Refused("closed", f"request {request.id} is closed, for good")


def on_request_opened(request: Request | None, rules: Rules, draft: Opened) -> Events:
    """Open a request for a customer's first message.

    An unknown or retired type, topic or priority is replaced by the workspace's default.
    """
    if request is not None:
        return NO_EVENTS
    type_ = draft.type if _is_active(draft.type, rules.types) else rules.type
    opened = replace(
        draft,
        type=type_,
        title=draft.title or title_of(draft.message.text),
        topic=draft.topic if _is_active(draft.topic, rules.topics) else rules.topic,
        priority=draft.priority if draft.priority in rules.priorities else rules.priority,
        status=rules.types[type_].initial,
        origin="ingest",
        by=None,
    )
    return (opened,)


def _is_active(name: str, declared: Mapping[str, Graph] | Mapping[str, Topic]) -> bool:
    return name in declared and not declared[name].retired


def open_request(rules: Rules, draft: Opened) -> Events:
    """Open a request on behalf of a customer; an empty type, topic or priority is the default.

    Raises `Invalid` for unknown values and when a field required by the topic is missing.
    """
    type_ = require_active("type", draft.type or rules.type, rules.types)
    topic = require_active("topic", draft.topic or rules.topic, rules.topics)
    rules.check_fields(draft.fields)
    if missing := missing_required(rules.topics[topic].create, draft.fields):
        reason = f"lack {', '.join(missing)}, required by topic {topic}"
        raise Invalid("fields", draft.fields, reason=reason)
    opened = replace(
        draft,
        type=type_,
        title=draft.title or title_of(draft.message.text),
        topic=topic,
        priority=require_one_of("priority", draft.priority or rules.priority, rules.priorities),
        status=rules.types[type_].initial,
        origin="tickets",
    )
    return (opened,)


def set_status(request: Request, rules: Rules, to: str, by: str) -> Events:
    """Move a request along its status graph; a closing status closes it.

    Raises `Refused` for a step the graph does not have.
    """
    require_open(request)
    graph = rules.types[request.type]
    require_one_of("status", to, graph.statuses)
    if to == request.status:
        return NO_EVENTS
    steps = graph.steps.get(request.status, ())
    if to not in steps:
        raise Refused(
            "status_not_allowed",
            f"{request.type} in status {request.status} cannot become {to}",
            current=request.status,
            allowed=list(steps),
        )
    if to in graph.closing:
        _require_closing_fields(request, rules)
        return (Closed("", "operator", to, by),)
    return (StatusChanged(request.status, to, by),)


def close(request: Request, rules: Rules, resolution: str, operator: str) -> Events:
    """Close a request from any status.

    Raises `Refused` when a field that the topic requires for closing is missing.
    """
    require_open(request)
    _require_closing_fields(request, rules)
    return (Closed(resolution, "operator", rules.types[request.type].closing[0], operator),)


def _require_closing_fields(request: Request, rules: Rules) -> None:
    topic = rules.topics.get(request.topic)
    if topic and (missing := missing_required(topic.close, request.fields)):
        raise Refused(
            "fields_missing",
            f"topic {request.topic} requires {', '.join(missing)} before closing",
            fields=missing,
        )


def pause(request: Request, reason: str | None, by: str) -> Events:
    """Stop the clocks of a request; its status stays."""
    require_open(request)
    return NO_EVENTS if request.paused else (Paused(by, reason),)


def resume(request: Request, by: str) -> Events:
    """Restart the clocks of a paused request."""
    require_open(request)
    return (Resumed(by),) if request.paused else NO_EVENTS
