"""One transaction of a service: what it changes and what it says are committed together."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import TupleRow

from chassis.errors import TooLarge
from chassis.messaging.message import StreamMessage
from chassis.observability.tracing import traceparent
from chassis.postgres.pool import Database
from trunkline_contracts.fact import Fact, slot_of

APPEND = b"SELECT outbox_append(%b, %b::text[], %b::int[], %b::text[], %b::bytea[])"
LOCK = b"SELECT pg_advisory_xact_lock(%b)"
MAX_FACT_BYTES = 1_000_000
"""Bytes a fact's body may have: NATS takes 1 MiB of its envelope, its headers and itself."""


def check_size(type_: str, body: bytes) -> bytes:
    """Give a fact's body, if it can be told; what was recorded and cannot would stop the relay."""
    if len(body) > MAX_FACT_BYTES:
        raise TooLarge(f"{type_} would have {len(body)} bytes; it may have {MAX_FACT_BYTES}")
    return body


class Tx:
    """An open transaction, its instant, and the facts that will be recorded when it ends."""

    def __init__(
        self,
        conn: psycopg.AsyncConnection[TupleRow],
        now: datetime,
        lock: int,
        workspace: int = 0,
        slots: tuple[int, ...] | None = None,
    ) -> None:
        self.conn = conn
        self.now = now
        self.workspace = workspace
        self.slots = slots
        self.recorded: list[Fact] = []
        self.deferred: list[Fact] = []
        self.source_messages: Sequence[StreamMessage] = ()
        """In a reader, the messages that what is being applied came in, one for each."""
        self.has_appended = False
        self._lock = lock
        self._bodies: list[bytes] = []

    async def run(
        self, sql: LiteralString, *params: Any, binary: bool = False
    ) -> psycopg.AsyncCursor[TupleRow]:
        """Execute a prepared statement."""
        return await self.conn.execute(sql, params or None, prepare=True, binary=binary)

    def record(self, *facts: Fact, cause: Fact | None = None) -> None:
        """Have facts recorded last, under the service's lock, which numbers them.

        A fact that names no workspace version gets this transaction's; `cause` hands its trace on.
        Raises `TooLarge` for one that could not be told.
        """
        told: dict[str, Any] = {}
        if cause is not None:
            told = {
                "causationid": str(cause.id),
                "correlationid": cause.correlationid or str(cause.id),
                "traceparent": cause.traceparent,
            }
        elif (parent := traceparent()) is not None:
            told = {"traceparent": parent}
        for fact in facts:
            missing = {k: v for k, v in told.items() if getattr(fact, k) is None}
            if not fact.workspace and self.workspace:
                missing["workspace"] = self.workspace
            said = fact.model_copy(update=missing) if missing else fact
            self._bodies.append(check_size(said.type, said.body()))
            self.recorded.append(said)

    def discard_recorded(self) -> None:
        """Have nothing recorded of what was said until now."""
        self.recorded.clear()
        self._bodies.clear()

    def defer(self, fact: Fact) -> None:
        """Keep a fact whose request is not known here yet, and hear it again soon."""
        self.deferred.append(fact)

    async def lock(self) -> None:
        """Take the service's lock now: from here on this transaction decides alone."""
        await self.conn.execute(LOCK, (self._lock,), prepare=True)

    async def flush(self) -> None:
        """Record what was said. Called once, last."""
        if not self.recorded:
            return
        keys = [fact.subject for fact in self.recorded]
        args: Sequence[Any] = (
            self._lock,
            keys,
            [slot_of(key) for key in keys],
            [fact.type for fact in self.recorded],
            self._bodies,
        )
        await self.conn.execute(APPEND, args, prepare=True)
        self.has_appended = True


@asynccontextmanager
async def transaction(
    db: Database,
    clock: Callable[[], datetime],
    lock: int,
    *,
    workspace: int = 0,
    slots: tuple[int, ...] | None = None,
) -> AsyncGenerator[Tx]:
    """Open a transaction; commit it, and what it said, when the block ends well."""
    async with db.pool.connection() as conn, conn.transaction():
        tx = Tx(conn, clock(), lock, workspace, slots)
        yield tx
        await tx.flush()
