"""What routing does when it hears of a request, and when time passes."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from chassis.errors import Refused
from chassis.messaging.reader import Reader
from chassis.messaging.transaction import Tx
from routing import store
from routing.allocation import LOOKS, Desk, inspect
from routing.configuration import Plan
from routing.domain.matching import Request, Status
from routing.domain.queue_changes import Book
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

HEARD: frozenset[type[Fact]] = frozenset(
    {Opened, TopicChanged, PriorityChanged, TransferRequested, Escalated, Merged, Closed}
)


class Routing:
    """Hears what happens to requests, and notices what time brings."""

    def __init__(self, plans: Callable[[int], Plan], clock: Callable[[], datetime]) -> None:
        self._plans = plans
        self._clock = clock
        self._looked_at = clock()

    async def hear(self, tx: Tx, facts: Sequence[RequestFact]) -> None:
        """Fold a batch into the queue, and give out what can be given out after it."""
        desk = await Desk.take(tx, self._plans, self._clock)
        book = await desk.open(fact.request_id for fact in facts)
        for fact in facts:
            fold(book, desk.plan, fact)
        await desk.close(book, {fact.request_id: fact for fact in facts})

    async def notice(self, tx: Tx, _: datetime) -> None:
        """End leases that ran out, follow a new workspace, and now and then look for mistakes."""
        if not tx.workspace:
            return
        now = self._clock()
        lapsed = await store.lapsed(tx, now)
        looks = now - self._looked_at >= LOOKS
        if not lapsed and not looks and await store.deciding_by(tx) >= tx.workspace:
            return
        desk = await Desk.take(tx, self._plans, self._clock)
        for operator, _status in await store.lapsed(tx, now):
            await desk.appear(operator, Status.OFFLINE, "lease")
        if lapsed or desk.everywhere:
            await desk.close(await desk.open())
        if looks and (found := await inspect(desk)):
            log.error("the detector found %s anomalies; see GET /v1/audit", found)
        self._looked_at = now if looks else self._looked_at


def fold(book: Book, plan: Plan, fact: RequestFact) -> None:
    """Change the book by one fact."""
    id_ = fact.request_id
    if not isinstance(fact, Opened | Closed | Merged) and id_ not in book.now:
        raise Refused(f"request {id_} has not been opened here")
    match fact:
        case Opened():
            book.join(opened(plan, fact))
        case Closed() | Merged():
            book.leave(id_, fact.time)
        case TopicChanged():
            book.retopic(id_, fact.to, plan.group_of(fact.to))
        case PriorityChanged():
            book.reweigh(id_, plan.weights.get(fact.to, 0))
        case TransferRequested():
            _hand_on(book, plan, id_, "transferred", fact.group, fact.operator)
        case Escalated():
            _hand_on(book, plan, id_, "escalated", fact.group, fact.operator)


def opened(plan: Plan, fact: Opened) -> Request:
    """Give a new request its place: the topic's group, the priority's weight, its own age."""
    return Request(
        id=fact.request_id,
        group=plan.group_of(fact.topic),
        topic=fact.topic,
        channel=fact.channel,
        weight=plan.weights.get(fact.priority, 0),
        created_at=fact.time,
        trace=fact.traceparent,
    )


def _hand_on(
    book: Book, plan: Plan, id_: UUID, reason: str, group: str | None, to: str | None
) -> None:
    known = group if group in plan.groups else None
    book.hand_on(id_, reason, known, to, home=plan.home)


def readers(plans: Callable[[int], Plan], clock: Callable[[], datetime]) -> list[Reader]:
    """What routing hears."""
    routing = Routing(plans, clock)
    return [Reader("TICKETS", routing.hear, hears=HEARD, tick=routing.notice)]
