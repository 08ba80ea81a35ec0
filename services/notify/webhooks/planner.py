"""Writes down, with what a fact changes here, to whom it is to be handed over."""

from collections.abc import Callable, Sequence

from chassis.messaging.transaction import Tx
from notify.domain.webhooks import delivery_id
from notify.webhooks import store
from notify.webhooks.endpoints import Endpoints
from notify.webhooks.store import PlannedDelivery
from trunkline_contracts import Fact, RequestFact


class DeliveryPlanner:
    """What the readers ask: who else wants these facts?"""

    def __init__(self, endpoints: Endpoints, expect: Callable[[], None]) -> None:
        self._endpoints = endpoints
        self._notify_pending = expect
        self.may_be_wanted = endpoints.may_be_wanted

    async def intend(self, tx: Tx, facts: Sequence[Fact]) -> None:
        """Write a delivery for every fact and endpoint that wants it: the bytes as they came."""
        late = {id(fact) for fact in tx.waiting}
        intents = [
            PlannedDelivery(
                delivery_id(fact.id, endpoint.name),
                endpoint.name,
                fact.type,
                fact.subject,
                fact.sequence,
                fact.request_id if isinstance(fact, RequestFact) else None,
                item.data,
                fact.traceparent,
                endpoint.declared.ordered,
            )
            for fact, item in zip(facts, tx.heard, strict=True)
            if id(fact) not in late
            for endpoint in self._endpoints.subscribed(fact.type)
        ]
        if intents:
            await store.insert(tx, intents)
            self._notify_pending()
