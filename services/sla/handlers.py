"""Facts in: the facts of a request move its clocks; a timer warns and breaches in time."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from chassis.messaging.reader import BACKGROUND_INTERVAL_S, Reader
from chassis.messaging.transaction import Tx
from chassis.observability.metrics import histogram
from sla import store
from sla.configuration import policy_of
from sla.domain.clocks import CLOCK_FACTS, Policy, Request, RequestClocks, choose_policy
from trunkline_contracts import Fact, Opened, RequestFact, TargetBreached

MAX_REQUESTS_PER_TICK = 2000
"""Requests that one round of the timer loads; there are four rounds a second."""

breach_lateness = histogram(
    "deadline_noticed_seconds", "From a deadline until its breach was noticed"
)

Policies = Callable[[int], Sequence[Policy]]
"""Returns the policies of a workspace version."""


async def apply_facts(policies: Policies, tx: Tx, facts: Sequence[RequestFact]) -> None:
    """Apply a batch of facts; those of a request whose opening was skipped have no effect."""
    batch = await store.load(tx, (fact.request_id for fact in facts))
    for fact in facts:
        if isinstance(fact, Opened) and fact.request_id not in batch.requests:
            batch.requests[fact.request_id] = _new_request(policies, tx, fact)
        if (request := batch.requests.get(fact.request_id)) is not None:
            clocks = RequestClocks(request, _policy(policies, request), tx.now)
            clocks.apply(fact)
            tx.record(*clocks.facts, cause=fact)
    await store.save(tx, batch)


def _new_request(policies: Policies, tx: Tx, opened: Opened) -> Request:
    version = opened.workspace or tx.workspace
    policy = choose_policy(policies(version), opened)
    return Request(opened.request_id, policy.name, version, trace=opened.traceparent)


async def tick(policies: Policies, tx: Tx, certain: datetime) -> None:
    """Warn and breach what is due; every fact published until `certain` has been applied."""
    due = await store.find_due(tx, certain, MAX_REQUESTS_PER_TICK)
    if not due:
        return
    batch = await store.load(tx, due)
    for request in batch.requests.values():
        clocks = RequestClocks(request, _policy(policies, request), tx.now)
        clocks.tick(certain)
        trace = {"traceparent": request.trace}
        tx.record(*(fact.model_copy(update=trace) for fact in clocks.facts))
        _observe_lateness(clocks.facts)
    await store.save(tx, batch)


def _observe_lateness(facts: Sequence[Fact]) -> None:
    for fact in facts:
        if isinstance(fact, TargetBreached):
            lateness = (fact.noticed_at - fact.due_at).total_seconds()
            breach_lateness.labels("sla").observe(lateness)


def _policy(policies: Policies, request: Request) -> Policy:
    return policy_of(policies(request.workspace), request.policy)


async def keep_position(_: Tx, __: Sequence[Fact]) -> None:
    """Move only the position: no clock depends on presence yet, and none may miss it later."""


def readers(policies: Policies) -> list[Reader]:
    """Return the readers of TICKETS and ROUTING."""
    return [
        Reader(
            "TICKETS",
            partial(apply_facts, policies),
            consumes=CLOCK_FACTS,
            tick=partial(tick, policies),
            batch_interval=BACKGROUND_INTERVAL_S,
        ),
        Reader("ROUTING", keep_position, consumes=frozenset()),
    ]
