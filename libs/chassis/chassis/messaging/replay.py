"""Telling again: a reader that fell behind, or whose parked fact was repaired, asks for it.

The question goes to whoever leads the owner's relay; the answer comes over the stream REDRIVE,
never through a domain stream. A question without an answer is asked again. Long: it has both sides.
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
"""The header that says which question is answered: groups of one reader share a subject."""
END_OF_REPLAY = "Trunkline-End"
"""The header of the message behind the last one of an answer."""
REQUEST_TIMEOUT_S = 3.0
FIRST_POLL_S, MAX_POLL_S = 0.01, 0.2
"""Seconds between looks for an answer: they grow while nothing comes."""
BATCH = 200

RANGE: LiteralString = (
    "SELECT position, key, slot, sequence, type, body FROM outbox"
    " WHERE slot = %s AND position > %s AND (%s::bigint IS NULL OR position <= %s)"
    " ORDER BY position LIMIT %s"
)
EXACT: LiteralString = (
    "SELECT position, key, slot, sequence, type, body FROM outbox"
    " WHERE position = ANY(%b::bigint[]) ORDER BY position"
)


async def request_replay(
    bus: Bus, stream: str, reader: str, want: dict[str, Any]
) -> AsyncGenerator[StreamMessage]:
    """Yield what the stream's owner tells again, to the end of its answer."""
    info = await bus.js.stream_info(STREAM)
    question = {"id": uuid4().hex, "service": bus.service, "reader": reader, **want}
    subject = f"redrive.{bus.service}.{reader}"
    async with DirectReader(bus.own, STREAM, subject, info.state.last_seq + 1) as answers:
        while True:
            await bus.nc.publish(f"replay.{stream.lower()}", json.dumps(question).encode())
            async with aclosing(_until_quiet(answers)) as items:
                async for item in items:
                    if item.headers.get(REQUEST_ID) != question["id"]:
                        continue
                    if END_OF_REPLAY in item.headers:
                        return
                    if "after" in question:  # an answer that broke off is not begun again
                        question["after"] = max(question["after"], item.position or 0)
                    yield item
            if (await bus.js.stream_info(STREAM)).created != info.created:
                raise NotReady(f"{STREAM} has been made anew")


async def _until_quiet(answers: DirectReader) -> AsyncGenerator[StreamMessage]:
    """Yield what comes until nothing has come for `REQUEST_TIMEOUT_S` seconds."""
    clock = asyncio.get_running_loop().time
    heard_at, pause = clock(), FIRST_POLL_S
    while clock() - heard_at < REQUEST_TIMEOUT_S:
        batch = await answers.batch(BATCH)
        for item in batch:
            yield item
        if batch:
            heard_at, pause = clock(), FIRST_POLL_S
        else:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, MAX_POLL_S)


class ReplyAddress(NamedTuple):
    """Where an answer goes."""

    subject: str
    question: str


class ReplayServer:
    """The owner's side: answers questions for as long as this replica leads the relay."""

    def __init__(self, service: str, db: Database, bus: Bus) -> None:
        self._service = service
        self._db = db
        self._bus = bus

    async def run(self) -> None:
        """Answer, one question after the other."""
        questions: asyncio.Queue[bytes] = asyncio.Queue(maxsize=100)

        async def heard(msg: Msg) -> None:
            if not questions.full():
                questions.put_nowait(msg.data)

        sub = await self._bus.relay.nc.subscribe(f"replay.{self._service}", cb=heard)
        try:
            while True:
                await self._answer_or_log(await questions.get())
        finally:
            await sub.unsubscribe()

    async def _answer_or_log(self, question: bytes) -> None:
        """Answer, or leave it to the reader to ask again: telling goes on in any case."""
        try:
            await self._answer(json.loads(question))
        except Exception as why:  # noqa: BLE001 (REDRIVE may be full, the question malformed)
            log.warning("a question for a replay is not answered: %r", why)

    async def _answer(self, want: dict[str, Any]) -> None:
        to = ReplyAddress(f"redrive.{want['service']}.{want['reader']}", want["id"])
        if "positions" in want:
            async with self._db.connection() as conn:
                rows: list[Any] = await (await conn.execute(EXACT, (want["positions"],))).fetchall()
                epochs = await Epochs.load(conn)
            await self._publish_rows(to, rows, None, epochs)
            await self._publish_end(to)
            return
        after, slot, until = want["after"], want["slot"], want["until"]
        while True:
            async with self._db.connection() as conn:
                rows = await (
                    await conn.execute(RANGE, (slot, after, until, until, BATCH))
                ).fetchall()
                epochs = await Epochs.load(conn)
            await self._publish_rows(to, rows, after, epochs)
            if len(rows) < BATCH:
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
            del headers["Nats-Msg-Id"]  # asked twice is told twice
            messages.append((to.subject, data, headers | {REQUEST_ID: to.question}))
            after = row[0] if after is not None else None
        if messages:
            await publish_batch(self._bus, messages, None)

    async def _publish_end(self, to: ReplyAddress) -> None:
        await publish_batch(
            self._bus, [(to.subject, b"", {END_OF_REPLAY: "1", REQUEST_ID: to.question})], None
        )
