"""The state of a request that decides who is notified about it."""

from dataclasses import dataclass, field
from uuid import UUID

from trunkline_contracts import (
    AssigneeChanged,
    Closed,
    Fact,
    Merged,
    Opened,
    Queued,
    TopicChanged,
    WatcherAdded,
    WatcherRemoved,
)

REQUEST_FACTS: frozenset[type[Fact]] = frozenset(
    {Opened, Queued, AssigneeChanged, WatcherAdded, WatcherRemoved}
)
"""Facts that change the state of a request, whether or not anyone is notified of them."""


@dataclass(slots=True)
class Request:
    """A request with its assignee, watchers and skill group."""

    id: UUID
    type: str
    topic: str
    sequence: int = 0
    assignee: str | None = None
    watchers: list[str] = field(default_factory=list)
    closed: bool = False
    team: str | None = None
    """The skill group in whose queue it last waited; None while that is the topic's group."""

    def apply(self, fact: Fact) -> None:
        """Apply a fact of the request to its state."""
        self.sequence = fact.sequence
        match fact:
            case AssigneeChanged():
                self.assignee, self.team = fact.to, fact.group or self.team
            case Queued():
                self.team = fact.group
            case WatcherAdded() if fact.watcher not in self.watchers:
                self.watchers.append(fact.watcher)
            case WatcherRemoved() if fact.watcher in self.watchers:
                self.watchers.remove(fact.watcher)
            case TopicChanged():
                self.topic = fact.to
            case Closed() | Merged():
                self.closed = True
            case _:
                pass


def new_request(fact: Opened) -> Request:
    """Return the state of a request that was just opened."""
    return Request(fact.request_id, fact.request_type, fact.topic, fact.sequence)
