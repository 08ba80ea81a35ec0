"""A transaction of a service: its changes and the facts it records are committed together."""

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
"""The largest body of a fact: NATS accepts 1 MiB with envelope and headers."""


def check_size(type_: str, body: bytes) -> bytes:
    """Return a fact's body; raise `TooLarge` for one that would stop the relay once recorded."""
    if len(body) > MAX_FACT_BYTES:
        raise TooLarge(
            f"{type_} would have {len(body)} bytes; at most {MAX_FACT_BYTES} are allowed"
        )
    return body


class Tx:
    """An open transaction, its time, and the facts to record at its end."""

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
        """In a reader, the message of each body that is being applied."""
        self.has_appended = False
        self._lock = lock
        self._bodies: list[bytes] = []

    async def run(
        self, sql: LiteralString, *params: Any, binary: bool = False
    ) -> psycopg.AsyncCursor[TupleRow]:
        """Execute a prepared statement."""
        return await self.conn.execute(sql, params or None, prepare=True, binary=binary)

    def record(self, *facts: Fact, cause: Fact | None = None) -> None:
        """Record facts at the end of the transaction, under the service's lock, which numbers them.

        A fact without a workspace version gets this transaction's; `cause` passes its trace on.
        Raises `TooLarge` for a fact that could not be published.
        """
        trace: dict[str, Any] = {}
        if cause is not None:
            trace = {
                "causationid": str(cause.id),
                "correlationid": cause.correlationid or str(cause.id),
                "traceparent": cause.traceparent,
            }
        elif (parent := traceparent()) is not None:
            trace = {"traceparent": parent}
        for fact in facts:
            missing = {k: v for k, v in trace.items() if getattr(fact, k) is None}
            if not fact.workspace and self.workspace:
                missing["workspace"] = self.workspace
            complete = fact.model_copy(update=missing) if missing else fact
            self._bodies.append(check_size(complete.type, complete.body()))
            self.recorded.append(complete)

    def discard_recorded(self) -> None:
        """Discard the facts recorded so far."""
        self.recorded.clear()
        self._bodies.clear()

    def defer(self, fact: Fact) -> None:
        """Defer a fact whose request is not known here yet; it is retried soon."""
        self.deferred.append(fact)

    async def lock(self) -> None:
        """Take the service's lock now, so that decisions are taken one at a time."""
        await self.conn.execute(LOCK, (self._lock,), prepare=True)

    async def flush(self) -> None:
        """Write the recorded facts to the outbox. Call it once, at the end."""
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
    """Open a transaction; commit it with its recorded facts when the block raises nothing."""
    async with db.pool.connection() as conn, conn.transaction():
        tx = Tx(conn, clock(), lock, workspace, slots)
        yield tx
        await tx.flush()
