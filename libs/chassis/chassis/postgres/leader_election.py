"""Leader election by advisory locks, held on one connection that ends with this replica.

A killed replica loses its roles at once (the socket closes), a frozen one after 10 s (the server
ends an idle session). A former leader can do no harm: positions and stream sequences are fenced.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

import psycopg

from chassis.observability.tracing import metrics
from chassis.postgres.locks import lock_key
from chassis.postgres.pool import Database

log = logging.getLogger(__name__)

TRY_LOCK = b"SELECT pg_try_advisory_lock(%b)"
UNLOCK = b"SELECT pg_advisory_unlock(%b)"
HEARTBEAT_S = 2.0
STANDBY_INTERVAL_S = 0.25
SHUTDOWN_GRACE_S = 1.0
"""Seconds after which work is cancelled again, unless it asked for a longer grace."""


class LeaderElection:
    """The roles that this replica holds."""

    def __init__(self, db: Database, service: str) -> None:
        self._db = db
        self._service = service
        self._conn: psycopg.AsyncConnection | None = None
        self._lock = asyncio.Lock()
        self._lost = asyncio.Event()
        self.held: set[str] = set()
        self.answered_at = time.monotonic()
        """Time of PostgreSQL's last answer; it is queried as leader and while standing by."""

    async def heartbeat(self) -> None:
        """Keep the session alive; all roles are lost with it."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if self._conn is not None:
                try:
                    await self._execute(b"SELECT 1", ())
                except (psycopg.Error, OSError, TimeoutError):
                    log.warning(
                        "the connection that holds %s is lost", sorted(self.held) or "no role"
                    )

    async def lead(
        self, role: str, work: Callable[[], Awaitable[None]], grace_s: float = SHUTDOWN_GRACE_S
    ) -> None:
        """Run the work while this replica holds the role; stand by while another one does.

        The work may take `grace_s` seconds to end; after that it is cancelled again.
        """
        pause = 0.2
        while True:
            await self._acquire(role)
            metrics.leader.labels(self._service, role).set(1)
            began = asyncio.get_running_loop().time()
            try:
                await self._run(role, work, grace_s)
            finally:
                metrics.leader.labels(self._service, role).set(0)
                await asyncio.shield(self._release(role))
            was_stable = asyncio.get_running_loop().time() - began > 10
            pause = 0.2 if was_stable else min(pause * 2, 5)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 (not a secret)

    async def _run(self, role: str, work: Callable[[], Awaitable[None]], grace_s: float) -> None:
        session_lost = self._lost
        task = asyncio.ensure_future(work())
        lost = asyncio.create_task(session_lost.wait())
        try:
            await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            await _cancel_all({task}, grace_s)
        if not task.cancelled() and (why := task.exception()) is not None:
            log.warning("%s stopped: %r", role, why, exc_info=why)

    async def _acquire(self, role: str) -> None:
        while True:
            # A replica with many roles tries later, so roles spread over replicas.
            jitter = random.uniform(0.5, 1)  # noqa: S311 (not a secret)
            await asyncio.sleep(STANDBY_INTERVAL_S * jitter + 0.15 * len(self.held))
            try:
                if await self._execute(TRY_LOCK, (self._key(role),)):
                    self.held.add(role)
                    return
            except (psycopg.Error, OSError, TimeoutError) as why:
                log.warning("cannot acquire %s: %r", role, why)
                await asyncio.sleep(1)

    async def _release(self, role: str) -> None:
        if role not in self.held:
            return
        self.held.discard(role)
        try:
            await self._execute(UNLOCK, (self._key(role),))
        except (psycopg.Error, OSError, TimeoutError):
            return  # the session is gone, and the lock with it

    async def _execute(self, sql: bytes, args: tuple[int, ...]) -> bool:
        async with self._lock:
            try:
                async with asyncio.timeout(5):
                    if self._conn is None:
                        self._conn = await self._db.dedicated_connection()
                        self._lost = asyncio.Event()
                    row = await (await self._conn.execute(sql, args)).fetchone()
                self.answered_at = time.monotonic()
            except BaseException:
                await self._drop()
                raise
            return bool(row and row[0])

    async def _drop(self) -> None:
        conn, self._conn = self._conn, None
        self.held.clear()
        self._lost.set()
        if conn is not None:
            conn.pgconn.finish()

    def _key(self, role: str) -> int:
        return lock_key("relay" if role == "relay" else "reader", f"{self._service}/{role}")

    async def close(self) -> None:
        """Release all roles."""
        await self._drop()


async def run_until_first_exits(*works: Awaitable[None]) -> None:
    """Run several awaitables until one ends, cancel the others, and raise an error of any."""
    tasks = {asyncio.ensure_future(work) for work in works}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel_all(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def _cancel_all(
    tasks: Iterable[asyncio.Task[None] | asyncio.Future[None]], grace_s: float = SHUTDOWN_GRACE_S
) -> None:
    """Cancel tasks and wait until they have ended, even when cancelled meanwhile."""
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            # Python 3.11: a wait that ends just as it is cancelled drops the cancellation.
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait(left, timeout=grace_s)
