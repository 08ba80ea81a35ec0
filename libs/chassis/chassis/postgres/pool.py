"""The service's PostgreSQL: a pool for work, lone connections for offices that die alone."""

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
"""Keepalives notice a vanished client, its silence a frozen one; its locks are free then."""

RECONNECT_TIMEOUT_S = 2.0
"""Seconds for which the pool tries to replace a lost connection, ever more rarely. After that the
next who needs one tries anew: services are back as soon as the server is, however long it was away.
"""


def is_connected(conn: psycopg.AsyncConnection) -> bool:
    """Whether a connection is still one, as far as is known here; nobody is asked.

    To a connection nobody uses the server says nothing: what can be read is its goodbye.
    """
    if conn.closed or conn.lock.locked():
        return not conn.closed
    reading = select.poll()
    reading.register(conn.fileno(), select.POLLIN)
    return not reading.poll(0)


class Pool(AsyncConnectionPool[psycopg.AsyncConnection]):
    """Gives no connection that the server has ended: after its restart not one command fails."""

    async def getconn(self, timeout: float | None = None) -> psycopg.AsyncConnection:
        """Give one that lives; the others are replaced."""
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
        """Connect; raises when the server does not answer within 10 s."""
        await self.pool.open(wait=True, timeout=10)

    async def close(self) -> None:
        """Give all connections back."""
        await self.pool.close(timeout=2)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[psycopg.AsyncConnection]:
        """Borrow a connection in autocommit, for reading."""
        async with self.pool.connection() as conn:
            yield conn

    async def dedicated_connection(self) -> psycopg.AsyncConnection:
        """Open a connection outside the pool whose death the server notices within 12 s."""
        conn = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True, connect_timeout=5)
        for statement in KEEPALIVE_SETTINGS.split(";"):
            await conn.execute(statement.encode())
        return conn
