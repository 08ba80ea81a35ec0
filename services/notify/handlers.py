"""Handlers: facts become notifications, messages to customers and webhook deliveries."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from chassis.messaging.message import StreamMessage
from chassis.messaging.reader import BACKGROUND_INTERVAL_S, Reader, read_fact
from chassis.messaging.transaction import Tx
from notify import store
from notify.bell.publishing import publish
from notify.delivery import queue
from notify.delivery.replies import enqueue_replies
from notify.domain.notifications import Notification, notifications
from notify.domain.recipients import CONSUMED_FACTS, NO_GROUP, Group
from notify.domain.request import Request, new_request
from notify.email import acknowledgements, suppressions, threads
from notify.webhooks.planner import DeliveryPlanner
from trunkline_contracts import (
    BY_NAME,
    Fact,
    Opened,
    ReplySent,
    RequestFact,
    RequestOffered,
    TargetBreached,
    TargetWarned,
)

OTHER_CONSUMED_FACTS = (RequestOffered, TargetWarned, TargetBreached)
"""Facts of ROUTING and SLA that notify someone."""
CONSUMED_NAMES = frozenset(
    {fact.name() for fact in CONSUMED_FACTS} | {fact.name() for fact in OTHER_CONSUMED_FACTS}
)

GroupOf = Callable[[str | None, str], Group]
"""Returns a skill group by its name, or the group of the topic when the name is None."""

NotifyPending = Callable[[int], None]
"""Announces how many messages will be due once the transaction is committed."""


@dataclass(slots=True)
class AppliedBatch:
    """The new facts of a batch, with the changed requests and the notifications they cause."""

    facts: list[RequestFact] = field(default_factory=list)
    changed: dict[UUID, Request] = field(default_factory=dict)
    notifications: list[Notification] = field(default_factory=list)

    def replies(self) -> list[ReplySent]:
        """Return the replies of operators."""
        return [fact for fact in self.facts if isinstance(fact, ReplySent)]


def apply_facts(requests: dict[UUID, Request], facts: Iterable[RequestFact]) -> AppliedBatch:
    """Apply facts to the loaded requests; facts that were applied before are skipped."""
    batch = AppliedBatch()
    for fact in facts:
        request = requests.get(fact.request_id)
        if request is None and isinstance(fact, Opened):
            request = requests[fact.request_id] = new_request(fact)
        elif request is None or fact.sequence <= request.sequence:
            continue
        else:
            batch.notifications += notifications(fact, request)
            request.apply(fact)
        batch.changed[request.id] = request
        batch.facts.append(fact)
    return batch


class FactHandlers:
    """The handlers of a replica, with the rules of its workspace."""

    def __init__(
        self,
        notify_pending: NotifyPending,
        planner: DeliveryPlanner,
        group_of: GroupOf,
        text_of: acknowledgements.TextOf,
    ) -> None:
        """`text_of` returns the acknowledgement text of a mail account."""
        self._notify_pending = notify_pending
        self._planner = planner
        self._group_of = group_of
        self._text_of = text_of

    def parse(self, item: StreamMessage) -> Fact | None:
        """Parse a fact that a handler or a webhook needs; return None for any other."""
        is_needed = item.type in CONSUMED_NAMES or (
            item.type in BY_NAME and self._planner.may_be_wanted(item)
        )
        return read_fact(item) if is_needed else None

    async def on_ticket_facts(self, tx: Tx, facts: Sequence[Fact]) -> None:
        """Handle a batch of facts of requests; facts that were handled before have no effect."""
        consumed = [f for f in facts if isinstance(f, RequestFact) and type(f) in CONSUMED_FACTS]
        batch = apply_facts(await store.load(tx, (f.request_id for f in consumed)), consumed)
        await store.save(tx, list(batch.changed.values()))
        refused = await suppressions.apply(tx, batch.facts)
        acknowledged = await acknowledgements.acknowledge(tx, batch.facts, self._text_of)
        await threads.apply(tx, batch.facts, {each.request_id for each in acknowledged})
        await publish(tx, batch.notifications)
        self._notify_pending(len(await queue.enqueue(tx, acknowledged)))
        self._notify_pending(await enqueue_replies(tx, batch.replies(), refused))
        await self._planner.plan(tx, facts)

    async def on_other_facts(self, tx: Tx, facts: Sequence[Fact]) -> None:
        """Handle offers, warnings and breaches; those of an unknown request are deferred."""
        consumed = [
            f for f in facts if isinstance(f, RequestFact) and isinstance(f, OTHER_CONSUMED_FACTS)
        ]
        requests = await store.load(tx, (fact.request_id for fact in consumed))
        unknown = {fact.request_id for fact in consumed} - requests.keys()
        for fact in facts:
            if isinstance(fact, RequestFact) and fact.request_id in unknown:
                tx.defer(fact)
        loaded = (
            (fact, requests[fact.request_id]) for fact in consumed if fact.request_id in requests
        )
        await publish(tx, [each for pair in loaded for each in self._notifications(*pair)])
        await self._planner.plan(tx, facts)

    def _notifications(self, fact: Fact, request: Request) -> list[Notification]:
        if request.closed:
            return []
        return notifications(fact, request, self._group_to_notify(fact, request))

    def _group_to_notify(self, fact: Fact, request: Request) -> Group:
        """Return the group that is notified of a target while the request has no assignee."""
        if request.assignee is not None or isinstance(fact, RequestOffered):
            return NO_GROUP
        return self._group_of(request.team, request.topic)


def readers(handlers: FactHandlers) -> list[Reader]:
    """Return the readers of TICKETS, ROUTING and SLA."""
    return [
        Reader(
            "TICKETS",
            handlers.on_ticket_facts,
            parse=handlers.parse,
            batch_interval=BACKGROUND_INTERVAL_S,
        ),
        Reader("ROUTING", handlers.on_other_facts, parse=handlers.parse),
        Reader("SLA", handlers.on_other_facts, parse=handlers.parse),
    ]
