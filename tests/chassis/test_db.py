"""What becomes of connections when PostgreSQL ends them, or is away for a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from faults.records import query

from chassis.postgres.pool import Database

if TYPE_CHECKING:
    from world import World

END_ALL = "SELECT count(pg_terminate_backend(pid, 1000)) FROM pg_stat_activity WHERE usename = %s"


async def test_after_a_restart_of_the_server_not_one_command_fails(world: World) -> None:
    db = Database(world.dsn("sla"), size=4)
    await db.open()
    try:

        async def ask() -> int:
            async with db.connection() as conn:
                await asyncio.sleep(0.05)
                return (await (await conn.execute("SELECT pg_backend_pid()")).fetchone() or (0,))[0]

        before = set(await asyncio.gather(*[ask() for _ in range(4)]))
        assert len(before) == 4
        assert await query(world.admin_dsn, END_ALL, "sla") == [(4,)]

        after = set(await asyncio.gather(*[ask() for _ in range(4)]))
        assert not before & after
    finally:
        await db.close()


async def test_the_next_who_needs_it_finds_the_server_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was away: nobody waits for the next of ever rarer attempts."""
    monkeypatch.setattr("chassis.postgres.pool.RECONNECT_TIMEOUT_S", 0.3)
    db = Database(world.dsn("sla"), size=2)
    await db.open()
    limit = f"ALTER DATABASE {world.database} CONNECTION LIMIT "
    try:
        await query(world.postgres.url, limit + "0")
        await query(world.admin_dsn, END_ALL, "sla")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.3), db.connection():
                raise AssertionError("nobody is let in")
        await query(world.postgres.url, limit + "-1")
        async with asyncio.timeout(1), db.connection() as conn:
            assert await (await conn.execute("SELECT 1")).fetchone() == (1,)
    finally:
        await db.close()
