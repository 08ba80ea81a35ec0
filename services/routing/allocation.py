"""The deciding transaction: load the touched requests, change them, match, save, publish.

Every decision is taken under the service's lock. So there is one decision at a time, whatever the
number of replicas, and each sees the result of the one before (ADR 0006).
"""

import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from uuid import UUID

from prometheus_client import Counter

from chassis.errors import NotReady
from chassis.messaging.transaction import Tx
from routing import store
from routing.configuration import RoutingRules
from routing.domain.decisions import manual_decision
from routing.domain.eligibility import eligibility
from routing.domain.matching import free_capacity, match, wait_decisions
from routing.domain.model import CandidateKey, Operator, Request, Status, queue_order
from routing.domain.queue_changes import QueueChanges
from trunkline_contracts import (
    CapacityReached,
    Fact,
    OperatorPresenceChanged,
    RequestAssigned,
    RequestQueued,
    RequestUnassigned,
)

decided = Counter("trunkline_routing_decisions", "Requests assigned, by mode", ["mode"])


class Allocation:
    """One deciding transaction. Create it with `begin`, and use it once."""

    def __init__(self, tx: Tx, rules: RoutingRules, at: datetime, old: RoutingRules | None) -> None:
        """Decide by `rules` at the time `at`; `old` are the rules of the previous decision."""
        self.tx = tx
        self.rules = rules
        self.at = at
        self.started = time.perf_counter()
        self.came_online: set[str] = set()
        self.all_groups = old is not rules
        """Match in every group, not only in those that the changes affect."""
        self._regrouped = rules.regrouped_topics(old) if old else {}
        self._retired = old.groups.keys() - rules.groups.keys() if old else set()

    @classmethod
    async def begin(
        cls, tx: Tx, rules_of: Callable[[int], RoutingRules], clock: Callable[[], datetime]
    ) -> "Allocation":
        """Take the service's lock, and apply a new workspace's limits if that is still to do.

        Raises `NotReady` when decisions already follow a newer workspace than this replica has.
        """
        await tx.lock()
        version = await store.applied_workspace(tx)
        if version > tx.workspace:
            raise NotReady(f"decisions follow workspace {version}; this replica has {tx.workspace}")
        rules = rules_of(tx.workspace)
        if version == tx.workspace:
            return cls(tx, rules, clock(), rules)
        await store.apply_workspace(tx, rules.version, list(rules.profiles.values()))
        return cls(tx, rules, clock(), rules_of(version) if version else None)

    async def load(self, ids: Iterable[UUID] = ()) -> QueueChanges:
        """Load these requests, and move those whose group changed with the workspace."""
        regrouped: list[tuple[UUID, str]] = []
        if self._regrouped or self._retired:
            regrouped = await store.find_regrouped(self.tx, self._regrouped, self._retired)
        touched = [*ids, *(request_id for request_id, _ in regrouped)]
        changes = QueueChanges(await store.load_states(self.tx, touched))
        for request_id, topic in regrouped:
            changes.change_topic(request_id, topic, self.rules.group_of(topic))
        return changes

    async def set_presence(
        self, operator: str, status: Status, by: str, lease_until: datetime | None = None
    ) -> None:
        """Save an operator's presence and publish a change of it.

        An operator who comes online gets requests from `allocate_and_save`, also requests that
        they handed back before.
        """
        previous = await store.load_status(self.tx, operator)
        await store.save_presence(self.tx, operator, status, self.at, lease_until)
        if status is not previous:
            self.tx.record(
                OperatorPresenceChanged(
                    time=self.at, operator=operator, from_=previous.value, to=status.value, by=by
                )
            )
            if status is Status.ONLINE:
                self.came_online.add(operator)
                await store.clear_handback(self.tx, operator)

    async def end_expired_leases(self, now: datetime) -> None:
        """Set the operators offline whose presence lease has expired."""
        for operator in await store.expired_leases(self.tx, now):
            await self.set_presence(operator, Status.OFFLINE, "lease")

    async def allocate_and_save(
        self, changes: QueueChanges, causes: dict[UUID, Fact] | None = None
    ) -> None:
        """Assign what can be assigned now, save the changes, and publish them.

        `causes` are the facts, by request, that led to the changes.
        """
        groups = self._affected_groups(changes)
        waiting = await store.count_waiting(self.tx, groups) if groups else {}
        busy = {key[0] for key in waiting} | {r.group for r in changes.newly_waiting()}
        names = self.rules.members(busy) | set(changes.recipients.values())
        operators = await store.load_operators(self.tx, self.rules.profiles, names)
        changes.update_loads(operators)
        self._transfer(changes, operators)
        await self._match(changes, waiting, busy, operators)
        unassigned = changes.newly_waiting()
        changes.waits += wait_decisions(unassigned, self.rules.groups, operators)
        took_us = int((time.perf_counter() - self.started) * 1e6)
        await store.save(self.tx, changes, self.at, self.rules.version, took_us)
        positions = await self._positions(unassigned) if unassigned else {}
        self._publish_changes(changes, positions, causes or {})
        self._publish_full_groups(unassigned, waiting, operators)

    def _affected_groups(self, changes: QueueChanges) -> set[str]:
        """Return the groups in which a request can be assigned that could not be before."""
        if self.all_groups:
            return set(self.rules.groups)
        freed = {released.assignment.operator for released in changes.released}
        queued = {request.group for request in changes.newly_waiting()}
        return self.rules.groups_with(freed | self.came_online) | queued

    def _transfer(self, changes: QueueChanges, operators: dict[str, Operator]) -> None:
        """Assign transferred requests to their recipients, if eligible; else they stay queued."""
        for request_id, name in changes.recipients.items():
            request, op = changes.after[request_id], operators.get(name)
            if not isinstance(request, Request) or op is None:
                continue
            group = self.rules.groups.get(request.group)
            if group and eligibility(op, request, group, automatic=False) is None:
                decision = manual_decision(request, op, "transfer")
                changes.assign(decision, name, "transfer", self.at)
                op.assign(request.channel, self.at)

    async def _match(
        self,
        changes: QueueChanges,
        keys: Collection[CandidateKey],
        busy: set[str],
        operators: dict[str, Operator],
    ) -> None:
        """Load as many waiting requests as there is capacity for, and match them."""
        capacity = free_capacity(keys, self.rules.groups, operators)
        # Touched requests may stand at the head in PostgreSQL and wait no more: load as many extra.
        touched = sum(isinstance(state, Request) for state in changes.before.values())
        limits = {key: n + touched for key, n in capacity.items()}
        changes.add_waiting(await store.head_of_queue(self.tx, limits))
        queue = [request for request in changes.waiting() if request.group in busy]
        for decision in match(queue, self.rules.groups, operators, self.at):
            if decision.operator is not None:
                changes.assign(decision, decision.operator, "auto", self.at)

    async def _positions(self, requests: list[Request]) -> dict[UUID, int]:
        """Return the positions of new requests: behind all of higher weight, and older equals."""
        by_group: dict[str, dict[int, int]] = {}
        counts = await store.count_waiting(self.tx, {r.group for r in requests})
        for key, weights in counts.items():
            group = by_group.setdefault(key[0], {})
            for weight, n in weights.items():
                group[weight] = group.get(weight, 0) + n
        positions: dict[UUID, int] = {}
        behind: dict[tuple[str, int], int] = {}
        for request in sorted(requests, key=queue_order, reverse=True):
            rank = (request.group, request.weight)
            counted = by_group[request.group].items()
            not_lighter = sum(n for weight, n in counted if weight >= request.weight)
            positions[request.id] = not_lighter - behind.get(rank, 0)
            behind[rank] = behind.get(rank, 0) + 1
        return positions

    def _publish_changes(
        self, changes: QueueChanges, positions: dict[UUID, int], causes: dict[UUID, Fact]
    ) -> None:
        publish = self.tx.record
        for released in changes.released:
            assignment = released.assignment
            request = assignment.request
            if released.reason is not None:
                publish(
                    RequestUnassigned(
                        time=self.at, request_id=request.id, operator=assignment.operator,
                        reason=released.reason, epoch=request.epoch, traceparent=request.trace,
                    ),
                    cause=causes.get(request.id),
                )  # fmt: skip
        matched = {a.decision.request.id: a.decision.request for a in changes.assigned}
        for request_id, reason in changes.queued.items():
            state = changes.after[request_id]
            request = state if isinstance(state, Request) else matched[request_id]
            publish(
                RequestQueued(
                    time=self.at, request_id=request_id, group=request.group,
                    weight=request.weight, position=positions.get(request_id, 1), reason=reason,
                    traceparent=request.trace,
                ),
                cause=causes.get(request_id),
            )  # fmt: skip
        for assigned in changes.assigned:
            request = assigned.decision.request
            decided.labels(assigned.mode).inc()
            publish(
                RequestAssigned(
                    time=self.at, request_id=request.id, operator=assigned.operator,
                    group=request.group, epoch=assigned.decision.epoch, mode=assigned.mode,
                    decision=assigned.decision.id, traceparent=request.trace,
                ),
                cause=causes.get(request.id),
            )  # fmt: skip

    def _publish_full_groups(
        self,
        unassigned: list[Request],
        waiting_before: Collection[CandidateKey],
        operators: dict[str, Operator],
    ) -> None:
        """Publish `capacity_reached` of groups whose queue begins because all members are full."""
        had_queue = {key[0] for key in waiting_before}
        for name in sorted({request.group for request in unassigned} - had_queue):
            group = self.rules.groups.get(name)
            if group is None or not group.automatic:
                continue
            members = (op for member in group.members if (op := operators.get(member)))
            if not any(op.status is Status.ONLINE and op.load < op.profile.limit for op in members):
                self.tx.record(CapacityReached(time=self.at, group=name))
