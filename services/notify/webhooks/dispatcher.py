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
from notify.domain.webhooks import CHANNEL, Outcome, after
from notify.transport.egress_policy import Outward
from notify.transport.http_client import KeptAlive
from notify.webhooks import store
from notify.webhooks.endpoints import Endpoint, Endpoints
from notify.webhooks.store import FORGOTTEN, Delivery, Settled
from notify.webhooks.transport import deliver
from trunkline_contracts import NotificationFailed

log = logging.getLogger(__name__)

OFFICE = "webhooks"
AT_ONCE = 8
"""Deliveries on their way to one endpoint."""
HELD = 64
"""Deliveries taken for one endpoint: on their way, or next."""
PACE = 0.05
"""Seconds between the beginnings of two transactions; what comes back within them shares one."""
IDLE = 0.5
"""How often to look without being told: for what another replica wrote, and what is due again."""
FROZEN = 4.0
"""After so many seconds without a look this replica may have been deposed."""
LAST_WORDS = 5.0
"""Seconds for what was begun to end and be recorded; less than a service is given to stop."""
STUCK = 10.0
TIDY = 60.0

AWAY = (*TRANSIENT, PoolTimeout)


@dataclass(slots=True)
class Line:
    """What is taken for one endpoint."""

    endpoint: Endpoint
    next: deque[Delivery] = field(default_factory=deque)
    under_way: int = 0
    held: set[UUID] = field(default_factory=set)


class Courier:
    """The hands of the replica that leads."""

    def __init__(self, service: Service, endpoints: Endpoints, outward: Outward) -> None:
        self._service = service
        self._endpoints = endpoints
        self._outward = outward
        self._woken = asyncio.Event()
        self._expected = False
        self._leads = False
        self._at_work: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._tidied_at = 0.0
        self._begin()
        service.on_commit(self._committed)
        service.health.add(OFFICE, self._health)

    def _begin(self) -> None:
        self._lines: dict[str, Line] = {}
        self._done: list[Settled] = []
        self._busy: set[asyncio.Task[None]] = set()

    def _health(self) -> str | None:
        silent = time.monotonic() - self._looked_at
        return f"no progress for {silent:.0f} s" if self._leads and silent > STUCK else None

    def expect(self) -> None:
        """Look at once when the transaction that writes deliveries down is committed."""
        self._expected = True

    def _committed(self) -> None:
        # a turn is a commit too, but it writes no deliveries down
        if self._expected and asyncio.current_task() is not self._at_work:
            self._woken.set()

    async def lead(self) -> None:
        """Stand for the office for ever."""
        await self._service.leaders.lead(OFFICE, self._run, LAST_WORDS + 1)

    async def _run(self) -> None:
        self._begin()
        self._at_work = asyncio.current_task()
        self._leads, self._looked_at = True, time.monotonic()
        wire = KeptAlive()
        try:
            while True:
                self._woken.clear()
                began = time.monotonic()
                await self._turn(wire)
                await asyncio.sleep(began + PACE - time.monotonic())
                try:
                    async with asyncio.timeout(IDLE):
                        await self._woken.wait()
                except TimeoutError:
                    self._expected = False
        finally:
            self._leads = False
            await self._drain()
            await wire.aclose()

    async def _turn(self, wire: KeptAlive) -> None:
        """Settle what has come back, take what is next, and set off."""
        done, rooms = list(self._done), self._rooms()
        held = [id for line in self._lines.values() for id in line.held]
        try:
            service = self._service
            async with service.transaction() if done else service.single() as tx:
                await self._settle(tx, done)
                taken = await store.pick(tx, rooms, held) if rooms else []
                await self._tidy(tx)
        except AWAY as why:
            log.warning("webhooks wait: %s", type(why).__name__)
            return
        self._looked_at = time.monotonic()
        del self._done[: len(done)]
        self._expected = self._expected and not taken
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
            line = self._lines.setdefault(name, Line(endpoint))
            line.endpoint = endpoint
            room = HELD - len(line.held)
            if room > 0 and endpoint.secrets():
                rooms.append((endpoint, room))
        return rooms

    def _set_off(self, wire: KeptAlive, line: Line) -> None:
        while line.next and line.under_way < AT_ONCE:
            line.under_way += 1
            task = asyncio.create_task(self._attempt(wire, line, line.next.popleft()))
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)

    async def _attempt(self, wire: KeptAlive, line: Line, delivery: Delivery) -> None:
        if time.monotonic() - self._looked_at > FROZEN:
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
                outcome = Outcome(reason=f"broke: {type(why).__name__}")
        step = after(outcome, delivery.id, delivery.attempts)
        kind = "retry" if step.delay is not None else "sent" if step.state == "sent" else "refused"
        attempts_made.labels("notify", CHANNEL, kind).inc()
        line.under_way -= 1
        self._done.append(Settled(delivery, line.endpoint, step))
        self._set_off(wire, line)
        self._woken.set()

    async def _settle(self, tx: Tx, done: list[Settled]) -> None:
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
                tx.record(failed)

    async def _tidy(self, tx: Tx) -> None:
        """Once a minute, a piece at a time, forget what is older than streams are kept."""
        if time.monotonic() - self._tidied_at < TIDY or not self._service.workspaces.latest:
            return
        self._tidied_at = time.monotonic()
        keep = self._service.workspaces.current.retention.streams
        if await store.forget(tx, tx.now - keep, list(self._endpoints.all)) == FORGOTTEN:
            self._tidied_at -= TIDY  # there is more: go on at once

    async def _drain(self) -> None:
        """Record what was begun as it ends; what does not end in time is begun again by another."""
        for line in self._lines.values():
            line.next.clear()
        try:
            async with asyncio.timeout(LAST_WORDS):
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
            except AWAY as why:
                log.warning("outcomes wait for the database: %s", type(why).__name__)
                await asyncio.sleep(PACE)
