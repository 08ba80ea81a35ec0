"""The workspace as routing sees it: who is in which group, what they can do, how much they may have."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from chassis.workspace import Workspaces
from routing.domain import Group, Person


@dataclass(frozen=True, slots=True)
class Plan:
    """One version of the workspace; a version never changes."""

    version: int
    people: Mapping[str, Person]
    groups: Mapping[str, Group]
    topics: Mapping[str, str]
    weights: Mapping[str, int]
    default_topic: str

    def group_of(self, topic: str) -> str:
        """Give the group that answers a topic; a topic nobody knows any more goes where the default goes."""
        return self.topics.get(topic) or self.topics[self.default_topic]

    def groups_with(self, operators: Iterable[str]) -> set[str]:
        """Give the groups any of these belongs to."""
        names = set(operators)
        return {group.id for group in self.groups.values() if not names.isdisjoint(group.members)}

    def members(self, groups: Iterable[str]) -> set[str]:
        """Give everybody in these groups."""
        known = (self.groups[name] for name in groups if name in self.groups)
        return {member for group in known for member in group.members}


@lru_cache(maxsize=8)
def plan_of(workspaces: Workspaces, version: int) -> Plan:
    """Read a version of the workspace. Raises when this replica does not have it."""
    document: Any = workspaces.version(version)
    people = {
        name: Person(
            name,
            getattr(declared, "name", None) or name,
            declared.limit,
            dict(declared.skills),
            dict(declared.channels),
            tuple(declared.languages),
        )
        for name, declared in document.operators.items()
    }
    groups = {
        name: Group(name, frozenset(declared.operators), declared.method, declared.mode == "auto")
        for name, declared in document.groups.items()
    }
    topics = {name: declared.group for name, declared in document.topics.items()}
    return Plan(version, people, groups, topics, dict(document.priorities), document.defaults.topic)
