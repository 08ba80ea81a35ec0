"""The clocks of one request: computed from its facts in the order of `sequence`, under one policy.

A clock counts the working seconds of its spans. Only facts decide whether it is breached: a span
ends after the deadline, or no fact until a certain instant ended it. The timer (`tick`) publishes a
breach as soon as it is certain. A fact that is applied later and disproves a breach restates it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from sla.domain.calendars import Calendar
from trunkline_contracts import (
    AssigneeChanged,
    Closed,
    Fact,
    Merged,
    MessageAdded,
    Opened,
    Paused,
    Queued,
    ReplySent,
    Restated,
    Resumed,
    StatusChanged,
    TargetBreached,
    TargetCancelled,
    TargetMet,
    TargetSet,
    TargetsRestated,
    TargetWarned,
)

CLOCK_FACTS: frozenset[type[Fact]] = frozenset(
    {
        Opened,
        ReplySent,
        MessageAdded,
        AssigneeChanged,
        Queued,
        StatusChanged,
        Paused,
        Resumed,
        Closed,
        Merged,
    }
)
"""The facts of a request that move its clocks."""

BREACH_GRACE = timedelta(seconds=0.5)
"""A breach is certain once every fact published until this long after its deadline is applied."""

RESTATED_REASON = "a fact heard later shows that the deadline was kept until then"
CANCELLED_REASON = "the request ended before"


State = Literal["running", "paused", "met", "breached", "cancelled"]


class Measure(StrEnum):
    """The measure of a clock: first and next response, resolution, time in status, acceptance."""

    FRT = "FRT"
    NRT = "NRT"
    TTR = "TTR"
    TIS = "TIS"
    ACCEPT = "ACCEPT"


@dataclass(frozen=True)
class Policy:
    """Targets in seconds, and the fractions of a target at which to warn.

    With `restart_nrt`, a further message of the customer restarts the clock of the next response.
    """

    name: str
    calendar: Calendar
    targets: dict[Measure, float]
    match: dict[str, frozenset[str]] = field(default_factory=dict)
    warn: tuple[float, ...] = ()
    restart_nrt: bool = False

    def matches(self, opened: Opened) -> bool:
        """Return whether the policy applies to an opened request."""
        return all(
            str(opened.request_type if name == "type" else getattr(opened, name, None)) in allowed
            for name, allowed in self.match.items()
        )


@dataclass(slots=True)
class Clock:
    """One target of a request, and the working seconds used of it.

    `since` is the start of the current span, None while the clock does not run.
    """

    measure: Measure
    target: float
    started_at: datetime
    since: datetime | None = None
    due_at: datetime | None = None
    spent: float = 0.0
    stopped_at: datetime | None = None
    breached: bool = False
    cancelled: bool = False
    warned: int = 0
    wake_at: datetime | None = None

    @property
    def state(self) -> State:
        """Return the state shown to people; a breach outlasts every other state."""
        if self.breached:
            return "breached"
        if self.cancelled:
            return "cancelled"
        if self.stopped_at is not None:
            return "met"
        return "paused" if self.since is None else "running"

    @property
    def is_final(self) -> bool:
        """Return whether the clock has stopped for good."""
        return self.cancelled or self.stopped_at is not None

    def elapsed(self, now: datetime, calendar: Calendar) -> float:
        """Return the working seconds used until `now`."""
        return self.spent + (calendar.elapsed(self.since, now) if self.since else 0.0)


@dataclass(slots=True)
class Request:
    """The state of a request that its clocks depend on."""

    id: UUID
    policy: str
    workspace: int
    sequence: int = 0
    answered: bool = False
    paused: bool = False
    assignee: str | None = None
    team: str | None = None
    trace: str | None = None
    """The trace of its opening, which the facts of the timer belong to."""
    clocks: dict[Measure, Clock] = field(default_factory=dict)


NO_POLICY = Policy("", Calendar("always"), {})
"""The policy of requests that no other policy applies to: no targets."""


def choose_policy(policies: Iterable[Policy], opened: Opened) -> Policy:
    """Return the first policy that applies to an opened request, or `NO_POLICY`."""
    return next((policy for policy in policies if policy.matches(opened)), NO_POLICY)


class RequestClocks:
    """Moves the clocks of one request; `facts` collects the facts to publish."""

    def __init__(self, request: Request, policy: Policy, now: datetime) -> None:
        self.request = request
        self.policy = policy
        self.calendar = policy.calendar
        self.now = now
        self.facts: list[Fact] = []
        self._disproved: list[Clock] = []

    def apply(self, fact: Fact) -> None:
        """Apply one fact; a repeated one has no effect."""
        if fact.sequence <= self.request.sequence:
            return
        self.request.sequence = fact.sequence
        position = len(self.facts)
        self._apply(fact, fact.time)
        self._restate(position)

    def _apply(self, fact: Fact, at: datetime) -> None:
        match fact:
            case Opened():
                self._start_clocks((Measure.FRT, Measure.TTR, Measure.ACCEPT, Measure.TIS), at)
            case ReplySent():
                self.request.answered = True
                self._stop_clocks((Measure.FRT, Measure.NRT), at)
            case MessageAdded():
                self._message(fact, at)
            case AssigneeChanged() | Queued():
                self._handover(fact, at)
            case StatusChanged():
                self._stop_clocks((Measure.TIS,), at)
                self._start_clocks((Measure.TIS,), at)
            case Paused() | Resumed():
                self._pause(at, paused=isinstance(fact, Paused))
            case _:
                self._end(fact, at)

    def _handover(self, fact: AssigneeChanged | Queued, at: datetime) -> None:
        """Record group and assignee; the first assignee stops the clock of acceptance."""
        self.request.team = fact.group or self.request.team
        if isinstance(fact, AssigneeChanged):
            self.request.assignee = fact.to
            if fact.to is not None:
                self._stop_clocks((Measure.ACCEPT,), at)

    def _end(self, fact: Fact, at: datetime) -> None:
        """Stop the clock of resolution when the request closes, and cancel the others."""
        if isinstance(fact, Closed):
            self._stop_clocks((Measure.TTR, Measure.TIS), at)
        if isinstance(fact, Closed | Merged):
            self._for_each_active(self._cancel, at)

    def tick(self, certain: datetime) -> None:
        """Warn and breach at `certain`; of several warnings passed, only the last is published."""
        for clock in self.request.clocks.values():
            if clock.wake_at is None or clock.wake_at > certain or clock.due_at is None:
                continue
            if clock.due_at + BREACH_GRACE <= certain:
                self._breach(clock, clock.due_at)
            else:
                self._warn(clock, clock.due_at, certain)
            self._schedule(clock)

    def _start_clocks(self, measures: Sequence[Measure], at: datetime) -> None:
        for measure in measures:
            if (target := self.policy.targets.get(measure)) is not None:
                clock = Clock(measure, target, at)
                self.request.clocks[measure] = clock
                self._start_span(clock, at)
                self._publish_target(clock)

    def _publish_target(self, clock: Clock) -> None:
        due = clock.due_at or self.calendar.due(clock.started_at, clock.target)
        self.facts.append(
            TargetSet(
                **self._identity(clock),
                target=clock.target,
                started_at=clock.started_at,
                due_at=due,
                policy=self.policy.name,
                calendar=self.calendar.name,
            )
        )

    def _message(self, added: MessageAdded, at: datetime) -> None:
        """Start NRT at a message after the first reply; a further message may restart it.

        Messages sent by machines start no clock: nobody waits for an answer (RFC 3834).
        """
        if not self.request.answered or added.message.automatic is not None:
            return
        clock = self.request.clocks.get(Measure.NRT)
        if clock is None or clock.is_final:
            self._start_clocks((Measure.NRT,), at)
        elif self.policy.restart_nrt:
            self._end_span(clock, at)  # decides whether the target was met until here
            if clock.breached:
                self._start_span(clock, at)
            else:
                self._start_clocks((Measure.NRT,), at)

    def _start_span(self, clock: Clock, at: datetime) -> None:
        if self.request.paused:
            return
        clock.since = max(at, clock.started_at)
        if not clock.breached:
            clock.due_at = self.calendar.due(clock.since, clock.target - clock.spent)
        self._schedule(clock)

    def _end_span(self, clock: Clock, at: datetime) -> None:
        """End the current span, and decide whether the deadline was met until its end."""
        if clock.since is None or clock.due_at is None:
            return
        clock.spent += self.calendar.elapsed(clock.since, at)
        clock.wake_at = None
        clock.since = None
        if at > clock.due_at:
            self._breach(clock, clock.due_at)
        elif clock.breached:
            clock.breached = False
            self._disproved.append(clock)

    def _stop_clocks(self, measures: Sequence[Measure], at: datetime) -> None:
        for measure in measures:
            clock = self.request.clocks.get(measure)
            if clock is None or clock.is_final:
                continue
            self._end_span(clock, at)
            clock.stopped_at = max(at, clock.started_at)
            if not clock.breached:
                due = clock.due_at or self.calendar.due(at, clock.target - clock.spent)
                self.facts.append(
                    TargetMet(**self._identity(clock), elapsed=clock.spent, due_at=due)
                )

    def _pause(self, at: datetime, *, paused: bool) -> None:
        if paused == self.request.paused:
            return
        self.request.paused = paused
        self._for_each_active(self._pause_clock if paused else self._resume_clock, at)

    def _resume_clock(self, clock: Clock, at: datetime) -> None:
        """Start a span after a pause, and publish the deadline, which has moved."""
        self._start_span(clock, at)
        if not clock.breached:
            self._publish_target(clock)

    def _pause_clock(self, clock: Clock, at: datetime) -> None:
        self._end_span(clock, at)
        if not clock.breached:
            clock.due_at = None

    def _cancel(self, clock: Clock, at: datetime) -> None:
        self._end_span(clock, at)
        clock.cancelled, clock.stopped_at = True, at
        if not clock.breached:
            self.facts.append(TargetCancelled(**self._identity(clock), reason=CANCELLED_REASON))

    def _for_each_active(self, action: Callable[[Clock, datetime], None], at: datetime) -> None:
        for clock in self.request.clocks.values():
            if not clock.is_final:
                action(clock, at)

    def _breach(self, clock: Clock, due_at: datetime) -> None:
        if clock.breached:
            return
        clock.breached, clock.warned = True, len(self.policy.warn)
        self.facts.append(
            TargetBreached(**self._identity(clock), due_at=due_at, noticed_at=self.now)
        )

    def _warn(self, clock: Clock, due_at: datetime, certain: datetime) -> None:
        passed = clock.warned
        while passed < len(self.policy.warn) and self._warning_due(clock, passed) <= certain:
            passed += 1
        if passed > clock.warned:
            clock.warned = passed
            fraction = self.policy.warn[passed - 1]
            self.facts.append(
                TargetWarned(**self._identity(clock), fraction=fraction, due_at=due_at)
            )

    def _warning_due(self, clock: Clock, number: int) -> datetime:
        used = clock.target * self.policy.warn[number] - clock.spent
        return self.calendar.due(clock.since or clock.started_at, used)

    def _schedule(self, clock: Clock) -> None:
        """Set the time of the next tick: the next warning, or the instant the breach is certain."""
        clock.wake_at = None
        if clock.since is None or clock.due_at is None or clock.breached:
            return
        warns = clock.warned < len(self.policy.warn)
        clock.wake_at = (
            self._warning_due(clock, clock.warned) if warns else clock.due_at + BREACH_GRACE
        )

    def _restate(self, position: int) -> None:
        """Publish corrected states of disproved breaches, before the facts from `position` on."""
        if self._disproved:
            targets = tuple(
                Restated(
                    clock=clock.measure.value,
                    state=clock.state,
                    started_at=clock.started_at,
                    due_at=clock.due_at,
                    stopped_at=clock.stopped_at,
                    elapsed=clock.spent,
                )
                for clock in self._disproved
            )
            restated = TargetsRestated(
                time=self.now, request_id=self.request.id, targets=targets, reason=RESTATED_REASON
            )
            self.facts.insert(position, restated)
            self._disproved.clear()

    def _identity(self, clock: Clock) -> dict[str, Any]:
        return {"time": self.now, "request_id": self.request.id, "clock": clock.measure.value}
