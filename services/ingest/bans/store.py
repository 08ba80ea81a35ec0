"""Storage of bans, and a cache of them in every replica."""

import asyncio
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from chassis.messaging.transaction import Tx
from chassis.service import Service
from ingest.domain.bans import Ban, BanSet, normalize_ban

VERSION: LiteralString = "SELECT version FROM ban_version WHERE id = 1 LIMIT 1"
ALL: LiteralString = "SELECT what, name FROM ban"
PUT: LiteralString = """
INSERT INTO ban (name, what, reason, by, at) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (name) DO UPDATE SET reason = EXCLUDED.reason, by = EXCLUDED.by, at = EXCLUDED.at
RETURNING (xmax = 0)"""
LIFT: LiteralString = "DELETE FROM ban WHERE name = ANY(%s)"
COUNT: LiteralString = "UPDATE ban_version SET version = version + 1 WHERE id = 1"
LIST: LiteralString = """
SELECT name AS contact, what, reason, by, at FROM ban WHERE name > %s ORDER BY name LIMIT %s"""
ONE: LiteralString = "SELECT name AS contact, what, reason, by, at FROM ban WHERE name = ANY(%s)"


class BanCache:
    """The bans in force, loaded again when their version changes."""

    def __init__(self) -> None:
        self.current = BanSet()

    def blocks_host(self, host: str | None) -> bool:
        """Return whether deliveries from this host are refused, by the cached bans."""
        return self.current.blocks_host(host)

    async def at(self, conn: AsyncConnection[Any], version: int) -> BanSet:
        """Return the bans of this version, also when a restore made it an older one."""
        if version and version != self.current.version:
            rows = await (await conn.execute(ALL)).fetchall()
            self.current = BanSet.from_bans((normalize_ban(name) for _, name in rows), version)
        return self.current

    async def refresh(self, conn: AsyncConnection[Any]) -> None:
        """Load the bans if there is a newer version."""
        row = await (await conn.execute(VERSION)).fetchone()
        if row is not None:
            await self.at(conn, row[0])


async def follow(service: Service) -> None:
    """Refresh the gateway's cache every second, so that requests need no lookup."""
    bans: BanCache = service.state["bans"]
    while True:
        async with service.db.connection() as conn:
            await bans.refresh(conn)
        await asyncio.sleep(1)


async def put(tx: Tx, banned: Ban, reason: str | None, by: str) -> bool:
    """Store a ban; return whether it is new."""
    row = await (await tx.run(PUT, banned.name, banned.kind, reason, by, tx.now)).fetchone()
    await tx.run(COUNT)
    return bool(row and row[0])


async def lift(tx: Tx, banned: Ban) -> bool:
    """Delete a ban; return whether there was one."""
    gone = (await tx.run(LIFT, await _names_of(tx.conn, banned))).rowcount
    await tx.run(COUNT)
    return bool(gone)


async def one(conn: AsyncConnection[Any], banned: Ban) -> dict[str, Any] | None:
    """Return a ban with its author, time and reason."""
    cursor = conn.cursor(row_factory=dict_row)
    return await (await cursor.execute(ONE, (await _names_of(conn, banned),))).fetchone()


async def _names_of(conn: AsyncConnection[Any], banned: Ban) -> list[str]:
    """Return the stored names of a ban: it may be stored in an older form."""
    rows = await (await conn.execute(ALL)).fetchall()
    return [name for _, name in rows if normalize_ban(name) == banned]


async def some(conn: AsyncConnection[Any], after: str, limit: int) -> list[dict[str, Any]]:
    """Return up to `limit` bans by name, after a name."""
    cursor = conn.cursor(row_factory=dict_row)
    return await (await cursor.execute(LIST, (after, limit))).fetchall()
