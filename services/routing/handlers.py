"""Handlers: facts of requests change the queue; time ends leases and starts audits."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from chassis.errors import Refused
from chassis.messaging.reader import Reader
from chassis.messaging.transaction import Tx
from routing import store
from routing.allocation import Allocation
from routing.audit import AUDIT_INTERVAL, audit
from routing.configuration import RoutingRules
from routing.domain.model import Request
from routing.domain.queue_changes import QueueChanges
from trunkline_contracts import (
    Closed,
    Escalated,
    Fact,
    Merged,
    Opened,
    PriorityChanged,
    RequestFact,
    TopicChanged,
    TransferRequested,
)

log = logging.getLogger(__name__)

CONSUMED_FACTS: frozenset[type[Fact]] = frozenset(
    {Opened, TopicChanged, PriorityChanged, TransferRequested, Escalated, Merged, Closed}
)


class Routing:
    """Routing of one replica: it applies facts, and remembers when it last ran the audit."""

    def __init__(
        self, rules_of: Callable[[int], RoutingRules], clock: Callable[[], datetime]
    ) -> None:
        """Decide by `rules_of` a workspace version."""
        self._rules_of = rules_of
        self._clock = clock
        self._audited_at = clock()

    async def apply(self, tx: Tx, facts: Sequence[RequestFact]) -> None:
        """Apply a batch of facts to the queue, then assign what can be assigned."""
        allocation = await Allocation.begin(tx, self._rules_of, self._clock)
        changes = await allocation.load(fact.request_id for fact in facts)
        for fact in facts:
            apply_fact(changes, allocation.rules, fact)
        await allocation.allocate_and_save(changes, {fact.request_id: fact for fact in facts})

    async def tick(self, tx: Tx, _: datetime) -> None:
        """End expired leases, follow a new workspace, and run the audit when it is due."""
        if not tx.workspace:
            return
        now = self._clock()
        is_audit_due = now - self._audited_at >= AUDIT_INTERVAL
        expired = await store.expired_leases(tx, now)
        is_idle = not expired and not is_audit_due
        if is_idle and await store.applied_workspace(tx) >= tx.workspace:
            return
        allocation = await Allocation.begin(tx, self._rules_of, self._clock)
        await allocation.end_expired_leases(now)
        if expired or allocation.all_groups:
            await allocation.allocate_and_save(await allocation.load())
        if is_audit_due:
            if found := await audit(allocation):
                log.error("the audit found %s anomalies; see GET /v1/audit", found)
            self._audited_at = now


def apply_fact(changes: QueueChanges, rules: RoutingRules, fact: RequestFact) -> None:
    """Apply one fact; raise `Refused` when its request has not been opened here."""
    request_id = fact.request_id
    if not isinstance(fact, Opened | Closed | Merged) and request_id not in changes.after:
        raise Refused(f"request {request_id} has not been opened here")
    match fact:
        case Opened():
            changes.enqueue(new_request(rules, fact))
        case Closed() | Merged():
            changes.remove(request_id, fact.time)
        case TopicChanged():
            changes.change_topic(request_id, fact.to, rules.group_of(fact.to))
        case PriorityChanged():
            changes.change_priority(request_id, rules.weights.get(fact.to, 0))
        case TransferRequested():
            _requeue(changes, rules, request_id, "transferred", fact.group, fact.operator)
        case Escalated():
            _requeue(changes, rules, request_id, "escalated", fact.group, fact.operator)


def new_request(rules: RoutingRules, fact: Opened) -> Request:
    """Return a new request with its topic's group, its priority's weight, and its age."""
    return Request(
        id=fact.request_id,
        group=rules.group_of(fact.topic),
        topic=fact.topic,
        channel=fact.channel,
        weight=rules.weights.get(fact.priority, 0),
        created_at=fact.time,
        trace=fact.traceparent,
    )


def _requeue(
    changes: QueueChanges,
    rules: RoutingRules,
    request_id: UUID,
    reason: str,
    group: str | None,
    recipient: str | None,
) -> None:
    known_group = group if group in rules.groups else None
    changes.requeue(request_id, reason, known_group, recipient, active_group=rules.active_group)


def readers(rules_of: Callable[[int], RoutingRules], clock: Callable[[], datetime]) -> list[Reader]:
    """Return the reader of TICKETS."""
    routing = Routing(rules_of, clock)
    return [Reader("TICKETS", routing.apply, consumes=CONSUMED_FACTS, tick=routing.tick)]
