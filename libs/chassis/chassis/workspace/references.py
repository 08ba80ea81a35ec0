"""Whether the parts of a workspace fit together, and whether a new version forgets what history knows."""

from collections.abc import Collection, Iterator

from chassis.workspace.document import CHANNELS, Workspace


def complaints(w: Workspace) -> Iterator[str]:
    """Give every reference to something that is not there."""
    yield from _defaults(w)
    yield from _types(w)
    yield from _topics(w)
    yield from _groups(w)
    yield from _operators(w)
    yield from _policies(w)
    yield from _accounts(w)


def forgotten(old: Workspace, new: Workspace) -> Iterator[str]:
    """Give every id the old version had and the new one has not: ids retire, they never vanish."""
    for part in ("priorities", "types", "fields", "topics", "groups", "operators"):
        for gone in sorted(set(getattr(old, part)) - set(getattr(new, part))):
            hint = " (set `retired: true`)" if part in {"topics", "groups", "operators"} else ""
            yield f"{part}.{gone}: history knows it, so it cannot vanish{hint}"
    for name, graph in old.types.items():
        if name in new.types:
            for gone in sorted(set(graph.statuses) - set(new.types[name].statuses)):
                yield f"types.{name}.statuses.{gone}: history knows it, so it cannot vanish"


def _known(path: str, value: str | None, allowed: Collection[str]) -> Iterator[str]:
    if value is not None and value not in allowed:
        yield f"{path}: no such id (value {value!r}; allowed: {', '.join(sorted(allowed))})"


def _defaults(w: Workspace) -> Iterator[str]:
    yield from _known("defaults.priority", w.defaults.priority, w.priorities)
    yield from _known("defaults.topic", w.defaults.topic, w.topics)
    yield from _known("defaults.type", w.defaults.type, w.types)


def _types(w: Workspace) -> Iterator[str]:
    for name, graph in w.types.items():
        if name != "chat" and (cycle := graph.cycle()):
            yield f"types.{name}.statuses: statuses only move forward (value {' > '.join(cycle)})"


def _topics(w: Workspace) -> Iterator[str]:
    for name, topic in w.topics.items():
        yield from _known(f"topics.{name}.group", topic.group, w.groups)
        yield from _known(f"topics.{name}.calendar", topic.calendar, w.calendars)
        for phase in ("create", "process", "close"):
            for field in getattr(topic.fields, phase):
                yield from _known(f"topics.{name}.fields.{phase}", field.removesuffix("?"), w.fields)


def _groups(w: Workspace) -> Iterator[str]:
    for name, group in w.groups.items():
        yield from _known(f"groups.{name}.calendar", group.calendar, w.calendars)
        for operator in group.operators:
            yield from _known(f"groups.{name}.operators", operator, w.operators)


def _operators(w: Workspace) -> Iterator[str]:
    for name, operator in w.operators.items():
        for skill in operator.skills:
            yield from _known(f"operators.{name}.skills", skill, w.topics)
        for channel in operator.channels:
            yield from _known(f"operators.{name}.channels", channel, CHANNELS)


def _policies(w: Workspace) -> Iterator[str]:
    kinds: dict[str, Collection[str]] = {
        "type": w.types, "topic": w.topics, "priority": w.priorities, "channel": CHANNELS, "group": w.groups,
    }  # fmt: skip
    names = [policy.name for policy in w.sla]
    for number, policy in enumerate(w.sla):
        if names.count(policy.name) > 1:
            yield f"sla.{number}.name: said twice (value {policy.name!r})"
        yield from _known(f"sla.{number}.calendar", policy.calendar, w.calendars)
        for kind, wanted in policy.match.items():
            for value in [wanted] if isinstance(wanted, str) else wanted:
                if kind in kinds:
                    yield from _known(f"sla.{number}.match.{kind}", value, kinds[kind])


def _accounts(w: Workspace) -> Iterator[str]:
    for channel, accounts in w.channels.items():
        for name, account in accounts.items():
            yield from _known(f"channels.{channel}.{name}.topic", account.topic, w.topics)
            if channel == "email" and account.address is None:
                yield f"channels.email.{name}.address: an e-mail account has an address"
