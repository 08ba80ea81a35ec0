"""The requests one transaction touches: how they were found, how it leaves them.

Pure, like the domain. Long, as it has every change of a request's place.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from uuid import UUID

from routing.domain.matching import Decision, Operator, Request


@dataclass(frozen=True, slots=True)
class Held:
    """A request in an operator's hands, since when, and how it came there."""

    request: Request
    operator: str
    since: datetime
    mode: str


class Gone(Enum):
    """A request that has ended; nothing opens it again."""

    GONE = "gone"


GONE = Gone.GONE

State = Request | Held | Gone
"""Waiting, held, or gone. A request not heard of yet has no state."""


@dataclass(frozen=True, slots=True)
class Release:
    """An operator has one request less: it ended at `closed_at`, or goes on for a `reason`."""

    held: Held
    closed_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """An operator has one request more."""

    decision: Decision
    operator: str
    mode: str
    by: str | None = None


@dataclass
class Book:
    """What is decided is written here first; the store saves the difference, the desk tells it."""

    before: dict[UUID, State]
    now: dict[UUID, State] = field(init=False)
    joined: dict[UUID, str] = field(default_factory=dict)
    wanted: dict[UUID, str] = field(default_factory=dict)
    released: list[Release] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    waits: list[Decision] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with things as they were found."""
        self.now = dict(self.before)

    def find(self, waiting: Iterable[Request]) -> None:
        """Take in more of those who wait; what is known already is known better."""
        for request in waiting:
            if request.id not in self.now:
                self.before[request.id] = self.now[request.id] = request

    def join(self, request: Request) -> None:
        """Queue a new request, unless it is known: what has ended stays ended."""
        if request.id not in self.now:
            self.now[request.id] = request
            self.joined[request.id] = "opened"

    def leave(self, request_id: UUID, at: datetime) -> None:
        """End a request wherever it is, also one that has not been heard of."""
        state = self.now.get(request_id)
        if isinstance(state, Held):
            self.released.append(Release(state, closed_at=at))
        self.now[request_id] = GONE
        self.joined.pop(request_id, None)
        self.wanted.pop(request_id, None)

    def retopic(self, request_id: UUID, topic: str, group: str) -> None:
        """Move a waiting request to another topic's group; who already has it, keeps it."""
        if self._replace(request_id, lambda r: replace(r, topic=topic, group=group)):
            self.joined.setdefault(request_id, "topic_changed")

    def reweigh(self, request_id: UUID, weight: int) -> None:
        """Let a request stand further ahead, or further back."""
        self._replace(request_id, lambda r: replace(r, weight=weight))

    def hand_on(
        self,
        request_id: UUID,
        reason: str,
        group: str | None = None,
        to: str | None = None,
        *,
        home: Callable[[str, str], str] = lambda group, _: group,
    ) -> None:
        """Take a request back and queue it with its age, for somebody else, or a group.

        `home` says where one of a group and a topic waits, should the group have retired.
        """
        state = self.now.get(request_id)
        request = state.request if isinstance(state, Held) else state
        if not isinstance(request, Request):
            return
        if isinstance(state, Held):
            self.released.append(Release(state, reason=reason))
            request = replace(request, avoid=state.operator)
        place = home(group or request.group, request.topic)
        self.now[request_id] = replace(request, group=place)
        self.joined[request_id] = reason
        if to is not None:
            self.wanted[request_id] = to

    def take(
        self, decision: Decision, operator: str, mode: str, at: datetime, by: str | None = None
    ) -> Held:
        """Put a waiting request into an operator's hands; the epoch says which time it is."""
        request = replace(decision.request, epoch=decision.epoch, avoid=None)
        self.now[request.id] = held = Held(request, operator, at, mode)
        self.taken.append(Taken(decision, operator, mode, by))
        return held

    def waiting(self) -> list[Request]:
        """Give those of the touched requests that wait."""
        return [state for state in self.now.values() if isinstance(state, Request)]

    def left_waiting(self) -> list[Request]:
        """Give those that joined the queue and found nobody."""
        return [r for r in self.waiting() if r.id in self.joined]

    def settle(self, operators: Mapping[str, Operator]) -> None:
        """Give operators the room back that was released, and take what was claimed already."""
        for release in self.released:
            if (op := operators.get(release.held.operator)) is not None:
                op.release(release.held.request.channel, release.closed_at)
        for taken in self.taken:
            request = taken.decision.request
            held = self.now[request.id]
            if isinstance(held, Held) and (op := operators.get(taken.operator)) is not None:
                op.take(request.channel, held.since)

    def _replace(self, request_id: UUID, change: Callable[[Request], Request]) -> bool:
        """Change a request wherever it is; tells whether it waits."""
        state = self.now.get(request_id)
        if isinstance(state, Held):
            self.now[request_id] = replace(state, request=change(state.request))
        elif isinstance(state, Request):
            self.now[request_id] = change(state)
        return isinstance(state, Request)
