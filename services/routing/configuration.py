"""The workspace as routing sees it: who is in which group, can do what, may have how much."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from chassis.configuration.following import Workspaces
from routing.domain.matching import Group, Person


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
        """Give the group that answers a topic; an unknown one goes where the default does."""
        return self.topics.get(topic) or self.topics[self.default_topic]

    def moved_since(self, old: "Plan") -> dict[str, str]:
        """Name the topics another group answers now, and the group that did until now."""
        return {topic: was for topic, was in old.topics.items() if was != self.group_of(topic)}

    def home(self, group: str, topic: str) -> str:
        """Give where a request of this group and topic waits: in the topic's, if it has retired."""
        return group if group in self.groups else self.group_of(topic)

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
    document = workspaces.version(version)
    people = {
        name: Person(
            name,
            declared.name or name,
            declared.limit,
            dict(declared.skills),
            {str(channel): n for channel, n in declared.channels.items()},
            tuple(declared.languages),
            declared.quota,
        )
        for name, declared in document.operators.items()
        if not declared.retired
    }
    groups = {
        name: Group(
            name,
            frozenset(people.keys() & declared.operators),
            declared.method,
            declared.mode == "auto",
        )
        for name, declared in document.groups.items()
        if not declared.retired
    }
    topics = {
        name: declared.group
        for name, declared in document.topics.items()
        if declared.group in groups
    }
    return Plan(version, people, groups, topics, dict(document.priorities), document.defaults.topic)
