"""Rules across the sections of a workspace: one generator of problems for each section.

A problem names the path, the offending value and the allowed values.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any, get_args

from trunkline_contracts.addresses import mail_address
from trunkline_workspace.channels import account_problems
from trunkline_workspace.document import Calendar, FieldType, Policy, StreamName, Type, Workspace
from trunkline_workspace.values import is_linear_time, parse_hours, parse_weekdays

Problems = Iterator[str]


def problem(path: str, what: str, value: Any = ..., allowed: Iterable[str] | None = None) -> str:
    """Return the sentence of one problem."""
    details = [] if value is ... else [f"value {value!r}"]
    if allowed is not None:
        details.append(f"allowed: {', '.join(allowed) or 'none'}")
    return f"{path}: {what}" + (f" ({'; '.join(details)})" if details else "")


def _known(path: str, value: str, kind: str, allowed: Iterable[str]) -> Problems:
    """Yield a problem unless the value is one of `allowed`."""
    names = list(allowed)
    if value not in names:
        yield problem(path, f"no such {kind}", value, names)


def _active(sections: dict[str, Any]) -> list[str]:
    return [name for name, section in sections.items() if not section.retired]


def _defaults(w: Workspace) -> Problems:
    yield from _known("defaults.priority", w.defaults.priority, "priority", w.priorities)
    yield from _known("defaults.topic", w.defaults.topic, "topic", _active(dict(w.topics)))
    yield from _known("defaults.type", w.defaults.type, "type", _active(dict(w.types)))


def _types(w: Workspace) -> Problems:
    for name, declared in w.types.items():
        yield from _statuses(f"types.{name}", name, declared)


def _statuses(path: str, name: str, declared: Type) -> Problems:
    """Check the statuses of a type. Only a chat may go back to an earlier status."""
    closing = set(declared.closing)
    for status in declared.closing:
        yield from _known(f"{path}.closing", status, "status", sorted(declared.all_statuses))
    for status, following in declared.statuses.items():
        where = f"{path}.statuses.{status}"
        if status in closing and following:
            yield problem(where, "no status may follow a closing status", following, [])
        for follower in following:
            yield from _known(where, follower, "status", [*declared.statuses, *sorted(closing)])
    yield from _reachability(f"{path}.statuses", declared, closing)
    if name != "chat":
        yield from _cycles(f"{path}.statuses", declared.statuses)


def _reachability(path: str, declared: Type, closing: set[str]) -> Problems:
    """Check that every status can be reached, and can lead to a closing one."""
    reached = _reachable(declared.statuses, declared.initial)
    for status in sorted(declared.all_statuses - reached):
        yield problem(f"{path}.{status}", f"cannot be reached from {declared.initial}")
    for status in sorted(reached - closing):
        if not _reachable(declared.statuses, status) & closing:
            yield problem(f"{path}.{status}", "does not lead to a closing status", allowed=closing)


def _cycles(path: str, steps: dict[str, list[str]]) -> Problems:
    for status, following in steps.items():
        if back := [after for after in following if status in _reachable(steps, after)]:
            yield problem(f"{path}.{status}", "is in a cycle: statuses only move forward", back)


def _reachable(steps: dict[str, list[str]], start: str) -> set[str]:
    reached, todo = {start}, [start]
    while todo:
        for after in steps.get(todo.pop(), []):
            if after not in reached:
                reached.add(after)
                todo.append(after)
    return reached


def _fields(w: Workspace) -> Problems:
    for name, declared in w.fields.items():
        yield from _field(f"fields.{name}", declared)


WEBHOOK_SERVICES = ("tickets", "routing", "sla")
"""The services whose facts are sent to webhooks."""

KEYS_OF_KIND = {
    "text": {"pattern"},
    "number": {"min", "max"},
    "date": set[str](),
    "list": {"options"},
}


def _field(path: str, declared: FieldType) -> Problems:
    allowed = KEYS_OF_KIND[declared.kind]
    for key in sorted(declared.model_fields_set - {"kind", "retired"} - allowed):
        what = f"is not a key of fields of kind {declared.kind}"
        yield problem(f"{path}.{key}", what, allowed=sorted(allowed))
    if declared.pattern is not None and not is_linear_time(declared.pattern):
        what = "look-around and back-references are not allowed: they can take unlimited time"
        yield problem(f"{path}.pattern", what, declared.pattern)
    if declared.kind == "list" and not declared.options:
        yield problem(f"{path}.options", "a list needs options", declared.options)
    yield from _unique(f"{path}.options", declared.options)
    if declared.min is not None and declared.max is not None and declared.min > declared.max:
        yield problem(f"{path}.min", f"is above max {declared.max:g}", declared.min)


def _topics(w: Workspace) -> Problems:
    for name, topic in w.topics.items():
        path = f"topics.{name}"
        if not topic.retired:
            yield from _known(f"{path}.group", topic.group, "group", _active(dict(w.groups)))
        for phase, asked in topic.fields:
            names = [field.removesuffix("?") for field in asked]
            yield from _unique(f"{path}.fields.{phase}", names)
            for field in names:
                yield from _known(f"{path}.fields.{phase}", field, "field", w.fields)


def _calendars(w: Workspace) -> Problems:
    for name, calendar in w.calendars.items():
        yield from _week(f"calendars.{name}.week", calendar)
        if (country := calendar.holidays.country) is not None:
            from holidays import list_supported_countries  # slow to import, seldom needed

            path = f"calendars.{name}.holidays.country"
            yield from _known(path, country, "country", list_supported_countries())


def _week(path: str, calendar: Calendar) -> Problems:
    key_of: dict[int, str] = {}
    for key, texts in calendar.week.items():
        try:
            for day in parse_weekdays(key):
                if day in key_of:
                    yield problem(f"{path}.{key}", f"has a day that {key_of[day]} has too", key)
                key_of[day] = key
            spans = sorted(parse_hours(text) for text in texts)
        except ValueError as error:
            yield problem(f"{path}.{key}", str(error), texts)
            continue
        if any(before[1] > after[0] for before, after in pairwise(spans)):
            yield problem(f"{path}.{key}", "the hours overlap", texts)
    if not any(calendar.week.values()):
        yield problem(path, "the calendar has no hours", calendar.week)


def _groups(w: Workspace) -> Problems:
    for name, group in w.groups.items():
        path = f"groups.{name}"
        yield from _known(f"{path}.calendar", group.calendar, "calendar", w.calendars)
        yield from _unique(f"{path}.operators", group.operators)
        for operator in group.operators:
            yield from _known(f"{path}.operators", operator, "operator", w.operators)


def _operators(w: Workspace) -> Problems:
    for name, operator in w.operators.items():
        for topic in operator.skills:
            yield from _known(f"operators.{name}.skills", topic, "topic", w.topics)
        yield from _unique(f"operators.{name}.languages", operator.languages)


def _sla(w: Workspace) -> Problems:
    yield from _unique("sla", [policy.name for policy in w.sla])
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
            yield problem(f"sla.{number}.warn", "must be in rising order", policy.warn)
        yield from _within_a_year(number, policy, w.calendars.get(policy.calendar))
        for name, wanted in policy.match.items():
            for value in wanted if isinstance(wanted, list) else [wanted]:
                yield from _known(f"sla.{number}.match.{name}", value, name, allowed[name] or [])


def _within_a_year(number: int, policy: Policy, calendar: Calendar | None) -> Problems:
    """Check that a calendar reaches each target within a year, where the search for it ends."""
    try:
        hours = calendar.hours() if calendar else {}
    except ValueError:  # reported by _calendars
        return
    week = sum(closes - opens for spans in hours.values() for opens, closes in spans)
    for name, target in policy.targets.items():
        if week and target > timedelta(minutes=52 * week):
            what = f"is more than the hours of {policy.calendar} in a year"
            yield problem(f"sla.{number}.targets.{name}", what, target)


def _channels(w: Workspace) -> Problems:
    for channel, accounts in w.channels.items():
        for name, account in accounts.items():
            for key, what in account_problems(channel, account):
                yield problem(f"channels.{channel}.{name}.{key}", what)
    addresses = [mail_address(a.address) for a in w.channels.get("email", {}).values() if a.address]
    yield from _unique("channels.email", addresses)


def _webhooks(w: Workspace) -> Problems:
    sendable = [f"trunkline.{service}.v1.*" for service in WEBHOOK_SERVICES]
    for name, webhook in w.webhooks.items():
        for event in webhook.events:
            if not any(fnmatchcase(service, event.split(".")[1]) for service in WEBHOOK_SERVICES):
                path = f"webhooks.{name}.events"
                yield problem(path, "these facts are not sent to webhooks", event, sendable)


def _subscribers(w: Workspace) -> Problems:
    services = [stream.lower() for stream in get_args(StreamName)]
    reserved = {"admin", "sys", "tail", *services, *(f"{service}-relay" for service in services)}
    for name in sorted(reserved & w.subscribers.keys()):
        yield problem(f"subscribers.{name}", "is a user of the system itself: choose another name")
    for name in sorted({*reserved, *w.subscribers}.intersection(w.integrators)):
        yield problem(f"channels.custom.{name}", "is the name of another user: choose another name")


def _notifications(w: Workspace) -> Problems:
    yield from _unique("notifications.mandatory.channels", w.notifications.mandatory.channels)
    yield from _unique("notifications.mandatory.kinds", w.notifications.mandatory.kinds)


def _unique(path: str, values: Iterable[str]) -> Problems:
    for value, times in Counter(values).items():
        if times > 1:
            yield problem(path, f"appears {times} times", value)


CHECKS: tuple[Callable[[Workspace], Problems], ...] = (
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
    """Return every problem of the workspace."""
    return [found for rule in CHECKS for found in rule(workspace)]


def removed_ids(old: Workspace, new: Workspace) -> list[str]:
    """Return a problem for each id of the old version that the new one lacks.

    Facts refer to ids, so an id may retire but is never removed.
    """
    removed = [
        problem(f"{kind}.{name}", "an id is never removed: keep it, with retired: true")
        for kind in ("types", "fields", "topics", "groups", "operators")
        for name in getattr(old, kind)
        if name not in getattr(new, kind)
    ]
    removed += [
        problem(f"priorities.{name}", "a priority is never removed: keep it")
        for name in old.priorities
        if name not in new.priorities
    ]
    for name, declared in old.types.items():
        if name in new.types:
            for status in sorted(declared.all_statuses - new.types[name].all_statuses):
                path = f"types.{name}.statuses.{status}"
                removed.append(problem(path, "a status is never removed: requests may have it"))
    return removed
