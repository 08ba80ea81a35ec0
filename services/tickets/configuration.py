"""Rules of the domain, made from a workspace version, which never changes."""

from collections.abc import Iterable
from functools import lru_cache

from chassis.configuration.following import Workspaces
from chassis.errors import NotReady
from tickets.domain.rules import Graph, Rules, Topic
from trunkline_workspace import document
from trunkline_workspace.document import Workspace
from trunkline_workspace.fields import ValueRule


def rules_in_force(workspaces: Workspaces) -> Rules:
    """Return the rules of the newest version; raises `NotReady` before the first one."""
    if not workspaces.latest:
        raise NotReady("no workspace has been applied yet")
    return rules_of(workspaces, workspaces.latest)


@lru_cache(maxsize=64)
def rules_of(workspaces: Workspaces, version: int) -> Rules:
    """Return the rules of a version."""
    return rules_from(workspaces.version(version), version)


def rules_from(workspace: Workspace, version: int) -> Rules:
    """Return the rules of a workspace document; retired names stay for requests that have them."""
    retired = frozenset(name for name, declared in workspace.fields.items() if declared.retired)
    return Rules(
        version=version,
        types={name: _graph(declared) for name, declared in workspace.types.items()},
        topics={name: _topic(declared, retired) for name, declared in workspace.topics.items()},
        fields={
            name: _rule(declared).complaint
            for name, declared in workspace.fields.items()
            if name not in retired
        },
        priorities=tuple(workspace.priorities),
        type=workspace.defaults.type,
        topic=workspace.defaults.topic,
        priority=workspace.defaults.priority,
        retired=retired,
    )


def _graph(declared: document.Type) -> Graph:
    steps = {status: tuple(after) for status, after in declared.statuses.items()}
    return Graph(next(iter(steps)), steps, tuple(declared.closing), declared.retired)


def _topic(declared: document.Topic, retired: frozenset[str]) -> Topic:
    create, close = (
        {name: required for name, required in _requirements(names).items() if name not in retired}
        for names in (declared.fields.create, declared.fields.close)
    )
    return Topic(declared.group, create, close, declared.retired)


def _requirements(names: Iterable[str]) -> dict[str, bool]:
    """Return names and whether each is required: a question mark marks an optional one."""
    return {name.removesuffix("?"): not name.endswith("?") for name in names}


def _rule(declared: document.FieldType) -> ValueRule:
    limits = (declared.pattern, declared.min, declared.max, tuple(declared.options))
    return ValueRule(declared.kind, *limits)
