"""What follows from a command, and from what others have told.

Commands of people may be refused. Facts of other services have happened: late and repeated ones
change nothing, but nothing here refuses them. Long, as it lists every command.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from tickets.domain import events as e
from tickets.domain.request import Request, Said, reaction_key
from tickets.domain.rules import (
    Graph,
    Invalid,
    Refused,
    Rules,
    Topic,
    living,
    missing,
    one_of,
)

Events = tuple[e.Event, ...]
NOTHING: Events = ()
TITLE_LENGTH = 80


def title_of(text: str) -> str:
    """Make a title of what was written: its first line, cut at a word."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) <= TITLE_LENGTH:
        return line
    head = line[: TITLE_LENGTH - 1]
    return (head.rsplit(" ", 1)[0] if " " in head else head) + "…"


# --- facts of ingest, routing, notify ---


def opened_elsewhere(request: Request | None, rules: Rules, draft: e.Opened) -> Events:
    """A customer's first message opens a request; what is not known gets its default."""
    if request is not None:
        return NOTHING
    type_ = draft.type if _lives(draft.type, rules.types) else rules.type
    return (
        e.Opened(
            type=type_,
            channel=draft.channel,
            account=draft.account,
            contact=draft.contact,
            title=draft.title or title_of(draft.message.text),
            topic=draft.topic if _lives(draft.topic, rules.topics) else rules.topic,
            priority=draft.priority if draft.priority in rules.priorities else rules.priority,
            status=rules.types[type_].initial,
            fields=draft.fields,
            message=draft.message,
            conversation=draft.conversation,
            origin="ingest",
            follow_up_of=draft.follow_up_of,
        ),
    )


def _lives(name: str, known: Mapping[str, Graph] | Mapping[str, Topic]) -> bool:
    return name in known and not known[name].retired


def hear_message(request: Request, message: e.Message, threaded_by: str | None) -> Events:
    """A further message is added, or returned when it comes after closing."""
    if request.has(message.id):
        return NOTHING
    if request.closed:
        return (e.MessageReturned(message, "closed"),)
    return (e.MessageAdded(message, threaded_by),)


def hear_edit(request: Request, message: e.Message, *, deleted: bool = False) -> Events:
    """A message this request has was corrected, or taken back; what was said later stands."""
    if not request.has(message.id) or message.id in request.deleted:
        return NOTHING
    said = message.sent_at, message.number
    if not deleted and later(request.changed.get(message.id, said), said):
        return NOTHING
    return (e.MessageChanged(message, deleted),)


def hear_reaction(request: Request, change: e.ReactionChanged) -> Events:
    """Somebody reacted to a message this request has; what they said later stands."""
    if not request.has(change.message_id):
        return NOTHING
    key = reaction_key(change.message_id, change.contact_id)
    said = change.reacted_at, change.number
    at, last = request.reactions.get(key, (said, None))
    return NOTHING if later(at, said) or last == change.reaction else (change,)


def later(one: Said, other: Said) -> bool:
    """Whether one was surely said after the other; of one instant, by the platform's numbers."""
    if one[0] != other[0] or one[1] is None or other[1] is None:
        return one[0] > other[0]
    return one[1] > other[1]


def hear_rating(request: Request, score: int, comment: str | None) -> Events:
    """One rating counts, the first."""
    return NOTHING if request.rated else (e.Rated(score, comment),)


def hear_queued(request: Request, group: str) -> Events:
    """It waits in a group's queue."""
    if request.closed or (request.queued and request.group == group):
        return NOTHING
    return (e.Queued(group),)


def hear_assigned(request: Request, change: e.AssigneeChanged) -> Events:
    """Routing found somebody; a decision after closing, or older than the last, is void."""
    if request.closed or change.epoch < request.epoch or change.to == request.assignee:
        return NOTHING
    return (_from(request, change),)


def hear_unassigned(request: Request, operator: str, reason: str, epoch: int) -> Events:
    """The assignee lets go of it."""
    if request.closed or request.assignee != operator or epoch < request.epoch:
        return NOTHING
    return (_from(request, e.AssigneeChanged(None, None, request.group, reason, epoch=epoch)),)


def _from(request: Request, change: e.AssigneeChanged) -> e.AssigneeChanged:
    return e.AssigneeChanged(
        request.assignee, change.to, change.group, change.mode, change.by, change.epoch
    )


def hear_delivery(request: Request, delivery: e.DeliveryRecorded) -> Events:
    """What became of an answer is part of its request's history, also after closing."""
    further = ("delivered", "read") if delivery.state == "delivered" else (delivery.state,)
    if any(request.became(delivery.message_id, state) for state in further):
        return NOTHING
    return (delivery,)


def hear_report(
    request: Request, named: UUID | str | None, told: Callable[[UUID], e.DeliveryRecorded]
) -> Events:
    """A platform reported on a message of ours, by our name for it or by its own."""
    message_id = named if isinstance(named, UUID) else request.sent.get(named or "")
    return NOTHING if message_id is None else hear_delivery(request, told(message_id))


# --- commands ---


def open_request(rules: Rules, draft: e.Opened) -> Events:
    """Somebody opens a request for a customer."""
    graph = rules.types[living("type", draft.type or rules.type, rules.types)]
    topic = living("topic", draft.topic or rules.topic, rules.topics)
    rules.check_fields(draft.fields)
    if lacking := missing(rules.topics[topic].create, draft.fields):
        wrong = f"lack {', '.join(lacking)}, required by topic {topic}"
        raise Invalid("fields", draft.fields, wrong=wrong)
    return (
        e.Opened(
            type=draft.type or rules.type,
            channel=draft.channel,
            account=draft.account,
            contact=draft.contact,
            title=draft.title or title_of(draft.message.text),
            topic=topic,
            priority=one_of("priority", draft.priority or rules.priority, rules.priorities),
            status=graph.initial,
            fields=draft.fields,
            message=draft.message,
            conversation=draft.conversation,
            origin="tickets",
            follow_up_of=draft.follow_up_of,
            by=draft.by,
        ),
    )


def reply(request: Request, message: e.Message, by: str) -> Events:
    """An operator answers the customer."""
    _still_open(request)
    return (
        e.ReplySent(
            message,
            by,
            request.channel,
            request.account,
            request.contact,
            request.conversation,
        ),
    )


def note(_: Request, text: str, by: str) -> Events:
    """A colleague leaves a note; also after closing, for whoever looks back."""
    return (e.NoteAdded(text, by),)


def set_status(request: Request, rules: Rules, to: str, by: str) -> Events:
    """It moves forward, never back; a closing status closes it."""
    _still_open(request)
    graph = rules.types[request.type]
    one_of("status", to, graph.statuses)
    if to == request.status:
        return NOTHING
    steps = graph.steps.get(request.status, ())
    if to not in steps:
        raise Refused(
            "status_not_allowed",
            f"{request.type} in status {request.status} cannot become {to}",
            current=request.status,
            allowed=list(steps),
        )
    if to in graph.closing:
        _asked_for(request, rules)
        return (e.Closed("", "operator", to, by),)
    return (e.StatusChanged(request.status, to, by),)


def close(request: Request, rules: Rules, resolution: str, operator: str) -> Events:
    """Processing ends, from wherever it stands."""
    _still_open(request)
    _asked_for(request, rules)
    return (e.Closed(resolution, "operator", rules.types[request.type].closing[0], operator),)


def set_title(request: Request, to: str, by: str) -> Events:
    """It gets another title."""
    _still_open(request)
    return () if to == request.title else (e.TitleChanged(request.title, to, by),)


def set_topic(request: Request, rules: Rules, to: str, by: str) -> Events:
    """It is about something else."""
    _still_open(request)
    if to == request.topic:
        return NOTHING
    return (e.TopicChanged(request.topic, living("topic", to, rules.topics), by),)


def set_priority(request: Request, rules: Rules, to: str, by: str) -> Events:
    """It gets another priority."""
    _still_open(request)
    one_of("priority", to, rules.priorities)
    return () if to == request.priority else (e.PriorityChanged(request.priority, to, by),)


def set_fields(request: Request, rules: Rules, given: Mapping[str, Any], by: str) -> Events:
    """Fields get values; null takes one away."""
    _still_open(request)
    rules.check_fields(given)
    changed = {name: value for name, value in given.items() if request.fields.get(name) != value}
    return (e.FieldsChanged(changed, by),) if changed else NOTHING


def pause(request: Request, reason: str | None, by: str) -> Events:
    """Its clocks stand still; the status stays."""
    _still_open(request)
    return NOTHING if request.paused else (e.Paused(by, reason),)


def resume(request: Request, by: str) -> Events:
    """Its clocks run again."""
    _still_open(request)
    return (e.Resumed(by),) if request.paused else NOTHING


def watch(request: Request, watcher: str, by: str) -> Events:
    """Somebody wants to know, or is asked in who watched until now of their own accord."""
    known = request.watchers if watcher == by else request.guests
    return NOTHING if watcher in known else (e.WatcherAdded(watcher, by),)


def unwatch(request: Request, watcher: str, by: str) -> Events:
    """Somebody has seen enough."""
    return (e.WatcherRemoved(watcher, by),) if watcher in request.watchers else NOTHING


def tag(request: Request, name: str, by: str) -> Events:
    """It carries a tag."""
    _still_open(request)
    return NOTHING if name in request.tags else (e.TagAdded(name, by),)


def untag(request: Request, name: str, by: str) -> Events:
    """It no longer carries a tag."""
    _still_open(request)
    return (e.TagRemoved(name, by),) if name in request.tags else NOTHING


def record(
    request_id: UUID, after: int, events: Events, context: Mapping[str, Any]
) -> list[e.Recorded]:
    """Give events their places in the history, the next ones."""
    return [
        e.Recorded(originator_id=request_id, originator_version=n, data=event, **context)
        for n, event in enumerate(events, after + 1)
    ]


def _still_open(request: Request) -> None:
    if request.closed:
        raise Refused("closed", f"request {request.id} is closed, for good")


def _asked_for(request: Request, rules: Rules) -> None:
    topic = rules.topics.get(request.topic)
    if topic and (lacking := missing(topic.close, request.fields)):
        raise Refused(
            "fields_missing",
            f"topic {request.topic} asks for {', '.join(lacking)} before closing",
            fields=lacking,
        )
