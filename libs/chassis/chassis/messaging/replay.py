"""Telling again: a reader that fell behind, or whose parked fact was repaired, asks for it.

The question goes to whoever leads the owner's relay; the answer comes over the stream REDRIVE,
never through a domain stream. A question without an answer is asked again.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any, LiteralString, NamedTuple
from uuid import uuid4

from nats.aio.msg import Msg

from chassis.messaging.connections import Bus
from chassis.messaging.message import Incoming
from chassis.messaging.pull_consumer import Pull
from chassis.messaging.relay import Message, Row, message, publish_batch
from chassis.postgres.pool import Database

log = logging.getLogger(__name__)

STREAM = "REDRIVE"
QUESTION = "Trunkline-Question"
"""The header that says which question is answered: groups of one reader share a subject."""
END = "Trunkline-End"
"""The header of the message behind the last one of an answer."""
PATIENCE = 3.0
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


async def ask(bus: Bus, stream: str, reader: str, want: dict[str, Any]) -> AsyncGenerator[Incoming]:
    """Yield what the stream's owner tells again, to the end of its answer."""
    info = await bus.js.stream_info(STREAM)
    question = {"id": uuid4().hex, "service": bus.service, "reader": reader, **want}
    filters = [f"redrive.{bus.service}.{reader}"]
    async with Pull(bus.own, STREAM, filters, info.state.last_seq + 1, own_positions=False) as pull:
        while True:
            await bus.nc.publish(f"replay.{stream.lower()}", json.dumps(question).encode())
            while batch := await pull.take(BATCH, PATIENCE):
                for item in batch:
                    if item.headers.get(QUESTION) != question["id"]:
                        continue
                    if END in item.headers:
                        return
                    if "after" in question:  # an answer that broke off is not begun again
                        question["after"] = max(question["after"], item.position or 0)
                    yield item


class Address(NamedTuple):
    """Where an answer goes."""

    subject: str
    question: str


class Replays:
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
                await self._try(await questions.get())
        finally:
            await sub.unsubscribe()

    async def _try(self, question: bytes) -> None:
        """Answer, or leave it to the reader to ask again: telling goes on in any case."""
        try:
            await self._answer(json.loads(question))
        except Exception as why:  # noqa: BLE001 (REDRIVE may be full, the question malformed)
            log.warning("a question for a replay is not answered: %r", why)

    async def _answer(self, want: dict[str, Any]) -> None:
        to = Address(f"redrive.{want['service']}.{want['reader']}", want["id"])
        if "positions" in want:
            async with self._db.connection() as conn:
                rows: list[Any] = await (await conn.execute(EXACT, (want["positions"],))).fetchall()
            await self._tell(to, rows, None)
            await self._end(to)
            return
        after, slot, until = want["after"], want["slot"], want["until"]
        while True:
            async with self._db.connection() as conn:
                rows = await (
                    await conn.execute(RANGE, (slot, after, until, until, BATCH))
                ).fetchall()
            await self._tell(to, rows, after)
            if len(rows) < BATCH:
                await self._end(to)
                return
            after = rows[-1][0]

    async def _tell(self, to: Address, rows: Sequence[Row], after: int | None) -> None:
        messages: list[Message] = []
        for row in rows:
            subject, data, headers = message(row, after or 0)
            headers["Trunkline-Subject"] = subject
            del headers["Nats-Msg-Id"]  # asked twice is told twice
            messages.append((to.subject, data, headers | {QUESTION: to.question}))
            after = row[0] if after is not None else None
        if messages:
            await publish_batch(self._bus, messages, None)

    async def _end(self, to: Address) -> None:
        await publish_batch(self._bus, [(to.subject, b"", {END: "1", QUESTION: to.question})], None)
