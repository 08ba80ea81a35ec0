"""A replica's copy of all versions: from its service's table, fed by the stream.

Long: what is kept, and what is awaited, are one copy.
"""

import asyncio
import logging
from typing import Any

import psycopg
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from psycopg import AsyncConnection
from psycopg.types.json import Json
from psycopg_pool import AsyncConnectionPool

from chassis.configuration.publishing import (
    STREAM,
    SUBJECT,
    Conflict,
    newest_in_stream,
    parse_or_none,
    publish,
    version_of,
)
from chassis.errors import NotReady
from chassis.messaging.connections import NatsConnection
from chassis.messaging.direct_get import DirectReader
from chassis.messaging.message import StreamMessage
from trunkline_workspace.document import Workspace
from trunkline_workspace.reading import parse

log = logging.getLogger(__name__)

NEWER = "SELECT version, document FROM workspace WHERE version > %s ORDER BY version"
INSERT_VERSION = "INSERT INTO workspace (version, document) VALUES (%s, %s) ON CONFLICT DO NOTHING"
WAIT_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 5.0
"""Seconds between looks at the stream while nobody says that there is something new."""
AFTER_HINT_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between looks once somebody does: it may not be stored yet."""


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
                await asyncio.wait_for(changed.wait(), WAIT_TIMEOUT_S)
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

    async def follow(self, connection: NatsConnection) -> None:
        """Keep every version the stream has, and take it in; raises when the line breaks.

        A message under the subject says that there is one more, perhaps before it is stored.
        """
        told = asyncio.Event()

        async def heard(_: Msg) -> None:
            told.set()

        sub = await connection.nc.subscribe(SUBJECT, cb=heard)
        try:
            async with DirectReader(connection, STREAM, SUBJECT, 1) as stream:
                created = None
                while True:
                    info = await connection.js.stream_info(STREAM)
                    if info.created != created:
                        created, stream.next = info.created, 1
                    await self._take(stream)
                    await self._wait(told, stream)
        finally:
            if not connection.nc.is_closed:
                await sub.unsubscribe()

    async def _wait(self, told: asyncio.Event, stream: DirectReader) -> None:
        """Wait for the next version, or until it is time to look again."""
        try:
            async with asyncio.timeout(POLL_INTERVAL_S):
                await told.wait()
        except TimeoutError:
            return
        told.clear()
        for pause in AFTER_HINT_S:
            if await self._take(stream):
                return
            await asyncio.sleep(pause)

    async def _take(self, stream: DirectReader) -> bool:
        """Keep what there is; tells whether there was anything."""
        anything = False
        while batch := await stream.batch(16):
            anything = True
            for item in batch:
                await self._keep(item)
        return anything

    async def _keep(self, item: StreamMessage) -> None:
        told = version_of(item.data)
        if told is not None and told[0] <= self.latest:
            return
        if told is None or parse_or_none(told[1]) is None:
            log.error("message %s of %s is no version: ignored", item.stream_sequence, STREAM)
            return
        version, document = told
        try:
            async with self._pool.connection() as conn:
                await conn.execute(INSERT_VERSION, (version, Json(document)))
        except psycopg.DataError as why:
            log.warning("version %s cannot be kept, and is ignored: %s", version, why)
            return
        await self.load()

    async def refill(self, js: JetStreamContext) -> None:
        """Tell the stream again what it has lost. For the service whose table is the record."""
        await self.load()
        version, _, last = await newest_in_stream(js)
        try:
            for number in sorted(n for n in self._documents if n > version):
                last = await publish(js, number, self._documents[number], last)
                log.warning("version %s of the workspace was told again", number)
        except Conflict:
            log.info("somebody else is telling the stream of workspaces")
