"""The workspace, as the domain knows it. A version never changes, so each is read once."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from chassis.outcomes import NotReady
from chassis.workspace import Workspaces
from chassis.workspace.fields import ValueRule
from tickets.domain.rules import Graph, Rules, Topic


def rules_in_force(workspaces: Workspaces) -> Rules:
    """Give the newest version's rules."""
    if not workspaces.latest:
        raise NotReady("no workspace has been applied yet")
    return rules_of(workspaces, workspaces.latest)


@lru_cache(maxsize=64)
def rules_of(workspaces: Workspaces, version: int) -> Rules:
    """Give a version's rules."""
    document = workspaces.version(version)
    return Rules(
        version=version,
        types={name: _graph(declared) for name, declared in document.types.items()},
        topics={name: _topic(declared) for name, declared in document.topics.items()},
        fields={name: _rule(declared).complaint for name, declared in document.fields.items()},
        priorities=tuple(document.priorities),
        type=document.defaults.type,
        topic=document.defaults.topic,
        priority=document.defaults.priority,
    )


def _graph(declared: Any) -> Graph:
    steps = {status: tuple(after) for status, after in declared.statuses.items()}
    return Graph(next(iter(steps)), steps, tuple(declared.closing))


def _topic(declared: Any) -> Topic:
    return Topic(declared.group, _asked(declared.fields.create), _asked(declared.fields.close))


def _asked(names: Iterable[str]) -> dict[str, bool]:
    """A name with a question mark may be left out."""
    return {name.removesuffix("?"): not name.endswith("?") for name in names}


def _rule(declared: Any) -> ValueRule:
    limits = (declared.pattern, declared.min, declared.max, tuple(declared.options))
    return ValueRule(declared.kind, *limits)
