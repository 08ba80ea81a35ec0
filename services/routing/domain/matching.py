"""The matcher: assign waiting requests to operators in the order of the queue."""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from routing.domain.decisions import Decision, candidate_snapshot
from routing.domain.eligibility import Ineligibility, eligibility
from routing.domain.methods import METHODS, Score
from routing.domain.model import NEVER, CandidateKey, Group, Operator, Request, queue_order

MAX_STORED_CANDIDATES = 5
"""Candidates a decision stores with their figures; the others are only counted."""

_PROBE_ID = UUID(int=0)


class CandidateHeap:
    """The operators eligible for the requests of one candidate key, best first.

    Assignments only make scores worse. So an outdated entry is never too far back in the heap, and
    it is enough to correct it when it reaches the top.
    """

    def __init__(self, request: Request, group: Group, operators: Mapping[str, Operator]) -> None:
        self.request = request
        self.group = group
        self.score = METHODS[group.method]
        self.eligible: dict[str, Operator] = {}
        self.excluded: Counter[Ineligibility] = Counter()
        self.heap: list[tuple[Score, str]] = []
        self.checked = 0
        for name in group.members:
            if (op := operators.get(name)) is None:
                continue
            if reason := eligibility(op, request, group):
                self.excluded[reason] += 1
            else:
                self.eligible[name] = op
                self.heap.append((self.score(op), name))
        heapq.heapify(self.heap)

    def remove_full(self, full: list[Operator]) -> None:
        """Remove operators who became full since the last call; `full` only grows."""
        for op in full[self.checked :]:
            reason = eligibility(op, self.request, self.group) if op.id in self.eligible else None
            if reason:
                del self.eligible[op.id]
                self.excluded[reason] += 1
        self.checked = len(full)

    def best(self) -> Operator | None:
        """Return the operator with the lowest score, or None when nobody is eligible."""
        while self.heap:
            score, name = self.heap[0]
            if (op := self.eligible.get(name)) is None:
                heapq.heappop(self.heap)
            elif (current := self.score(op)) != score:
                heapq.heapreplace(self.heap, (current, name))
            else:
                return op
        return None

    def top_candidates(self) -> tuple[dict[str, Any], ...]:
        """Return the figures of the best candidates, which a heap keeps near its front."""
        front = self.heap[: 2 * MAX_STORED_CANDIDATES]
        ops = {name: self.eligible[name] for _, name in front if name in self.eligible}
        best = sorted(ops.values(), key=self.score)[:MAX_STORED_CANDIDATES]
        return tuple(candidate_snapshot(op) for op in best)

    def decide(self, request: Request, op: Operator | None) -> Decision:
        """Return the decision with the candidates as they stand before the assignment."""
        name = None if op is None else op.id
        excluded = {str(reason): n for reason, n in self.excluded.items()}
        return Decision(
            request, name, self.group.method, self.top_candidates(), len(self.eligible), excluded
        )


class MatchRound:
    """One run of the matcher: the waiting requests by candidate key, and who became full."""

    def __init__(
        self,
        queue: Iterable[Request],
        groups: Mapping[str, Group],
        operators: Mapping[str, Operator],
    ) -> None:
        self._groups = groups
        self._operators = operators
        self._limited = {channel for op in operators.values() for channel in op.profile.channels}
        self._candidates: dict[CandidateKey, CandidateHeap] = {}
        self._full: list[Operator] = []
        self._waiting: dict[CandidateKey, list[Request]] = {}
        for request in queue:
            if (group := groups.get(request.group)) and group.automatic:
                self._waiting.setdefault(request.candidate_key, []).append(request)
        for waiting in self._waiting.values():
            waiting.sort(key=queue_order, reverse=True)
        self._heads = [(queue_order(w[-1]), w.pop()) for w in self._waiting.values()]
        heapq.heapify(self._heads)

    def next(self) -> tuple[Request, CandidateHeap, Operator] | None:
        """Return the first request that has an eligible operator, with that operator.

        A candidate key without an eligible operator is dropped from the round.
        """
        while self._heads:
            request = self._heads[0][1]
            candidates = self._candidates_for(request)
            op, waiting = candidates.best(), self._waiting[request.candidate_key]
            if op is None or not waiting:
                heapq.heappop(self._heads)
            else:
                heapq.heapreplace(self._heads, (queue_order(waiting[-1]), waiting.pop()))
            if op is not None:
                return request, candidates, op
        return None

    def assign(self, op: Operator, channel: str, at: datetime) -> None:
        """Add a request to the operator's load, and note when they become full."""
        op.assign(channel, at)
        limit = op.profile.channels.get(channel)
        if op.load >= op.profile.limit or limit == op.channel_load[channel]:
            self._full.append(op)

    def _candidates_for(self, request: Request) -> CandidateHeap:
        group, topic, channel, avoid = request.candidate_key
        # Channels that no operator limits share one heap: their candidates are the same.
        key = (group, topic, channel if channel in self._limited else "", avoid)
        candidates = self._candidates.get(key)
        if candidates is None:
            candidates = CandidateHeap(request, self._groups[group], self._operators)
            candidates.checked = len(self._full)
            self._candidates[key] = candidates
        candidates.remove_full(self._full)
        return candidates


def match(
    queue: Iterable[Request],
    groups: Mapping[str, Group],
    operators: Mapping[str, Operator],
    at: datetime,
) -> list[Decision]:
    """Assign what can be assigned, in the queue's order, and add it to the operators' loads.

    A request without an eligible operator holds back only requests with the same candidates.
    """
    matching = MatchRound(queue, groups, operators)
    decisions: list[Decision] = []
    while found := matching.next():
        request, candidates, op = found
        decisions.append(candidates.decide(request, op))
        # A microsecond apart, so that the order of assignments is kept.
        matching.assign(op, request.channel, at + timedelta(microseconds=len(decisions)))
    return decisions


def free_capacity(
    keys: Iterable[CandidateKey], groups: Mapping[str, Group], operators: Mapping[str, Operator]
) -> dict[CandidateKey, int]:
    """Count how many more requests the candidates of each key may have; full keys are left out."""
    capacity: dict[CandidateKey, int] = {}
    for key in keys:
        name, topic, channel, avoid = key
        if (group := groups.get(name)) is None or not group.automatic:
            continue
        probe = Request(_PROBE_ID, name, topic, channel, 0, NEVER, avoid=avoid)
        eligible = CandidateHeap(probe, group, operators).eligible.values()
        if free := sum(op.profile.limit - op.load for op in eligible):
            capacity[key] = free
    return capacity


def wait_decisions(
    requests: Iterable[Request], groups: Mapping[str, Group], operators: Mapping[str, Operator]
) -> list[Decision]:
    """Return a decision without an operator, with the reasons, for each request that waits."""
    heaps: dict[CandidateKey, CandidateHeap] = {}
    decisions = []
    for request in requests:
        if (candidates := heaps.get(request.candidate_key)) is None:
            group = groups.get(request.group) or Group(request.group, frozenset())
            candidates = CandidateHeap(request, group, operators)
            heaps[request.candidate_key] = candidates
        decisions.append(candidates.decide(request, None))
    return decisions
