"""Writes down, with what a fact changes here, to whom it is to be handed over."""

from collections.abc import Callable, Sequence

from chassis.tx import Tx
from notify.webhooks import deliveries
from notify.webhooks.deliveries import Intent
from notify.webhooks.endpoints import Endpoints
from notify.webhooks.rules import delivery_id
from trunkline_contracts import Fact, RequestFact


class Intake:
    """What the readers ask: who else wants these facts?"""

    def __init__(self, endpoints: Endpoints, expect: Callable[[], None]) -> None:
        self._endpoints = endpoints
        self._expect = expect
        self.may_want = endpoints.may_want

    async def intend(self, tx: Tx, facts: Sequence[Fact]) -> None:
        """Write a delivery for every fact and endpoint that wants it: the bytes as they came."""
        late = {id(fact) for fact in tx.waiting}
        intents = [
            Intent(
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
            for endpoint in self._endpoints.wanting(fact.type)
        ]
        if intents:
            await deliveries.intend(tx, intents)
            self._expect()
