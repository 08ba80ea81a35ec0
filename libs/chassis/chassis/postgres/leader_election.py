"""Who runs what: offices held by advisory lock, on one connection that dies with this replica.

A killed replica loses its offices at once (the socket closes), a frozen one after 10 s (the server
ends a silent session). What a dead leader still tries is refused where it would matter: positions
are fenced. Long: being elected, serving and resigning are one story.
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

TRY = b"SELECT pg_try_advisory_lock(%b)"
RELEASE = b"SELECT pg_advisory_unlock(%b)"
HEARTBEAT = 2.0
STANDBY = 0.25
LAST_WORDS = 1.0
"""Seconds after which work that was told to stop is told so again, unless it asks for more."""


class Leaders:
    """The offices this replica holds."""

    def __init__(self, db: Database, service: str) -> None:
        self._db = db
        self._service = service
        self._conn: psycopg.AsyncConnection | None = None
        self._turn = asyncio.Lock()
        self._gone = asyncio.Event()
        self.held: set[str] = set()
        self.answered_at = time.monotonic()
        """When PostgreSQL answered last: it is asked all the time, in office or standing by."""

    async def heartbeat(self) -> None:
        """Keep the session alive; when it is lost, every office is."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            if self._conn is not None:
                try:
                    await self._ask(b"SELECT 1", ())
                except (psycopg.Error, OSError, TimeoutError):
                    log.warning(
                        "the connection that holds %s is lost", sorted(self.held) or "no office"
                    )

    async def lead(
        self, office: str, work: Callable[[], Awaitable[None]], last_words: float = LAST_WORDS
    ) -> None:
        """Do the work whenever this replica holds the office; stand by when another one does.

        `last_words` is how many seconds the work may take to end; then it is told again to stop.
        """
        pause = 0.2
        while True:
            await self._elected(office)
            metrics.leader.labels(self._service, office).set(1)
            term = asyncio.get_running_loop().time()
            try:
                await self._serve(office, work, last_words)
            finally:
                metrics.leader.labels(self._service, office).set(0)
                await asyncio.shield(self._resign(office))
            long = asyncio.get_running_loop().time() - term > 10
            pause = 0.2 if long else min(pause * 2, 5)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 (not a secret)

    async def _serve(
        self, office: str, work: Callable[[], Awaitable[None]], last_words: float
    ) -> None:
        gone = self._gone
        task = asyncio.ensure_future(work())
        lost = asyncio.create_task(gone.wait())
        try:
            await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            await _ended({task}, last_words)
        if not task.cancelled() and (why := task.exception()) is not None:
            log.warning("%s stopped: %r", office, why, exc_info=why)

    async def _elected(self, office: str) -> None:
        while True:
            # Whoever holds much tries later: offices spread over replicas that start together.
            jitter = random.uniform(0.5, 1)  # noqa: S311 (not a secret)
            await asyncio.sleep(STANDBY * jitter + 0.15 * len(self.held))
            try:
                if await self._ask(TRY, (self._key(office),)):
                    self.held.add(office)
                    return
            except (psycopg.Error, OSError, TimeoutError) as why:
                log.warning("cannot stand for %s: %r", office, why)
                await asyncio.sleep(1)

    async def _resign(self, office: str) -> None:
        if office not in self.held:
            return
        self.held.discard(office)
        try:
            await self._ask(RELEASE, (self._key(office),))
        except (psycopg.Error, OSError, TimeoutError):
            return  # the session is gone, and the lock with it

    async def _ask(self, sql: bytes, args: tuple[int, ...]) -> bool:
        async with self._turn:
            try:
                async with asyncio.timeout(5):
                    if self._conn is None:
                        self._conn = await self._db.lone()
                        self._gone = asyncio.Event()
                    row = await (await self._conn.execute(sql, args)).fetchone()
                self.answered_at = time.monotonic()
            except BaseException:
                await self._drop()
                raise
            return bool(row and row[0])

    async def _drop(self) -> None:
        conn, self._conn = self._conn, None
        self.held.clear()
        self._gone.set()
        if conn is not None:
            conn.pgconn.finish()

    def _key(self, office: str) -> int:
        return lock_key("relay" if office == "relay" else "reader", f"{self._service}/{office}")

    async def close(self) -> None:
        """Resign from everything."""
        await self._drop()


async def side_by_side(*works: Awaitable[None]) -> None:
    """Do several things until one of them ends; none of them goes on alone after that."""
    tasks = {asyncio.ensure_future(work) for work in works}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _ended(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def _ended(
    tasks: Iterable[asyncio.Task[None] | asyncio.Future[None]], last_words: float = LAST_WORDS
) -> None:
    """Stop tasks and wait until they have, even when somebody tells us to stop meanwhile."""
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            # A wait that ends just as it is cancelled forgets that (Python 3.11): say it again.
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait(left, timeout=last_words)
