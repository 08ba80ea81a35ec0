"""What sla does: folds what it hears into clocks, and notices what time brings."""

from collections.abc import Callable, Sequence
from datetime import datetime

from chassis.messaging.reader import UNHURRIED, Reader
from chassis.messaging.transaction import Tx
from chassis.observability.metrics import histogram
from sla import store
from sla.configuration import policy_of
from sla.domain.clocks import HEARD, Fold, Policy, Request, choose
from trunkline_contracts import Fact, Opened, RequestFact, TargetBreached

AT_ONCE = 2000
"""How many requests one round of the timer takes; it comes round four times a second."""

lateness = histogram("deadline_noticed_seconds", "From a deadline until its breach was noticed")

Policies = Callable[[int], Sequence[Policy]]
"""Gives the policies of a workspace version."""


class Clocks:
    """The clocks of every request, kept by facts and by time."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    async def hear(self, tx: Tx, facts: Sequence[RequestFact]) -> None:
        """Fold a batch. Facts of a request whose opening was skipped by hand are passed by."""
        desk = await store.load(tx, (fact.request_id for fact in facts))
        for fact in facts:
            if isinstance(fact, Opened) and fact.request_id not in desk.requests:
                version = fact.workspace or tx.workspace
                policy = choose(self._policies(version), fact)
                desk.requests[fact.request_id] = Request(
                    fact.request_id, policy.name, version, trace=fact.traceparent
                )
            if (request := desk.requests.get(fact.request_id)) is not None:
                fold = Fold(request, self._policy(request), tx.now)
                fold.hear(fact)
                tx.say(*fold.said, cause=fact)
        await store.save(tx, desk)

    async def notice(self, tx: Tx, certain: datetime) -> None:
        """Warn of and breach what is due: everything published until `certain` is known."""
        due = await store.waking(tx, certain, AT_ONCE)
        if not due:
            return
        desk = await store.load(tx, due)
        for request in desk.requests.values():
            fold = Fold(request, self._policy(request), tx.now)
            fold.notice(certain)
            traced = {"traceparent": request.trace}
            tx.say(*(fact.model_copy(update=traced) for fact in fold.said))
            for fact in fold.said:
                if isinstance(fact, TargetBreached):
                    late = (fact.noticed_at - fact.due_at).total_seconds()
                    lateness.labels("sla").observe(late)
        await store.save(tx, desk)

    def _policy(self, request: Request) -> Policy:
        return policy_of(self._policies(request.workspace), request.policy)


async def pass_by(_: Tx, __: Sequence[Fact]) -> None:
    """Presence does not move a clock yet: only the position is kept, so nothing is missed later."""


def readers(policies: Policies) -> list[Reader]:
    """What sla hears."""
    clocks = Clocks(policies)
    return [
        Reader("TICKETS", clocks.hear, hears=HEARD, tick=clocks.notice, pace=UNHURRIED),
        Reader("ROUTING", pass_by, hears=frozenset()),
    ]
