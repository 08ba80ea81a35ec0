"""Hands over what is due, whoever of the replicas is its leader.

What is taken is held in memory, a few for each endpoint at once, so that one that is slow or away
keeps nobody waiting; one transaction settles what has come back and takes what is next. A leader
that was frozen begins nothing: by then somebody else may have been elected. Whatever a dead one had
begun is handed over again, under the same id. Long: it is one loop, and what that holds in memory.
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
MAX_ATTEMPTS_PER_ENDPOINT = 8
"""Deliveries on their way to one endpoint."""
MAX_HELD_PER_ENDPOINT = 64
"""Deliveries taken for one endpoint: on their way, or next."""
TURN_INTERVAL_S = 0.05
"""Seconds between the beginnings of two transactions; what comes back within them shares one."""
POLL_INTERVAL_S = 0.5
"""How often to look without being told: for what another replica wrote, and what is due again."""
FROZEN_AFTER_S = 4.0
"""After so many seconds without a look this replica may have been deposed."""
DRAIN_TIMEOUT_S = 5.0
"""Seconds for what was begun to end and be recorded; less than a service is given to stop."""
STUCK_AFTER_S = 10.0
CLEANUP_INTERVAL_S = 60.0

DATABASE_UNAVAILABLE = (*TRANSIENT, PoolTimeout)


@dataclass(slots=True)
class EndpointQueue:
    """What is taken for one endpoint."""

    endpoint: Endpoint
    next: deque[Delivery] = field(default_factory=deque)
    under_way: int = 0
    held: set[UUID] = field(default_factory=set)


class WebhookDispatcher:
    """The hands of the replica that leads."""

    def __init__(self, service: Service, endpoints: Endpoints, outward: EgressPolicy) -> None:
        self._service = service
        self._endpoints = endpoints
        self._outward = outward
        self._woken = asyncio.Event()
        self._pending = False
        self._leads = False
        self._at_work: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._tidied_at = 0.0
        self._begin()
        service.on_commit(self._committed)
        service.health.add(ROLE, self._health)

    def _begin(self) -> None:
        self._lines: dict[str, EndpointQueue] = {}
        self._done: list[SettledDelivery] = []
        self._busy: set[asyncio.Task[None]] = set()

    def _health(self) -> str | None:
        silent = time.monotonic() - self._looked_at
        return f"no progress for {silent:.0f} s" if self._leads and silent > STUCK_AFTER_S else None

    def notify_pending(self) -> None:
        """Look at once when the transaction that writes deliveries down is committed."""
        self._pending = True

    def _committed(self) -> None:
        # a turn is a commit too, but it writes no deliveries down
        if self._pending and asyncio.current_task() is not self._at_work:
            self._woken.set()

    async def run(self) -> None:
        """Stand for the office for ever."""
        await self._service.leaders.lead(ROLE, self._run, DRAIN_TIMEOUT_S + 1)

    async def _run(self) -> None:
        self._begin()
        self._at_work = asyncio.current_task()
        self._leads, self._looked_at = True, time.monotonic()
        wire = HttpClient()
        try:
            while True:
                self._woken.clear()
                began = time.monotonic()
                await self._turn(wire)
                await asyncio.sleep(began + TURN_INTERVAL_S - time.monotonic())
                try:
                    async with asyncio.timeout(POLL_INTERVAL_S):
                        await self._woken.wait()
                except TimeoutError:
                    self._pending = False
        finally:
            self._leads = False
            await self._drain()
            await wire.aclose()

    async def _turn(self, wire: HttpClient) -> None:
        """Settle what has come back, take what is next, and set off."""
        done, rooms = list(self._done), self._rooms()
        held = [id for line in self._lines.values() for id in line.held]
        try:
            service = self._service
            async with service.transaction() if done else service.single() as tx:
                await self._settle(tx, done)
                taken = await store.select_due(tx, rooms, held) if rooms else []
                await self._tidy(tx)
        except DATABASE_UNAVAILABLE as why:
            log.warning("webhooks wait: %s", type(why).__name__)
            return
        self._looked_at = time.monotonic()
        del self._done[: len(done)]
        self._pending = self._pending and not taken
        for settled in done:
            self._lines[settled.endpoint.name].held.discard(settled.delivery.id)
        for delivery in taken:
            line = self._lines[delivery.endpoint]
            line.held.add(delivery.id)
            line.next.append(delivery)
        for line in self._lines.values():
            self._set_off(wire, line)

    def _rooms(self) -> list[tuple[Endpoint, int]]:
        """Say how much more may be taken for each endpoint; without its secret, nothing."""
        rooms: list[tuple[Endpoint, int]] = []
        if not self._service.workspaces.latest:
            return rooms
        for name, endpoint in self._endpoints.all.items():
            line = self._lines.setdefault(name, EndpointQueue(endpoint))
            line.endpoint = endpoint
            room = MAX_HELD_PER_ENDPOINT - len(line.held)
            if room > 0 and endpoint.secrets():
                rooms.append((endpoint, room))
        return rooms

    def _set_off(self, wire: HttpClient, line: EndpointQueue) -> None:
        while line.next and line.under_way < MAX_ATTEMPTS_PER_ENDPOINT:
            line.under_way += 1
            task = asyncio.create_task(self._attempt(wire, line, line.next.popleft()))
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)

    async def _attempt(self, wire: HttpClient, line: EndpointQueue, delivery: Delivery) -> None:
        if time.monotonic() - self._looked_at > FROZEN_AFTER_S:
            line.under_way -= 1
            line.held.discard(delivery.id)
            return
        with continued(delivery.traceparent, "send", kind=SpanKind.CLIENT):
            try:
                outcome = await deliver(
                    wire, self._outward, line.endpoint, delivery.id, delivery.body,
                    delivery.traceparent,
                )  # fmt: skip
            except Exception as why:
                log.warning("a delivery broke", exc_info=why)
                outcome = WebhookOutcome(reason=f"broke: {type(why).__name__}")
        step = next_webhook_step(outcome, delivery.id, delivery.attempts)
        kind = "retry" if step.delay is not None else "sent" if step.state == "sent" else "refused"
        attempts_made.labels("notify", CHANNEL, kind).inc()
        line.under_way -= 1
        self._done.append(SettledDelivery(delivery, line.endpoint, step))
        self._set_off(wire, line)
        self._woken.set()

    async def _settle(self, tx: Tx, done: list[SettledDelivery]) -> None:
        """Record outcomes, and say of what is given up that it is."""
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
                tx.say(failed)

    async def _tidy(self, tx: Tx) -> None:
        """Once a minute, a piece at a time, forget what is older than streams are kept."""
        if (
            time.monotonic() - self._tidied_at < CLEANUP_INTERVAL_S
            or not self._service.workspaces.latest
        ):
            return
        self._tidied_at = time.monotonic()
        keep = self._service.workspaces.current.retention.streams
        if await store.delete_old(tx, tx.now - keep, list(self._endpoints.all)) == DELETE_BATCH:
            self._tidied_at -= CLEANUP_INTERVAL_S  # there is more: go on at once

    async def _drain(self) -> None:
        """Record what was begun as it ends; what does not end in time is begun again by another."""
        for line in self._lines.values():
            line.next.clear()
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self._recorded()
                while self._busy:
                    await asyncio.wait(self._busy, return_when=asyncio.FIRST_COMPLETED)
                    await self._recorded()
        except TimeoutError:
            log.warning("outcomes are left to be found out again")
        finally:
            for task in self._busy:
                task.cancel()

    async def _recorded(self) -> None:
        while done := list(self._done):
            try:
                async with self._service.transaction() as tx:
                    await self._settle(tx, done)
                del self._done[: len(done)]
            except DATABASE_UNAVAILABLE as why:
                log.warning("outcomes wait for the database: %s", type(why).__name__)
                await asyncio.sleep(TURN_INTERVAL_S)
