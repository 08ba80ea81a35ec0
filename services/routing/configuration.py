"""Routing rules: one version of the workspace as routing reads it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from chassis.configuration.following import Workspaces
from chassis.errors import NotReady
from routing.domain.model import Group, OperatorProfile


@dataclass(frozen=True, slots=True)
class RoutingRules:
    """Operators, groups, topics and priorities of one workspace version, without retired ones.

    `topics` maps a topic to its group, `weights` a priority to its weight.
    """

    version: int
    profiles: Mapping[str, OperatorProfile]
    groups: Mapping[str, Group]
    topics: Mapping[str, str]
    weights: Mapping[str, int]
    default_topic: str

    def group_of(self, topic: str) -> str:
        """Return the group that serves a topic; an unknown topic has the default topic's group."""
        return self.topics.get(topic) or self.topics[self.default_topic]

    def regrouped_topics(self, old: "RoutingRules") -> dict[str, str]:
        """Return the topics whose group differs from the old rules, with the old group."""
        return {topic: was for topic, was in old.topics.items() if was != self.group_of(topic)}

    def active_group(self, group: str, topic: str) -> str:
        """Return the group, or the topic's group when that group has been retired."""
        return group if group in self.groups else self.group_of(topic)

    def groups_with(self, operators: Iterable[str]) -> set[str]:
        """Return the groups that have any of these operators as a member."""
        names = set(operators)
        return {group.id for group in self.groups.values() if not names.isdisjoint(group.members)}

    def members(self, groups: Iterable[str]) -> set[str]:
        """Return the members of these groups; unknown groups have none."""
        known = (self.groups[name] for name in groups if name in self.groups)
        return {member for group in known for member in group.members}

    def groups_by_operator(self) -> dict[str, list[str]]:
        """Return the sorted groups of each operator."""
        return {
            name: sorted(group.id for group in self.groups.values() if name in group.members)
            for name in self.profiles
        }


def latest_rules(workspaces: Workspaces) -> RoutingRules:
    """Return the rules of the newest version; raise `NotReady` before there is one."""
    if not workspaces.latest:
        raise NotReady("no workspace has been applied yet")
    return load_rules(workspaces, workspaces.latest)


@lru_cache(maxsize=8)
def load_rules(workspaces: Workspaces, version: int) -> RoutingRules:
    """Return the rules of a version; raise `NotReady` when this replica does not have it."""
    document = workspaces.version(version)
    profiles = {
        name: OperatorProfile(
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
            frozenset(profiles.keys() & declared.operators),
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
    return RoutingRules(
        version, profiles, groups, topics, dict(document.priorities), document.defaults.topic
    )
