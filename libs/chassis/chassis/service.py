"""The life of a service process: start, transactions, background tasks, health, shutdown.

It opens PostgreSQL and NATS, follows the workspace, and runs the relay and the readers whose
leader this replica is.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request

from chassis.configuration.following import Workspaces
from chassis.messaging.connections import Bus
from chassis.messaging.loop import Loop
from chassis.messaging.reader import Reader, ReaderState
from chassis.messaging.relay import Relay
from chassis.messaging.replay import ReplayServer
from chassis.messaging.slots import slot_groups
from chassis.messaging.transaction import Tx, transaction
from chassis.observability.gauges import update_gauges
from chassis.postgres.durability_checks import check_nats, check_postgres
from chassis.postgres.leader_election import LeaderElection, run_until_first_exits
from chassis.postgres.locks import lock_key
from chassis.postgres.pool import Database
from chassis.settings import Settings
from chassis.web.health import Health

log = logging.getLogger(__name__)

Task = Callable[["Service"], Awaitable[None]]
STUCK_AFTER_S = 10.0
REDRIVE_REQUESTED = b"freed"
"""The payload of `wake` that tells readers of a redrive; older replicas know this word."""
SHUTDOWN_GRACE_S = 7.0
"""Seconds a task may take to finish, before it is cancelled again."""


def utc_now() -> datetime:
    """Return the time; tests give services another clock."""
    return datetime.now(UTC)


class Service:
    """One service process, as its handlers and routes use it."""

    def __init__(
        self, name: str, settings: Settings, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.name = name
        self.settings = settings
        self.clock = clock
        self.db = Database(settings.service_database_url.get_secret_value())
        self.bus = Bus(settings.nats_url, name, settings.nats_creds_dir)
        self.workspaces = Workspaces(self.db.pool)
        self.leaders = LeaderElection(self.db, name)
        self.relay = Relay(name, self.db, self.bus, clock, self._retention)
        self.replays = ReplayServer(name, self.db, self.bus)
        self.readers: list[Reader] = []
        self.loops: list[Loop] = []
        self.health = Health()
        self.state: dict[str, Any] = {}
        self._lock = lock_key("say", name)
        self._tasks: set[asyncio.Task[None]] = set()
        self._committed: list[Callable[[], None]] = []
        self._redrives_requested = 0
        self._redrives_seen: dict[str, int] = {}

    def _retention(self) -> timedelta | None:
        return self.workspaces.current.retention.streams if self.workspaces.latest else None

    # ------------------------------------------------------------------ work

    @asynccontextmanager
    async def _transaction(self, slots: tuple[int, ...] | None) -> AsyncGenerator[Tx]:
        version = self.workspaces.latest
        async with transaction(
            self.db, self.clock, self._lock, workspace=version, slots=slots
        ) as tx:
            yield tx
        if tx.has_appended:
            await self.wake()
        for then in self._committed:
            then()

    def transaction(self, slots: tuple[int, ...] | None = None) -> AbstractAsyncContextManager[Tx]:
        """Open a transaction; its commit wakes the relay and this replica's workers."""
        return self._transaction(slots)

    @asynccontextmanager
    async def single(self) -> AsyncGenerator[Tx]:
        """Yield a `Tx` in autocommit: each statement commits, and no facts are recorded."""
        async with self.db.pool.connection() as conn:
            yield Tx(conn, self.clock(), self._lock, self.workspaces.latest)

    def on_commit(self, then: Callable[[], None]) -> None:
        """Call `then` after every commit of this replica; it should only set an event."""
        self._committed.append(then)

    async def wake(self) -> None:
        """Wake the relay, on whichever replica it runs."""
        if "relay" in self.leaders.held:
            self.relay.wake()
        else:
            await self.bus.wake()

    async def request_redrive(self) -> None:
        """Notify the reader's leader, on any replica, that a parked fact is to be redriven."""
        self._redrives_requested += 1
        await self.bus.wake(REDRIVE_REQUESTED)

    def consume_redrive_flag(self, role: str) -> bool:
        """Return whether a redrive was requested since this role's last call."""
        seen = self._redrives_seen.get(role, 0)
        self._redrives_seen[role] = self._redrives_requested
        return seen != self._redrives_requested

    def _woken(self, why: bytes) -> None:
        self.relay.wake()
        if why == REDRIVE_REQUESTED:
            self._redrives_requested += 1
        for then in self._committed:
            then()

    def announce_parked(self, reader: str, key: str, reason: str) -> None:
        """Log a parked fact, and announce it on PARKED; the row in PostgreSQL is the record."""
        log.error("%s: parked a fact about %s: %s", reader, key, reason)
        body = f'{{"service":"{self.name}","reader":"{reader}","key":"{key}"}}'.encode()
        self.spawn(self._announce(f"parked.{self.name}.{reader}", body))

    async def _announce(self, subject: str, body: bytes) -> None:
        try:
            await self.bus.js.publish(subject, body, timeout=5)
        except Exception as why:  # noqa: BLE001 (the row is the record)
            log.warning("a parked fact was not announced: %r", why)

    # ------------------------------------------------------------------ life

    def spawn(self, work: Awaitable[None]) -> None:
        """Run work as a task of the service."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def background(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Run work until shutdown; log its failures, and restart it."""
        self.spawn(self._supervise(work, name))

    async def _supervise(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        pause = 0.1
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await work()
            except Exception as why:
                log.warning("%s failed: %r", name, why, exc_info=why)
            healthy = asyncio.get_running_loop().time() - began > 30
            pause = 0.1 if healthy else min(pause * 2, 5.0)
            await asyncio.sleep(pause)

    async def _lead_relay(self) -> None:
        await run_until_first_exits(self.relay.run(), self.replays.run())

    async def start(
        self, readers: Iterable[Reader], tasks: Sequence[Task], *, refill: bool
    ) -> None:
        """Open connections and start all tasks; raise `UnsafeServer` for servers without fsync."""
        await self.db.open()
        await self.bus.open()
        await check_postgres(self.db.dsn)
        await check_nats(self.settings.nats_monitor_url)
        await self.workspaces.load()
        self.background(lambda: self.workspaces.follow(self.bus.own), "following the workspace")
        await self.bus.on_wake(self._woken)
        self.background(self.leaders.heartbeat, "the leader's heartbeat")
        self.background(self.health.heartbeat, "the event loop's heartbeat")
        self.background(lambda: self.leaders.lead("relay", self._lead_relay), "the relay")
        if refill:
            lead = self._refill
            self.background(lambda: self.leaders.lead("workspace", lead), "keeping the workspace")
        self.readers = list(readers)
        for reader in self.readers:
            for slots in slot_groups(self.settings.readers):
                self._read(Loop(self, reader, slots))
        for task in tasks:
            self.background(partial(task, self), getattr(task, "__name__", "a task"))
        self.background(lambda: update_gauges(self), "updating the gauges")
        self.health.add("postgres", self._postgres_health)
        self.health.add("relay", self._relay_health)
        self.health.add("relay_alarm", self._relay_alarm)
        self.health.note("relay_foreign", self._relay_foreign)
        self.health.add("workspace", self._workspace_health)

    def _read(self, loop: Loop) -> None:
        self.loops.append(loop)
        state = loop.state
        self.background(lambda: self.leaders.lead(state.role, loop.run), state.role)
        self.health.add(state.role, lambda: self._reader_health(state))
        self.health.note(state.role, lambda: state.wait_reason)

    async def _refill(self) -> None:
        while True:
            await self.workspaces.refill(self.bus.relay.js)
            await asyncio.sleep(2)

    def _reader_health(self, state: ReaderState) -> str | None:
        if failure := state.recent_failure:
            return f"the reader stopped: {failure}"
        silent = asyncio.get_running_loop().time() - state.progress_at
        return (
            f"no progress for {silent:.0f} s"
            if state.is_leading and silent > STUCK_AFTER_S
            else None
        )

    def _postgres_health(self) -> str | None:
        silent = time.monotonic() - self.leaders.answered_at
        return f"no answer for {silent:.0f} s" if silent > STUCK_AFTER_S else None

    def _relay_health(self) -> str | None:
        if "relay" not in self.leaders.held or self.relay.alarm:
            return None
        silent = asyncio.get_running_loop().time() - self.relay.progress_at
        return f"no progress for {silent:.0f} s" if silent > STUCK_AFTER_S else None

    def _relay_alarm(self) -> str | None:
        return self.relay.alarm if "relay" in self.leaders.held else None

    def _relay_foreign(self) -> str | None:
        return self.relay.foreign if "relay" in self.leaders.held else None

    def _workspace_health(self) -> str | None:
        return None if self.workspaces.latest else "no workspace has been applied yet"

    async def stop(self) -> None:
        """Cancel all tasks, release the roles and close the connections."""
        left = set(self._tasks)
        while left:
            for task in left:
                task.cancel()
            # Python 3.11: a wait that ends just as it is cancelled drops the cancellation.
            _, left = await asyncio.wait(left, timeout=SHUTDOWN_GRACE_S)
        await self.leaders.close()
        await self.bus.close()
        await self.db.close()


async def get_service(request: Request) -> Service:
    """Return the service that a request is for."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]
