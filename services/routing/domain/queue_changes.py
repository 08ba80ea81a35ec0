"""Changes of the queue: the requests of one transaction, as loaded and as they will be saved."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from uuid import UUID

from routing.domain.decisions import Decision
from routing.domain.model import Operator, Request


@dataclass(frozen=True, slots=True)
class Assignment:
    """A request with its operator, the time it was assigned, and the mode (auto, claim, …)."""

    request: Request
    operator: str
    since: datetime
    mode: str


class Ended(Enum):
    """The state of a request that was closed or merged; it is final."""

    ENDED = "ended"


ENDED = Ended.ENDED

RequestState = Request | Assignment | Ended
"""Waiting, assigned, or ended. A request that was never opened has no state."""


@dataclass(frozen=True, slots=True)
class Released:
    """An assignment that was taken from its operator.

    The request ended at `closed_at`, or it returned to the queue for a `reason`.
    """

    assignment: Assignment
    closed_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Assigned:
    """A decision that gave an operator a request; `by` is the person who claimed it."""

    decision: Decision
    operator: str
    mode: str
    by: str | None = None


@dataclass
class QueueChanges:
    """The touched requests before and after, and what happened between, for store and facts."""

    before: dict[UUID, RequestState]
    after: dict[UUID, RequestState] = field(init=False)
    queued: dict[UUID, str] = field(default_factory=dict)
    """Requests that entered the queue, with the reason."""
    recipients: dict[UUID, str] = field(default_factory=dict)
    """The operators that transfers ask for."""
    released: list[Released] = field(default_factory=list)
    assigned: list[Assigned] = field(default_factory=list)
    waits: list[Decision] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start from the loaded states."""
        self.after = dict(self.before)

    def add_waiting(self, requests: Iterable[Request]) -> None:
        """Add waiting requests that were loaded later; requests already here stay as they are."""
        for request in requests:
            if request.id not in self.after:
                self.before[request.id] = self.after[request.id] = request

    def enqueue(self, request: Request) -> None:
        """Queue a new request; one that is known is left alone, so an ended one stays ended."""
        if request.id not in self.after:
            self.after[request.id] = request
            self.queued[request.id] = "opened"

    def remove(self, request_id: UUID, at: datetime) -> None:
        """End a request, also one whose opening has not arrived yet."""
        state = self.after.get(request_id)
        if isinstance(state, Assignment):
            self.released.append(Released(state, closed_at=at))
        self.after[request_id] = ENDED
        self.queued.pop(request_id, None)
        self.recipients.pop(request_id, None)

    def change_topic(self, request_id: UUID, topic: str, group: str) -> None:
        """Set topic and group; a waiting request moves, an assigned one keeps its operator."""
        if self._replace(request_id, lambda r: replace(r, topic=topic, group=group)):
            self.queued.setdefault(request_id, "topic_changed")

    def change_priority(self, request_id: UUID, weight: int) -> None:
        """Set the weight, which is the request's place in the queue."""
        self._replace(request_id, lambda r: replace(r, weight=weight))

    def requeue(
        self,
        request_id: UUID,
        reason: str,
        group: str | None = None,
        recipient: str | None = None,
        *,
        active_group: Callable[[str, str], str] = lambda group, _: group,
    ) -> None:
        """Return a request to the queue with its age, for another group or a `recipient`.

        `active_group` maps a group and a topic to the group that serves them, in case the first
        has been retired.
        """
        state = self.after.get(request_id)
        request = state.request if isinstance(state, Assignment) else state
        if not isinstance(request, Request):
            return
        if isinstance(state, Assignment):
            self.released.append(Released(state, reason=reason))
            request = replace(request, avoid=state.operator)
        new_group = active_group(group or request.group, request.topic)
        self.after[request_id] = replace(request, group=new_group)
        self.queued[request_id] = reason
        if recipient is not None:
            self.recipients[request_id] = recipient

    def assign(
        self, decision: Decision, operator: str, mode: str, at: datetime, by: str | None = None
    ) -> Assignment:
        """Assign the decision's request to an operator, and count its epoch."""
        request = replace(decision.request, epoch=decision.epoch, avoid=None)
        self.after[request.id] = assignment = Assignment(request, operator, at, mode)
        self.assigned.append(Assigned(decision, operator, mode, by))
        return assignment

    def waiting(self) -> list[Request]:
        """Return the touched requests that wait."""
        return [state for state in self.after.values() if isinstance(state, Request)]

    def newly_waiting(self) -> list[Request]:
        """Return the requests that entered the queue and were not assigned."""
        return [r for r in self.waiting() if r.id in self.queued]

    def update_loads(self, operators: Mapping[str, Operator]) -> None:
        """Apply the releases and assignments so far to the loads of these operators."""
        for released in self.released:
            if (op := operators.get(released.assignment.operator)) is not None:
                op.release(released.assignment.request.channel, released.closed_at)
        for assigned in self.assigned:
            request = assigned.decision.request
            state = self.after[request.id]
            if isinstance(state, Assignment) and (op := operators.get(assigned.operator)):
                op.assign(request.channel, state.since)

    def _replace(self, request_id: UUID, change: Callable[[Request], Request]) -> bool:
        """Change a request in whatever state it is; return True if it waits."""
        state = self.after.get(request_id)
        if isinstance(state, Assignment):
            self.after[request_id] = replace(state, request=change(state.request))
        elif isinstance(state, Request):
            self.after[request_id] = change(state)
        return isinstance(state, Request)
