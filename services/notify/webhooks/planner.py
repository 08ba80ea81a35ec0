"""Writes down, with what a fact changes here, to whom it is to be handed over."""

from collections.abc import Callable, Sequence

from chassis.messaging.transaction import Tx
from notify.domain.webhooks import delivery_id
from notify.webhooks import store
from notify.webhooks.endpoints import Endpoints
from notify.webhooks.store import Intent
from trunkline_contracts import Fact, RequestFact


class Intake:
    """What the readers ask: who else wants these facts?"""

    def __init__(self, endpoints: Endpoints, expect: Callable[[], None]) -> None:
        self._endpoints = endpoints
        self._expect = expect
        self.may_want = endpoints.may_want

    async def intend(self, tx: Tx, facts: Sequence[Fact]) -> None:
        """Write a delivery for every fact and endpoint that wants it: the bytes as they came."""
        late = {id(fact) for fact in tx.deferred}
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
            for fact, item in zip(facts, tx.source_messages, strict=True)
            if id(fact) not in late
            for endpoint in self._endpoints.wanting(fact.type)
        ]
        if intents:
            await store.intend(tx, intents)
            self._expect()
