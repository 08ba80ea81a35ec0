"""Replays: a reader requests facts from their owner's PostgreSQL, and the owner publishes them.

Readers do so when they are behind, or for a parked fact that was repaired. The leader of the
owner's relay answers over the stream REDRIVE, never through a domain stream. A request without an
answer is repeated.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, LiteralString, NamedTuple
from uuid import uuid4

from nats.aio.msg import Msg

from chassis.errors import NotReady
from chassis.messaging.connections import Bus
from chassis.messaging.direct_get import DirectReader
from chassis.messaging.epochs import Epochs
from chassis.messaging.message import StreamMessage
from chassis.messaging.relay import Message, Row, message, publish_batch
from chassis.postgres.pool import Database

log = logging.getLogger(__name__)

STREAM = "REDRIVE"
REQUEST_ID = "Trunkline-Question"
"""The header with the id of the answered request: slot groups of a reader share a subject."""
END_OF_REPLAY = "Trunkline-End"
"""The header that marks the end of a replay."""
REQUEST_TIMEOUT_S = 3.0
FIRST_POLL_S, MAX_POLL_S = 0.01, 0.2
"""Seconds between two polls for an answer; they grow while none arrives."""
MAX_BATCH = 200

ROWS_AFTER: LiteralString = (
    "SELECT position, key, slot, sequence, type, body FROM outbox"
    " WHERE slot = %s AND position > %s AND (%s::bigint IS NULL OR position <= %s)"
    " ORDER BY position LIMIT %s"
)
ROWS_AT: LiteralString = (
    "SELECT position, key, slot, sequence, type, body FROM outbox"
    " WHERE position = ANY(%b::bigint[]) ORDER BY position"
)


async def request_replay(
    bus: Bus, stream: str, reader: str, query: dict[str, Any]
) -> AsyncGenerator[StreamMessage]:
    """Yield the facts that the stream's owner replays; repeat the request until the replay ends."""
    info = await bus.js.stream_info(STREAM)
    request = {"id": uuid4().hex, "service": bus.service, "reader": reader, **query}
    subject = f"redrive.{bus.service}.{reader}"
    async with DirectReader(bus.own, STREAM, subject, info.state.last_seq + 1) as answers:
        while True:
            await bus.nc.publish(f"replay.{stream.lower()}", json.dumps(request).encode())
            async with aclosing(_until_quiet(answers)) as items:
                async for item in items:
                    if item.headers.get(REQUEST_ID) != request["id"]:
                        continue
                    if END_OF_REPLAY in item.headers:
                        return
                    if "after" in request:  # an interrupted replay is continued, not restarted
                        request["after"] = max(request["after"], item.position or 0)
                    yield item
            if (await bus.js.stream_info(STREAM)).created != info.created:
                raise NotReady(f"{STREAM} was recreated")


async def _until_quiet(answers: DirectReader) -> AsyncGenerator[StreamMessage]:
    """Yield messages until none has arrived for `REQUEST_TIMEOUT_S`."""
    clock = asyncio.get_running_loop().time
    received_at, pause = clock(), FIRST_POLL_S
    while clock() - received_at < REQUEST_TIMEOUT_S:
        batch = await answers.batch(MAX_BATCH)
        for item in batch:
            yield item
        if batch:
            received_at, pause = clock(), FIRST_POLL_S
        else:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, MAX_POLL_S)


class ReplyAddress(NamedTuple):
    """The subject of an answer, and the id of its request."""

    subject: str
    request_id: str


class ReplayServer:
    """Answers replay requests while this replica leads the relay."""

    def __init__(self, service: str, db: Database, bus: Bus) -> None:
        self._service = service
        self._db = db
        self._bus = bus

    async def run(self) -> None:
        """Answer one request after the other."""
        requests: asyncio.Queue[bytes] = asyncio.Queue(maxsize=100)

        async def receive(msg: Msg) -> None:
            if not requests.full():
                requests.put_nowait(msg.data)

        sub = await self._bus.relay.nc.subscribe(f"replay.{self._service}", cb=receive)
        try:
            while True:
                await self._answer_or_log(await requests.get())
        finally:
            await sub.unsubscribe()

    async def _answer_or_log(self, body: bytes) -> None:
        """Answer; log a failure, since the reader repeats its request."""
        try:
            await self._answer(json.loads(body))
        except Exception as why:  # noqa: BLE001 (REDRIVE may be full, the request malformed)
            log.warning("a replay request is not answered: %r", why)

    async def _answer(self, request: dict[str, Any]) -> None:
        to = ReplyAddress(f"redrive.{request['service']}.{request['reader']}", request["id"])
        if "positions" in request:
            async with self._db.connection() as conn:
                rows: list[Any] = await (
                    await conn.execute(ROWS_AT, (request["positions"],))
                ).fetchall()
                epochs = await Epochs.load(conn)
            await self._publish_rows(to, rows, None, epochs)
            await self._publish_end(to)
            return
        after, slot, until = request["after"], request["slot"], request["until"]
        while True:
            async with self._db.connection() as conn:
                rows = await (
                    await conn.execute(ROWS_AFTER, (slot, after, until, until, MAX_BATCH))
                ).fetchall()
                epochs = await Epochs.load(conn)
            await self._publish_rows(to, rows, after, epochs)
            if len(rows) < MAX_BATCH:
                await self._publish_end(to)
                return
            after = rows[-1][0]

    async def _publish_rows(
        self, to: ReplyAddress, rows: Sequence[Row], after: int | None, epochs: Epochs
    ) -> None:
        messages: list[Message] = []
        for row in rows:
            subject, data, headers = message(row, after or 0, epochs.at(row[0]))
            headers["Trunkline-Subject"] = subject
            del headers["Nats-Msg-Id"]  # a repeated request must not be deduplicated
            messages.append((to.subject, data, headers | {REQUEST_ID: to.request_id}))
            after = row[0] if after is not None else None
        if messages:
            await publish_batch(self._bus, messages, None)

    async def _publish_end(self, to: ReplyAddress) -> None:
        await publish_batch(
            self._bus, [(to.subject, b"", {END_OF_REPLAY: "1", REQUEST_ID: to.request_id})], None
        )
