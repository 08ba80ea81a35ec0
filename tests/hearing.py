"""A service that says and one that hears, in a test's own world."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg

from chassis.app import build
from chassis.errors import Refused
from chassis.messaging.reader import Reader
from chassis.postgres.locks import lock_key
from chassis.settings import Settings
from chassis.testing import eventually, running
from trunkline_contracts import MessageReceived

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    import httpx
    from world import World

    from chassis.messaging.transaction import Tx
    from chassis.service import Service
    from trunkline_contracts.fact import Fact

HEARD = "INSERT INTO heard (request_id, sequence, type) VALUES (%s, %s, %s)"


async def keep(tx: Tx, facts: Sequence[Fact]) -> None:
    """Write down what was heard; a text of 'refuse' is refused."""
    for fact in facts:
        if isinstance(fact, MessageReceived) and fact.message.text == "refuse":
            raise Refused("no such text")
        await tx.run(HEARD, fact.subject, fact.sequence, fact.type)


class Pair:
    """A service that says and one that hears, in this test's loop."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def prepare(self) -> None:
        table = "CREATE TABLE heard (n bigserial, request_id text, sequence bigint, type text)"
        await self.world.sql("tickets", table)
        await self.world.sql("tickets", "GRANT ALL ON heard TO tickets")
        await self.world.sql("tickets", "GRANT ALL ON SEQUENCE heard_n_seq TO tickets")
        await self.world.apply()

    @asynccontextmanager
    async def hearer(
        self, readers: str = "1", reader: Reader | None = None
    ) -> AsyncGenerator[tuple[Service, httpx.AsyncClient]]:
        settings = self.world.settings("tickets", Settings, READERS=readers)
        app = build("tickets", settings, readers=lambda _: [reader or Reader("INGEST", keep)])
        async with running(app) as client:
            yield app.state.service, client

    @asynccontextmanager
    async def sayer(self) -> AsyncGenerator[Service]:
        app = build("ingest", self.world.settings("ingest", Settings))
        async with running(app):
            yield app.state.service

    @asynccontextmanager
    async def relay_held_back(self) -> AsyncGenerator[None]:
        """Keep anybody from publishing what ingest says."""
        async with await psycopg.AsyncConnection.connect(self.world.admin_dsn) as conn:
            await conn.execute("SELECT pg_advisory_lock(%s)", (lock_key("relay", "ingest/relay"),))
            yield

    async def heard(self) -> list[tuple[str, int]]:
        rows = await self.world.sql("tickets", "SELECT request_id, sequence FROM heard ORDER BY n")
        return [(key, sequence) for key, sequence in rows]

    async def hears(self, n: int) -> list[tuple[str, int]]:
        async def enough() -> list[tuple[str, int]]:
            heard = await self.heard()
            assert len(heard) >= n
            return heard

        return await eventually(enough)
