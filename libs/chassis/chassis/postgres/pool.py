"""The service's PostgreSQL: a connection pool, and dedicated connections for leader election."""

import select
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
from psycopg_pool import AsyncConnectionPool

from chassis.postgres.array_dumpers import ARRAY_ADAPTERS

KEEPALIVE_SETTINGS = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;"
    " SET idle_session_timeout = '10s'"
)
"""Keepalives detect a vanished client, the idle timeout a frozen one; then its locks are free."""

RECONNECT_TIMEOUT_S = 2.0
"""Seconds during which the pool retries to replace a lost connection, with growing pauses. After
that the next caller starts a new attempt, so a service is back as soon as the server is.
"""


def is_connected(conn: psycopg.AsyncConnection) -> bool:
    """Return whether a connection is open, as far as is known without a query.

    The server sends nothing to an idle connection, except when it closes it.
    """
    if conn.closed or conn.lock.locked():
        return not conn.closed
    reading = select.poll()
    reading.register(conn.fileno(), select.POLLIN)
    return not reading.poll(0)


class Pool(AsyncConnectionPool[psycopg.AsyncConnection]):
    """A pool that skips closed connections, so no command fails after a restart of the server."""

    async def getconn(self, timeout: float | None = None) -> psycopg.AsyncConnection:
        """Return an open connection; replace closed ones."""
        while not is_connected(conn := await super().getconn(timeout)):
            await conn.close()
            await self.putconn(conn)
        return conn


class Database:
    """One service's schema, reached as the service's own role."""

    def __init__(self, dsn: str, size: int = 8) -> None:
        self.dsn = dsn
        self.pool = Pool(
            dsn,
            min_size=2,
            max_size=size,
            timeout=5,
            reconnect_timeout=RECONNECT_TIMEOUT_S,
            open=False,
            kwargs={"autocommit": True, "context": ARRAY_ADAPTERS},
        )

    async def open(self) -> None:
        """Connect; raise `PoolTimeout` when the server does not answer within 10 s."""
        await self.pool.open(wait=True, timeout=10)

    async def close(self) -> None:
        """Close all connections."""
        await self.pool.close(timeout=2)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[psycopg.AsyncConnection]:
        """Borrow an autocommit connection, for reading."""
        async with self.pool.connection() as conn:
            yield conn

    async def dedicated_connection(self) -> psycopg.AsyncConnection:
        """Open a connection outside the pool, whose loss the server detects within 12 s."""
        conn = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True, connect_timeout=5)
        for statement in KEEPALIVE_SETTINGS.split(";"):
            await conn.execute(statement.encode())
        return conn
