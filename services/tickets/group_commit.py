"""Group commit: concurrent commands share one load and one transaction.

No command waits for others to join: a batch holds what was queued while the last batch was written.
So batches grow with the load, and each command gets cheaper.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar
from uuid import UUID

import psycopg

from chassis.errors import NotReady, TooLarge
from chassis.postgres.array_dumpers import ARRAY_ADAPTERS
from chassis.postgres.pool import is_connected
from tickets.domain.request import Request
from tickets.store import Change, RejectedChanges, append, load

log = logging.getLogger(__name__)

AppendOutcome = Literal["ok", "duplicate", "conflict"]
PendingChange = tuple[Change, "asyncio.Future[AppendOutcome]"]
PendingLoad = tuple[UUID, "asyncio.Future[Request | None]"]

Item = TypeVar("Item")

MAX_BATCH = 128
CONNECTION_ERRORS = (psycopg.OperationalError, psycopg.InterfaceError, OSError)
STOPPED_DETAIL = "this replica has stopped writing: send the command again, under the same key"


class PersistentConnection:
    """A connection that is opened when needed and reused while it works."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._conn: psycopg.AsyncConnection[Any] | None = None
        self._opening = asyncio.Lock()

    async def get(self) -> psycopg.AsyncConnection[Any]:
        """Return the open connection, or open one."""
        async with self._opening:
            if self._conn is not None and not is_connected(self._conn):
                await self.drop()
            if self._conn is None:
                self._conn = await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, connect_timeout=5, context=ARRAY_ADAPTERS
                )
            return self._conn

    async def drop(self) -> None:
        """Close a connection whose state is unknown."""
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()


class Loader:
    """Loads requests; concurrent callers share one query."""

    def __init__(self, dsn: str) -> None:
        self._connection = PersistentConnection(dsn)
        self._queue: asyncio.Queue[PendingLoad] = asyncio.Queue()

    async def get(self, request_id: UUID) -> Request | None:
        """Return the current state of a request, or None."""
        future: asyncio.Future[Request | None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((request_id, future))
        return await future

    async def run(self) -> None:
        """Load until cancelled; then every waiter gets `NotReady`. Runs once in a process."""
        batch: list[PendingLoad] = []
        try:
            while True:
                batch = []
                batch = [await self._queue.get()]
                while len(batch) < MAX_BATCH and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                await self._answer(batch)
        finally:
            _fail(
                (future for _, future in [*batch, *_drain(self._queue)]), NotReady(STOPPED_DETAIL)
            )
            await self._connection.drop()

    async def _answer(self, batch: list[PendingLoad]) -> None:
        try:
            requests = await load(
                await self._connection.get(), {request_id for request_id, _ in batch}
            )
        except Exception as error:  # noqa: BLE001  any failure must resolve every waiter
            await self._connection.drop()
            await self._singly(batch, error)
            return
        for request_id, future in batch:
            if not future.done():
                future.set_result(requests.get(request_id))

    async def _singly(self, batch: list[PendingLoad], error: Exception) -> None:
        """Retry one by one: an unreadable request fails only its own waiters."""
        if len(batch) == 1 or isinstance(error, CONNECTION_ERRORS):
            log.warning("%s requests not loaded: %r", len(batch), error)
            _fail((future for _, future in batch), error)
            return
        for item in batch:
            await self._answer([item])


class Writer:
    """Appends changes; a transaction holds at most one per request and per command key."""

    def __init__(self, dsn: str, lock: int, on_commit: Callable[[], object] = lambda: None) -> None:
        self._connection = PersistentConnection(dsn)
        self._lock = lock
        self._on_commit = on_commit
        self._queue: asyncio.Queue[PendingChange] = asyncio.Queue()

    async def append(self, change: Change) -> AppendOutcome:
        """Append a change; return once it is durable or rejected."""
        future: asyncio.Future[AppendOutcome] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((change, future))
        return await future

    async def run(self) -> None:
        """Write until cancelled; then every waiter gets `NotReady`. Runs once in a process."""
        pending: list[PendingChange] = []
        try:
            while True:
                pending = pending or [await self._queue.get()]
                while len(pending) < MAX_BATCH and not self._queue.empty():
                    pending.append(self._queue.get_nowait())
                batch, deferred = _split_batch(pending)
                await self._commit(batch)
                pending = deferred
        finally:
            _fail(
                (future for _, future in [*pending, *_drain(self._queue)]), NotReady(STOPPED_DETAIL)
            )
            await self._connection.drop()

    async def _commit(self, batch: list[PendingChange]) -> None:
        changes = [change for change, _ in batch]
        try:
            rejected = await append(await self._connection.get(), self._lock, changes)
        except TooLarge as error:
            await self._singly(batch, error)
            return
        except Exception as error:  # noqa: BLE001  any failure must resolve every waiter
            # The outcome may be unknown: a command with a key can be sent again safely.
            await self._connection.drop()
            await self._singly(batch, error)
            return
        for n, (_, future) in enumerate(batch):
            if not future.done():
                future.set_result(_outcome(n, rejected))
        if len(batch) > len(rejected.conflicts) + len(rejected.duplicates):
            self._on_commit()

    async def _singly(self, batch: list[PendingChange], error: Exception) -> None:
        """Retry one by one: a bad value fails only its own change; a lost connection fails all."""
        if len(batch) == 1 or isinstance(error, CONNECTION_ERRORS):
            log.warning("%s commands not written: %r", len(batch), error)
            _fail((future for _, future in batch), error)
            return
        for item in batch:
            await self._commit([item])


def _split_batch(pending: list[PendingChange]) -> tuple[list[PendingChange], list[PendingChange]]:
    """Split changes into those of the next transaction and those deferred to the one after it."""
    batch: list[PendingChange] = []
    deferred: list[PendingChange] = []
    busy: set[UUID | str] = set()
    for queued in pending:
        change = queued[0]
        keys: set[UUID | str] = {change.request_id}
        if change.key:
            keys.add(change.key)
        (deferred if keys & busy else batch).append(queued)
        busy |= keys
    return batch, deferred


def _outcome(n: int, rejected: RejectedChanges) -> AppendOutcome:
    if n in rejected.duplicates:
        return "duplicate"
    return "conflict" if n in rejected.conflicts else "ok"


def _drain(queue: asyncio.Queue[Item]) -> list[Item]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


def _fail(futures: Iterable["asyncio.Future[Any]"], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
