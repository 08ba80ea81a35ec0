"""A replica's copy of all workspace versions, from its service's table and the stream."""

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
"""Seconds between two polls of the stream without a hint of a new version."""
AFTER_HINT_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between polls after a hint: the new version may not be stored yet."""


class Workspaces:
    """All versions this replica has. `latest` is the number of the newest one; 0 without any."""

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
        """Return a version (0: the newest); raise `NotReady` when this replica does not have it."""
        number = number or self.latest
        if number not in self._read:
            if number not in self._documents:
                raise NotReady(f"version {number or 1} of the workspace has not arrived yet")
            self._read[number] = parse(self._documents[number])
        return self._read[number]

    async def wait(self, number: int) -> None:
        """Wait for a version; 0 means any. Do not call it in a transaction."""
        while self.latest < max(number, 1):
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), WAIT_TIMEOUT_S)
            except TimeoutError:
                log.warning("still waiting for version %s of the workspace", max(number, 1))
                await self.load()

    async def load(self) -> None:
        """Load new versions from the table."""
        async with self._pool.connection() as conn:
            rows = await (await conn.execute(NEWER, (self.latest,))).fetchall()
        for version, document in rows:
            self._documents[version] = document
            self.latest = version
        if rows:
            self._changed.set()
            self._changed = asyncio.Event()

    async def follow(self, connection: NatsConnection) -> None:
        """Store and load every version of the stream; raise when the connection breaks.

        A message on the subject is a hint of a new version, which may not be stored yet.
        """
        hint = asyncio.Event()

        async def receive(_: Msg) -> None:
            hint.set()

        sub = await connection.nc.subscribe(SUBJECT, cb=receive)
        try:
            async with DirectReader(connection, STREAM, SUBJECT, 1) as stream:
                created = None
                while True:
                    info = await connection.js.stream_info(STREAM)
                    if info.created != created:
                        created, stream.next = info.created, 1
                    await self._take(stream)
                    await self._wait(hint, stream)
        finally:
            if not connection.nc.is_closed:
                await sub.unsubscribe()

    async def _wait(self, hint: asyncio.Event, stream: DirectReader) -> None:
        """Wait for a hint and poll for its version, or for the next regular poll."""
        try:
            async with asyncio.timeout(POLL_INTERVAL_S):
                await hint.wait()
        except TimeoutError:
            return
        hint.clear()
        for pause in AFTER_HINT_S:
            if await self._take(stream):
                return
            await asyncio.sleep(pause)

    async def _take(self, stream: DirectReader) -> bool:
        """Store the messages there are; return whether there were any."""
        has_any = False
        while batch := await stream.batch(16):
            has_any = True
            for item in batch:
                await self._keep(item)
        return has_any

    async def _keep(self, item: StreamMessage) -> None:
        found = version_of(item.data)
        if found is not None and found[0] <= self.latest:
            return
        if found is None or parse_or_none(found[1]) is None:
            log.error("message %s of %s is no version: ignored", item.stream_sequence, STREAM)
            return
        version, document = found
        try:
            async with self._pool.connection() as conn:
                await conn.execute(INSERT_VERSION, (version, Json(document)))
        except psycopg.DataError as why:
            log.warning("version %s cannot be stored, and is ignored: %s", version, why)
            return
        await self.load()

    async def refill(self, js: JetStreamContext) -> None:
        """Publish again the versions the stream has lost, if this service's table is the record."""
        await self.load()
        version, _, last = await newest_in_stream(js)
        try:
            for number in sorted(n for n in self._documents if n > version):
                last = await publish(js, number, self._documents[number], last)
                log.warning("version %s of the workspace was published again", number)
        except Conflict:
            log.info("another replica is refilling the stream of workspaces")
