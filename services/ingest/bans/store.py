"""Who is banned: kept in a table, and at hand in every replica."""

import asyncio
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from chassis.messaging.transaction import Tx
from chassis.service import Service
from ingest.domain.bans import Banned, Bans, kept

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


class Banlist:
    """The bans, read anew when their version is another than the one known."""

    def __init__(self) -> None:
        self.known = Bans()

    def shut_out(self, host: str | None) -> bool:
        """Whether nothing may come in from there, as far as is known here."""
        return self.known.shut_out(host)

    async def at(self, conn: AsyncConnection[Any], version: int) -> Bans:
        """Give the bans in force for whoever has seen that version, also one that was restored."""
        if version and version != self.known.version:
            rows = await (await conn.execute(ALL)).fetchall()
            self.known = Bans.of((kept(name) for _, name in rows), version)
        return self.known

    async def refresh(self, conn: AsyncConnection[Any]) -> None:
        """Look whether there is another version."""
        row = await (await conn.execute(VERSION)).fetchone()
        if row is not None:
            await self.at(conn, row[0])


async def follow(service: Service) -> None:
    """Have the door know, within a second, what others have changed; never looked up there."""
    bans: Banlist = service.state["bans"]
    while True:
        async with service.db.connection() as conn:
            await bans.refresh(conn)
        await asyncio.sleep(1)


async def put(tx: Tx, banned: Banned, reason: str | None, by: str) -> bool:
    """Ban somebody, for everybody at once; gives whether nobody had."""
    row = await (await tx.run(PUT, banned.name, banned.what, reason, by, tx.now)).fetchone()
    await tx.run(COUNT)
    return bool(row and row[0])


async def lift(tx: Tx, banned: Banned) -> bool:
    """Lift a ban; gives whether there was one."""
    gone = (await tx.run(LIFT, await _names_of(tx.conn, banned))).rowcount
    await tx.run(COUNT)
    return bool(gone)


async def one(conn: AsyncConnection[Any], banned: Banned) -> dict[str, Any] | None:
    """Give a ban: since when, by whom, and why."""
    cursor = conn.cursor(row_factory=dict_row)
    return await (await cursor.execute(ONE, (await _names_of(conn, banned),))).fetchone()


async def _names_of(conn: AsyncConnection[Any], banned: Banned) -> list[str]:
    """Give the names a ban is kept under: it may have been set before its form was what it is."""
    rows = await (await conn.execute(ALL)).fetchall()
    return [name for _, name in rows if kept(name) == banned]


async def some(conn: AsyncConnection[Any], after: str, limit: int) -> list[dict[str, Any]]:
    """List bans by name."""
    cursor = conn.cursor(row_factory=dict_row)
    return await (await cursor.execute(LIST, (after, limit))).fetchall()
