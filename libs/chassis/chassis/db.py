"""The service's PostgreSQL: a pool for work, lone connections for offices that die alone."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
from psycopg_pool import AsyncConnectionPool

from chassis.columns import COLUMNS

LIVELY = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;"
    " SET idle_session_timeout = '10s'"
)
"""Keepalives notice a vanished client, its silence a frozen one; its locks are free then."""


class Database:
    """One service's schema, reached as the service's own role."""

    def __init__(self, dsn: str, size: int = 8) -> None:
        self.dsn = dsn
        self.pool: AsyncConnectionPool[psycopg.AsyncConnection] = AsyncConnectionPool(
            dsn,
            min_size=2,
            max_size=size,
            timeout=5,
            open=False,
            kwargs={"autocommit": True, "context": COLUMNS},
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

    async def lone(self) -> psycopg.AsyncConnection:
        """Open a connection outside the pool whose death the server notices within 12 s."""
        conn = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True, connect_timeout=5)
        for statement in LIVELY.split(";"):
            await conn.execute(statement.encode())
        return conn
