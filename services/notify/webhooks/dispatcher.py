"""The webhook dispatcher: attempt the deliveries that are due, on the replica that leads.

A limited number of deliveries of each endpoint is held in memory, so that a slow or unreachable
endpoint delays no other. One transaction settles the attempts that ended and selects the next
deliveries. A leader that was frozen starts no attempt, because another may have been elected.
Attempts of a leader that died are repeated under the same id.
"""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from uuid import UUID

from opentelemetry.trace import SpanKind
from psycopg_pool import PoolTimeout

from chassis.errors import TRANSIENT
from chassis.messaging.transaction import Tx
from chassis.observability.tracing import continued
from chassis.service import Service
from notify.delivery.dispatcher import attempts_made
from notify.domain.webhooks import CHANNEL, WebhookOutcome, next_webhook_step
from notify.transport.egress_policy import EgressPolicy
from notify.transport.http_client import HttpClient
from notify.webhooks import store
from notify.webhooks.endpoints import Endpoint, Endpoints
from notify.webhooks.store import DELETE_BATCH, Delivery, SettledDelivery
from notify.webhooks.transport import deliver
from trunkline_contracts import NotificationFailed

log = logging.getLogger(__name__)

ROLE = "webhooks"
"""The leader's role."""
MAX_ATTEMPTS_PER_ENDPOINT = 8
"""Concurrent attempts to one endpoint."""
MAX_HELD_PER_ENDPOINT = 64
"""Deliveries of one endpoint held in memory: attempted now, or next."""
TURN_INTERVAL_S = 0.05
"""Seconds between the starts of two turns; attempts that end within share a transaction."""
POLL_INTERVAL_S = 0.5
"""Seconds between two polls: for deliveries of other replicas, and for retries that are due."""
FROZEN_AFTER_S = 4.0
"""Seconds without a turn after which this replica may have lost its leadership."""
DRAIN_TIMEOUT_S = 5.0
"""Seconds for attempts to end and be recorded; less than the time a service has to stop."""
STUCK_AFTER_S = 10.0
"""Seconds without a turn after which the leader is reported as not healthy."""
CLEANUP_INTERVAL_S = 60.0
"""Seconds between two deletions of old deliveries."""

DATABASE_UNAVAILABLE = (*TRANSIENT, PoolTimeout)


@dataclass(slots=True)
class EndpointQueue:
    """The deliveries of one endpoint held in memory."""

    endpoint: Endpoint
    next: deque[Delivery] = field(default_factory=deque)
    under_way: int = 0
    held: set[UUID] = field(default_factory=set)


class WebhookDispatcher:
    """Dispatches webhook deliveries on the leader."""

    def __init__(self, service: Service, endpoints: Endpoints, egress: EgressPolicy) -> None:
        self._service = service
        self._endpoints = endpoints
        self._egress = egress
        self._wake = asyncio.Event()
        self._pending = False
        self._is_leader = False
        self._task: asyncio.Task[None] | None = None
        self._turned_at = 0.0
        self._cleaned_at = 0.0
        self._reset()
        service.on_commit(self._on_commit)
        service.health.add(ROLE, self._health)

    def _reset(self) -> None:
        self._queues: dict[str, EndpointQueue] = {}
        self._done: list[SettledDelivery] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def _health(self) -> str | None:
        silent = time.monotonic() - self._turned_at
        is_stuck = self._is_leader and silent > STUCK_AFTER_S
        return f"no progress for {silent:.0f} s" if is_stuck else None

    def notify_pending(self) -> None:
        """Start a turn at once when the transaction that records deliveries is committed."""
        self._pending = True

    def _on_commit(self) -> None:
        # A turn commits too, but records no new deliveries.
        if self._pending and asyncio.current_task() is not self._task:
            self._wake.set()

    async def run(self) -> None:
        """Stand for election, and dispatch while this replica leads."""
        await self._service.leaders.lead(ROLE, self._run, DRAIN_TIMEOUT_S + 1)

    async def _run(self) -> None:
        self._reset()
        self._task = asyncio.current_task()
        self._is_leader, self._turned_at = True, time.monotonic()
        http = HttpClient()
        try:
            while True:
                self._wake.clear()
                began = time.monotonic()
                await self._turn(http)
                await asyncio.sleep(began + TURN_INTERVAL_S - time.monotonic())
                try:
                    async with asyncio.timeout(POLL_INTERVAL_S):
                        await self._wake.wait()
                except TimeoutError:
                    self._pending = False
        finally:
            self._is_leader = False
            await self._drain()
            await http.aclose()

    async def _turn(self, http: HttpClient) -> None:
        """Settle the attempts that ended, select the next deliveries, and start their attempts."""
        done, capacities = list(self._done), self._capacities()
        held = [id for queue in self._queues.values() for id in queue.held]
        try:
            service = self._service
            async with service.transaction() if done else service.single() as tx:
                await self._settle(tx, done)
                selected = await store.select_due(tx, capacities, held) if capacities else []
                await self._delete_old(tx)
        except DATABASE_UNAVAILABLE as error:
            log.warning("no webhook can be dispatched: %s", type(error).__name__)
            return
        self._turned_at = time.monotonic()
        del self._done[: len(done)]
        self._pending = self._pending and not selected
        for settled in done:
            self._queues[settled.endpoint.name].held.discard(settled.delivery.id)
        for delivery in selected:
            queue = self._queues[delivery.endpoint]
            queue.held.add(delivery.id)
            queue.next.append(delivery)
        for queue in self._queues.values():
            self._start_attempts(http, queue)

    def _capacities(self) -> list[tuple[Endpoint, int]]:
        """Return how many deliveries each endpoint may get; one without its secret gets none."""
        capacities: list[tuple[Endpoint, int]] = []
        if not self._service.workspaces.latest:
            return capacities
        for name, endpoint in self._endpoints.all.items():
            queue = self._queues.setdefault(name, EndpointQueue(endpoint))
            queue.endpoint = endpoint
            capacity = MAX_HELD_PER_ENDPOINT - len(queue.held)
            if capacity > 0 and endpoint.secrets():
                capacities.append((endpoint, capacity))
        return capacities

    def _start_attempts(self, http: HttpClient, queue: EndpointQueue) -> None:
        while queue.next and queue.under_way < MAX_ATTEMPTS_PER_ENDPOINT:
            queue.under_way += 1
            task = asyncio.create_task(self._attempt(http, queue, queue.next.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _attempt(self, http: HttpClient, queue: EndpointQueue, delivery: Delivery) -> None:
        if time.monotonic() - self._turned_at > FROZEN_AFTER_S:
            queue.under_way -= 1
            queue.held.discard(delivery.id)
            return
        with continued(delivery.traceparent, "send", kind=SpanKind.CLIENT):
            try:
                outcome = await deliver(
                    http, self._egress, queue.endpoint, delivery.id, delivery.body,
                    delivery.traceparent,
                )  # fmt: skip
            except Exception as error:
                log.warning("an attempt failed unexpectedly", exc_info=error)
                outcome = WebhookOutcome(reason=f"failed unexpectedly: {type(error).__name__}")
        step = next_webhook_step(outcome, delivery.id, delivery.attempts)
        kind = "retry" if step.delay is not None else "sent" if step.state == "sent" else "refused"
        attempts_made.labels("notify", CHANNEL, kind).inc()
        queue.under_way -= 1
        self._done.append(SettledDelivery(delivery, queue.endpoint, step))
        self._start_attempts(http, queue)
        self._wake.set()

    async def _settle(self, tx: Tx, done: list[SettledDelivery]) -> None:
        """Record the next steps, and publish a fact for each delivery that failed."""
        if not done:
            return
        for settled in await store.settle(tx, done):
            delivery, step = settled.delivery, settled.next
            if step.state != "failed":
                continue
            log.error("webhook %s: %s: %s", delivery.endpoint, delivery.type, step.reason)
            if delivery.request_id is not None:
                failed = NotificationFailed(
                    time=tx.now,
                    request_id=delivery.request_id,
                    notification_id=delivery.id,
                    recipient=delivery.endpoint,
                    channel=CHANNEL,
                    kind=delivery.type.rpartition(".")[2],
                    reason=step.reason or "",
                    traceparent=delivery.traceparent,
                )
                tx.record(failed)

    async def _delete_old(self, tx: Tx) -> None:
        """Delete deliveries older than the streams' retention, at most once a minute."""
        if (
            time.monotonic() - self._cleaned_at < CLEANUP_INTERVAL_S
            or not self._service.workspaces.latest
        ):
            return
        self._cleaned_at = time.monotonic()
        keep = self._service.workspaces.current.retention.streams
        if await store.delete_old(tx, tx.now - keep, list(self._endpoints.all)) == DELETE_BATCH:
            self._cleaned_at -= CLEANUP_INTERVAL_S  # more are left: continue in the next turn

    async def _drain(self) -> None:
        """Record attempts as they end; another leader repeats those that do not end in time."""
        for queue in self._queues.values():
            queue.next.clear()
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self._record_results()
                while self._tasks:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                    await self._record_results()
        except TimeoutError:
            log.warning("%d attempts did not end in time; they are repeated", len(self._tasks))
        finally:
            for task in self._tasks:
                task.cancel()

    async def _record_results(self) -> None:
        while done := list(self._done):
            try:
                async with self._service.transaction() as tx:
                    await self._settle(tx, done)
                del self._done[: len(done)]
            except DATABASE_UNAVAILABLE as error:
                log.warning("results are not recorded: %s", type(error).__name__)
                await asyncio.sleep(TURN_INTERVAL_S)
