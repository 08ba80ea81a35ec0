"""The workspace, as the domain knows it. A version never changes, so each is read once."""

from collections.abc import Iterable
from functools import lru_cache

from chassis.configuration.following import Workspaces
from chassis.errors import NotReady
from tickets.domain.rules import Graph, Rules, Topic
from trunkline_workspace import document
from trunkline_workspace.document import Workspace
from trunkline_workspace.fields import ValueRule


def rules_in_force(workspaces: Workspaces) -> Rules:
    """Give the newest version's rules."""
    if not workspaces.latest:
        raise NotReady("no workspace has been applied yet")
    return rules_of(workspaces, workspaces.latest)


@lru_cache(maxsize=64)
def rules_of(workspaces: Workspaces, version: int) -> Rules:
    """Give a version's rules."""
    return rules_in(workspaces.version(version), version)


def rules_in(workspace: Workspace, version: int) -> Rules:
    """Read the rules out of a document. What has retired is known, for those who have it."""
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
        {name: must for name, must in _asked(names).items() if name not in retired}
        for names in (declared.fields.create, declared.fields.close)
    )
    return Topic(declared.group, create, close, declared.retired)


def _asked(names: Iterable[str]) -> dict[str, bool]:
    """A name with a question mark may be left out."""
    return {name.removesuffix("?"): not name.endswith("?") for name in names}


def _rule(declared: document.FieldType) -> ValueRule:
    limits = (declared.pattern, declared.min, declared.max, tuple(declared.options))
    return ValueRule(declared.kind, *limits)
