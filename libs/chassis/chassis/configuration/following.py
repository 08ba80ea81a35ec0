"""A replica's copy of all versions: from its service's table, fed by the stream."""

import asyncio
import json
import logging
from typing import Any

from nats.js import JetStreamContext
from psycopg import AsyncConnection
from psycopg.types.json import Json
from psycopg_pool import AsyncConnectionPool

from chassis.configuration.publishing import STREAM, SUBJECT, Conflict, publish, standing
from chassis.errors import NotReady
from chassis.messaging.connections import Line
from chassis.messaging.pull_consumer import Pull
from trunkline_workspace.document import Workspace
from trunkline_workspace.reading import parse

log = logging.getLogger(__name__)

NEWER = "SELECT version, document FROM workspace WHERE version > %s ORDER BY version"
KEEP = "INSERT INTO workspace (version, document) VALUES (%s, %s) ON CONFLICT DO NOTHING"
PATIENCE = 10.0


class Workspaces:
    """Every version this replica has. `latest` is the newest one's number, 0 when there is none."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection]) -> None:
        self.latest = 0
        self._pool = pool
        self._documents: dict[int, dict[str, Any]] = {}
        self._read: dict[int, Workspace] = {}
        self._changed = asyncio.Event()

    @property
    def current(self) -> Workspace:
        """The newest version; raises `NotReady` when there is none yet."""
        return self.version(self.latest)

    def version(self, number: int) -> Workspace:
        """Give a version (0: the newest); raises `NotReady` when this replica does not have it."""
        number = number or self.latest
        if number not in self._read:
            if number not in self._documents:
                raise NotReady(f"version {number or 1} of the workspace is not here yet")
            self._read[number] = parse(self._documents[number])
        return self._read[number]

    async def wait(self, number: int) -> None:
        """Wait until a version is here; 0 means any. Call it holding no transaction."""
        while self.latest < max(number, 1):
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), PATIENCE)
            except TimeoutError:
                log.warning("still waiting for version %s of the workspace", max(number, 1))
                await self.load()

    async def load(self) -> None:
        """Take in what the table has."""
        async with self._pool.connection() as conn:
            rows = await (await conn.execute(NEWER, (self.latest,))).fetchall()
        for version, document in rows:
            self._documents[version] = document
            self.latest = version
        if rows:
            self._changed.set()
            self._changed = asyncio.Event()

    async def follow(self, line: Line) -> None:
        """Keep every version the stream has, and take it in; raises when the line breaks."""
        async with Pull(line, STREAM, [SUBJECT], 1, own_positions=True) as pull:
            while True:
                for item in await pull.take(limit=16, wait=1.0):
                    await self._keep(item.data)

    async def _keep(self, data: bytes) -> None:
        told = json.loads(data)
        if told["version"] <= self.latest:
            return
        async with self._pool.connection() as conn:
            await conn.execute(KEEP, (told["version"], Json(told["document"])))
        await self.load()

    async def refill(self, js: JetStreamContext) -> None:
        """Tell the stream again what it has lost. For the service whose table is the record."""
        await self.load()
        version, _, last = await standing(js)
        try:
            for number in sorted(n for n in self._documents if n > version):
                last = await publish(js, number, self._documents[number], last)
                log.warning("version %s of the workspace was told again", number)
        except Conflict:
            log.info("somebody else is telling the stream of workspaces")
