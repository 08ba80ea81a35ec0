"""What must fit together in a workspace, over and above its shape.

Every complaint names path, value and what is allowed. One generator per part of the document. Long,
as it is a list.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any, get_args

from trunkline_contracts.addresses import mail_address
from trunkline_workspace.channels import complaints as account_complaints
from trunkline_workspace.document import Calendar, FieldType, Policy, StreamName, Type, Workspace
from trunkline_workspace.values import days, takes_no_time, window

Complaints = Iterator[str]


def complaint(path: str, what: str, value: Any = ..., allowed: Iterable[str] | None = None) -> str:
    """Write one complaint."""
    about = [] if value is ... else [f"value {value!r}"]
    if allowed is not None:
        about.append(f"allowed: {', '.join(allowed) or 'none'}")
    return f"{path}: {what}" + (f" ({'; '.join(about)})" if about else "")


def _known(path: str, value: str, kind: str, allowed: Iterable[str]) -> Complaints:
    names = list(allowed)
    if value not in names:
        yield complaint(path, f"no such {kind}", value, names)


def _living(things: dict[str, Any]) -> list[str]:
    return [name for name, thing in things.items() if not thing.retired]


def _defaults(w: Workspace) -> Complaints:
    yield from _known("defaults.priority", w.defaults.priority, "priority", w.priorities)
    yield from _known("defaults.topic", w.defaults.topic, "topic", _living(dict(w.topics)))
    yield from _known("defaults.type", w.defaults.type, "type", _living(dict(w.types)))


def _types(w: Workspace) -> Complaints:
    for name, declared in w.types.items():
        yield from _graph(f"types.{name}", name, declared)


def _graph(path: str, name: str, declared: Type) -> Complaints:
    ends = set(declared.closing)
    for status in declared.closing:
        yield from _known(f"{path}.closing", status, "status", sorted(declared.all))
    for status, after in declared.statuses.items():
        where = f"{path}.statuses.{status}"
        if status in ends and after:
            yield complaint(where, "a closing status is the end: nothing may follow", after)
        for follower in after:
            yield from _known(where, follower, "status", [*declared.statuses, *sorted(ends)])
    yield from _ways(f"{path}.statuses", declared, ends)
    if name != "chat":
        yield from _rounds(f"{path}.statuses", declared.statuses)


def _ways(path: str, declared: Type, ends: set[str]) -> Complaints:
    reached = _reach(declared.statuses, declared.initial)
    for status in sorted(declared.all - reached):
        yield complaint(f"{path}.{status}", "cannot be reached from the first status")
    for status in sorted(reached - ends):
        if not _reach(declared.statuses, status) & ends:
            yield complaint(f"{path}.{status}", "never comes to a closing status")


def _rounds(path: str, steps: dict[str, list[str]]) -> Complaints:
    for status, followers in steps.items():
        if any(status in _reach(steps, after) for after in followers):
            yield complaint(f"{path}.{status}", "goes round: statuses only move forward")


def _reach(steps: dict[str, list[str]], start: str) -> set[str]:
    reached, todo = {start}, [start]
    while todo:
        for after in steps.get(todo.pop(), []):
            if after not in reached:
                reached.add(after)
                todo.append(after)
    return reached


def _fields(w: Workspace) -> Complaints:
    for name, declared in w.fields.items():
        yield from _field(f"fields.{name}", declared)


TOLD = ("tickets", "routing", "sla")
"""Whose facts webhooks are told of."""

KEYS_OF_KIND = {
    "text": {"pattern"},
    "number": {"min", "max"},
    "date": set[str](),
    "list": {"options"},
}


def _field(path: str, declared: FieldType) -> Complaints:
    allowed = KEYS_OF_KIND[declared.kind]
    for key in sorted(declared.model_fields_set - {"kind", "retired"} - allowed):
        what = f"is not for fields of kind {declared.kind}"
        yield complaint(f"{path}.{key}", what, allowed=sorted(allowed))
    if declared.pattern is not None and not takes_no_time(declared.pattern):
        what = "no look-around and no references back: what strangers write is matched by it"
        yield complaint(f"{path}.pattern", what, declared.pattern)
    if declared.kind == "list" and not declared.options:
        yield complaint(f"{path}.options", "a list needs options")
    yield from _once(f"{path}.options", declared.options)
    if declared.min is not None and declared.max is not None and declared.min > declared.max:
        yield complaint(f"{path}.min", "is above max", declared.min)


def _topics(w: Workspace) -> Complaints:
    for name, topic in w.topics.items():
        path = f"topics.{name}"
        if not topic.retired:
            yield from _known(f"{path}.group", topic.group, "group", _living(dict(w.groups)))
        for phase, asked in topic.fields:
            names = [field.removesuffix("?") for field in asked]
            yield from _once(f"{path}.fields.{phase}", names)
            for field in names:
                yield from _known(f"{path}.fields.{phase}", field, "field", w.fields)


def _calendars(w: Workspace) -> Complaints:
    for name, calendar in w.calendars.items():
        yield from _week(f"calendars.{name}.week", calendar)
        if (country := calendar.holidays.country) is not None:
            from holidays import list_supported_countries  # takes a while, and few need it

            path = f"calendars.{name}.holidays.country"
            yield from _known(path, country, "country", list_supported_countries())


def _week(path: str, calendar: Calendar) -> Complaints:
    taken: dict[int, str] = {}
    for key, texts in calendar.week.items():
        try:
            for day in days(key):
                if day in taken:
                    yield complaint(f"{path}.{key}", f"has a day that {taken[day]} has too", key)
                taken[day] = key
            spans = sorted(window(text) for text in texts)
        except ValueError as why:
            yield complaint(f"{path}.{key}", str(why), texts)
            continue
        if any(before[1] > after[0] for before, after in pairwise(spans)):
            yield complaint(f"{path}.{key}", "hours overlap", texts)
    if not any(calendar.week.values()):
        yield complaint(path, "never opens")


def _groups(w: Workspace) -> Complaints:
    for name, group in w.groups.items():
        path = f"groups.{name}"
        yield from _known(f"{path}.calendar", group.calendar, "calendar", w.calendars)
        yield from _once(f"{path}.operators", group.operators)
        for operator in group.operators:
            yield from _known(f"{path}.operators", operator, "operator", w.operators)


def _operators(w: Workspace) -> Complaints:
    for name, operator in w.operators.items():
        for topic in operator.skills:
            yield from _known(f"operators.{name}.skills", topic, "topic", w.topics)
        yield from _once(f"operators.{name}.languages", operator.languages)


def _sla(w: Workspace) -> Complaints:
    yield from _once("sla", [policy.name for policy in w.sla])
    accounts = sorted({name for accounts in w.channels.values() for name in accounts})
    allowed: dict[str, list[str] | None] = {
        "type": list(w.types),
        "topic": list(w.topics),
        "priority": list(w.priorities),
        "channel": [*w.channels, "api"],
        "account": accounts,
        "group": list(w.groups),
    }
    for number, policy in enumerate(w.sla):
        yield from _known(f"sla.{number}.calendar", policy.calendar, "calendar", w.calendars)
        if policy.warn != sorted(set(policy.warn)):
            yield complaint(f"sla.{number}.warn", "must rise", policy.warn)
        yield from _within_a_year(number, policy, w.calendars.get(policy.calendar))
        for name, wanted in policy.match.items():
            for value in wanted if isinstance(wanted, list) else [wanted]:
                yield from _known(f"sla.{number}.match.{name}", value, name, allowed[name] or [])


def _within_a_year(number: int, policy: Policy, calendar: Calendar | None) -> Complaints:
    """Tell which targets a calendar cannot carry: deadlines are not looked for without end."""
    try:
        hours = calendar.hours() if calendar else {}
    except ValueError:  # which is complained of already
        return
    week = sum(closes - opens for spans in hours.values() for opens, closes in spans)
    for name, target in policy.targets.items():
        if week and target > timedelta(minutes=52 * week):
            what = f"more working time than {policy.calendar} has in a year"
            yield complaint(f"sla.{number}.targets.{name}", what, target)


def _channels(w: Workspace) -> Complaints:
    for channel, accounts in w.channels.items():
        for name, account in accounts.items():
            for key, what in account_complaints(channel, account):
                yield complaint(f"channels.{channel}.{name}.{key}", what)
    addresses = [mail_address(a.address) for a in w.channels.get("email", {}).values() if a.address]
    yield from _once("channels.email", addresses)


def _webhooks(w: Workspace) -> Complaints:
    told = [f"trunkline.{service}.v1.*" for service in TOLD]
    for name, webhook in w.webhooks.items():
        for event in webhook.events:
            if not any(fnmatchcase(service, event.split(".")[1]) for service in TOLD):
                path = f"webhooks.{name}.events"
                yield complaint(path, "webhooks are not told of these", event, told)


def _subscribers(w: Workspace) -> Complaints:
    services = [stream.lower() for stream in get_args(StreamName)]
    taken = {"admin", "sys", "tail", *services, *(f"{service}-relay" for service in services)}
    for name in sorted(taken & w.subscribers.keys()):
        yield complaint(f"subscribers.{name}", "is the name of a user the system has itself")
    for name in sorted({*taken, *w.subscribers}.intersection(w.integrators)):
        yield complaint(f"channels.custom.{name}", "is the name of another user")


def _notifications(w: Workspace) -> Complaints:
    yield from _once("notifications.mandatory.channels", w.notifications.mandatory.channels)
    yield from _once("notifications.mandatory.kinds", w.notifications.mandatory.kinds)


def _once(path: str, values: Iterable[str]) -> Complaints:
    for value, times in Counter(values).items():
        if times > 1:
            yield complaint(path, "is there twice", value)


CHECKS: tuple[Callable[[Workspace], Complaints], ...] = (
    _defaults,
    _types,
    _fields,
    _topics,
    _calendars,
    _groups,
    _operators,
    _sla,
    _channels,
    _webhooks,
    _subscribers,
    _notifications,
)


def check(workspace: Workspace) -> list[str]:
    """Give everything that does not fit together."""
    return [each for one in CHECKS for each in one(workspace)]


def vanished(old: Workspace, new: Workspace) -> list[str]:
    """Give the ids that were known and are not any more: they may retire, they never vanish."""
    gone = [
        complaint(f"{kind}.{name}", "ids retire, they never vanish: keep it, with retired: true")
        for kind in ("types", "fields", "topics", "groups", "operators")
        for name in getattr(old, kind)
        if name not in getattr(new, kind)
    ]
    gone += [
        complaint(f"priorities.{name}", "ids never vanish: keep it")
        for name in old.priorities
        if name not in new.priorities
    ]
    for name, declared in old.types.items():
        if name in new.types:
            for status in sorted(declared.all - new.types[name].all):
                path = f"types.{name}.statuses.{status}"
                gone.append(complaint(path, "statuses never vanish: requests may have it"))
    return gone
