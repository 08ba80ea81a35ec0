"""Planning of deliveries, in the transaction that applies the facts."""

from collections.abc import Callable, Sequence

from chassis.messaging.transaction import Tx
from notify.domain.webhooks import delivery_id
from notify.webhooks import store
from notify.webhooks.endpoints import Endpoints
from notify.webhooks.store import PlannedDelivery
from trunkline_contracts import Fact, RequestFact


class DeliveryPlanner:
    """Plans a delivery for each fact and each endpoint that subscribes to it."""

    def __init__(self, endpoints: Endpoints, notify_pending: Callable[[], None]) -> None:
        """`notify_pending` announces that deliveries are due once the transaction is committed."""
        self._endpoints = endpoints
        self._notify_pending = notify_pending
        self.may_be_wanted = endpoints.may_be_wanted

    async def plan(self, tx: Tx, facts: Sequence[Fact]) -> None:
        """Record the deliveries of facts with the bytes received; deferred facts are left out."""
        deferred = {id(fact) for fact in tx.deferred}
        deliveries = [
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
            for fact, item in zip(facts, tx.source_messages, strict=True)
            if id(fact) not in deferred
            for endpoint in self._endpoints.subscribed(fact.type)
        ]
        if deliveries:
            await store.insert(tx, deliveries)
            self._notify_pending()
