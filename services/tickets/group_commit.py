"""Group commit: many commands at once become one load and one transaction.

Neither waits for company: whatever has queued up while the last round was on its way goes together.
The more load, the larger the rounds, and the cheaper each command. Long: loader and writer are two
halves of one queue.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar
from uuid import UUID

import psycopg

from chassis.errors import NotReady, TooLarge
from chassis.postgres.array_dumpers import COLUMNS
from chassis.postgres.pool import connected
from tickets.domain.request import Request
from tickets.store import Change, Verdicts, append, load

log = logging.getLogger(__name__)

Verdict = Literal["ok", "duplicate", "conflict"]
Queued = tuple[Change, "asyncio.Future[Verdict]"]
Wanted = tuple[UUID, "asyncio.Future[Request | None]"]

Item = TypeVar("Item")

ROUND = 128
LOST = (psycopg.OperationalError, psycopg.InterfaceError, OSError)
ENDED = "this replica has stopped writing: ask again, under the same key"


class Line:
    """One connection, kept while it lives."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._conn: psycopg.AsyncConnection[Any] | None = None
        self._opening = asyncio.Lock()

    async def get(self) -> psycopg.AsyncConnection[Any]:
        """Connect, or give what is connected."""
        async with self._opening:
            if self._conn is not None and not connected(self._conn):
                await self.drop()
            if self._conn is None:
                self._conn = await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, connect_timeout=5, context=COLUMNS
                )
            return self._conn

    async def drop(self) -> None:
        """Forget a connection whose state is unknown."""
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()


class Loader:
    """Loads requests; many askers share one query."""

    def __init__(self, dsn: str) -> None:
        self._line = Line(dsn)
        self._asked: asyncio.Queue[Wanted] = asyncio.Queue()

    async def get(self, request_id: UUID) -> Request | None:
        """Give a request as it stands now, or None."""
        done: asyncio.Future[Request | None] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait((request_id, done))
        return await done

    async def run(self) -> None:
        """Answer for ever; whoever waits when it ends is told so. One task per process."""
        batch: list[Wanted] = []
        try:
            while True:
                batch = []
                batch = [await self._asked.get()]
                while len(batch) < ROUND and not self._asked.empty():
                    batch.append(self._asked.get_nowait())
                await self._answer(batch)
        finally:
            _fail((done for _, done in [*batch, *_emptied(self._asked)]), NotReady(ENDED))
            await self._line.drop()

    async def _answer(self, batch: list[Wanted]) -> None:
        try:
            found = await load(await self._line.get(), {request_id for request_id, _ in batch})
        except Exception as why:  # noqa: BLE001  whatever it is, nobody may wait for ever
            await self._line.drop()
            await self._singly(batch, why)
            return
        for request_id, done in batch:
            if not done.done():
                done.set_result(found.get(request_id))

    async def _singly(self, batch: list[Wanted], why: Exception) -> None:
        """Try each alone, so that what cannot be read fails only those who ask for it."""
        if len(batch) == 1 or isinstance(why, LOST):
            log.warning("%s requests not loaded: %r", len(batch), why)
            _fail((done for _, done in batch), why)
            return
        for one in batch:
            await self._answer([one])


class Writer:
    """Appends changes; at most one per request and per command key in a transaction."""

    def __init__(self, dsn: str, lock: int, told: Callable[[], object] = lambda: None) -> None:
        self._line = Line(dsn)
        self._lock = lock
        self._told = told
        self._queue: asyncio.Queue[Queued] = asyncio.Queue()

    async def append(self, change: Change) -> Verdict:
        """Make a change; returns when it is durable, or was not made."""
        done: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((change, done))
        return await done

    async def run(self) -> None:
        """Write for ever; whoever waits when it ends is told so. One task per process."""
        wave: list[Queued] = []
        try:
            while True:
                wave = wave or [await self._queue.get()]
                while len(wave) < ROUND and not self._queue.empty():
                    wave.append(self._queue.get_nowait())
                batch, late = _one_each(wave)
                await self._commit(batch)
                wave = late
        finally:
            _fail((done for _, done in [*wave, *_emptied(self._queue)]), NotReady(ENDED))
            await self._line.drop()

    async def _commit(self, batch: list[Queued]) -> None:
        changes = [change for change, _ in batch]
        try:
            verdicts = await append(await self._line.get(), self._lock, changes)
        except TooLarge as why:
            await self._singly(batch, why)
            return
        except Exception as why:  # noqa: BLE001  whatever it is, nobody may wait for ever
            # The outcome may be unknown: a command with a key can be sent again safely.
            await self._line.drop()
            await self._singly(batch, why)
            return
        for n, (_, done) in enumerate(batch):
            if not done.done():
                done.set_result(_verdict(n, verdicts))
        if len(batch) > len(verdicts.conflicts) + len(verdicts.duplicates):
            self._told()

    async def _singly(self, batch: list[Queued], why: Exception) -> None:
        """Try each alone, so that a bad value fails only itself; a lost connection fails all."""
        if len(batch) == 1 or isinstance(why, LOST):
            log.warning("%s commands not written: %r", len(batch), why)
            _fail((done for _, done in batch), why)
            return
        for one in batch:
            await self._commit([one])


def _one_each(wave: list[Queued]) -> tuple[list[Queued], list[Queued]]:
    """Split a wave into what can go together and what waits one round."""
    batch: list[Queued] = []
    late: list[Queued] = []
    busy: set[UUID | str] = set()
    for queued in wave:
        change = queued[0]
        keys: set[UUID | str] = {change.request_id}
        if change.msg_id:
            keys.add(change.msg_id)
        (late if keys & busy else batch).append(queued)
        busy |= keys
    return batch, late


def _verdict(n: int, verdicts: Verdicts) -> Verdict:
    if n in verdicts.duplicates:
        return "duplicate"
    return "conflict" if n in verdicts.conflicts else "ok"


def _emptied(queue: asyncio.Queue[Item]) -> list[Item]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


def _fail(futures: Iterable["asyncio.Future[Any]"], why: Exception) -> None:
    for done in futures:
        if not done.done():
            done.set_exception(why)
