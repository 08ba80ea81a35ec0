"""Publishing into INBOUND: what has come while the last batch was being stored is the next one.

Each stored message costs the server an fsync, and an atomic batch some: measured, one of sixteen
costs as much as sixteen messages, one of a hundred a third. So few go one by one, many together.
There is no timer: a lone delivery leaves at once, and under load the waves grow by themselves.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from nats.aio.client import Client
from nats.js import JetStreamContext

from chassis.errors import NotReady
from chassis.messaging.connections import UNREACHABLE
from ingest.audit.marks import Marks
from ingest.envelope import OutgoingEnvelope

log = logging.getLogger(__name__)

PUBLISH_TIMEOUT_S = 2.0
"""Seconds a delivery may wait for its acknowledgement, its place in the queue included."""
MIN_BATCH_MESSAGES, MAX_WAVE_MESSAGES, MAX_WAVE_BYTES, MAX_PENDING = 16, 100, 2_000_000, 5_000
"""Messages from which on they go together; messages and bytes of a wave; deliveries that wait."""
MAX_PENDING_LARGE_BYTES = 128 * 1024 * 1024
"""Bytes of large bodies that may wait."""


@dataclass(slots=True)
class _PendingDelivery:
    letter: OutgoingEnvelope
    stored: "asyncio.Future[None]"
    since: float


class Publisher:
    """One per process; `publish` returns when the delivery is on disk, else raises `NotReady`."""

    def __init__(self, client: Callable[[], Client], marks: Marks) -> None:
        self._client = client
        self._marks = marks
        self._queue: list[_PendingDelivery] = []
        self._task: asyncio.Task[None] | None = None

    async def publish(self, letter: OutgoingEnvelope) -> None:
        """Store a delivery."""
        if len(self._queue) >= MAX_PENDING or (letter.messages > 1 and self._heavy()):
            raise NotReady("too many deliveries are waiting to be stored")
        loop = asyncio.get_running_loop()
        waiting = _PendingDelivery(letter, loop.create_future(), loop.time())
        self._queue.append(waiting)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        await waiting.stored

    def _heavy(self) -> bool:
        return sum(len(each.letter.body) for each in self._queue) > MAX_PENDING_LARGE_BYTES

    async def _drain(self) -> None:
        while self._queue:
            wave = self._next()
            try:
                await self._store(wave)
            except UNREACHABLE as why:
                # Whoever stands behind waits for the same server: they are told now, too.
                log.warning("%s deliveries could not be stored: %r", len(wave), why)
                self._fail(wave, "the delivery could not be stored")
            except BaseException:
                self._fail(wave, "the door is closing")
                raise
            for waiting in wave:
                if not waiting.stored.done():
                    waiting.stored.set_result(None)

    def _fail(self, wave: list[_PendingDelivery], why: str) -> None:
        """Tell all of a wave that is not stored, and all behind it."""
        queue, self._queue = self._queue, []
        for each in (*wave, *queue):
            if not each.stored.done():
                each.stored.set_exception(NotReady(why))

    def _next(self) -> list[_PendingDelivery]:
        size, count = 0, 0
        for waiting in self._queue[:MAX_WAVE_MESSAGES]:
            size += len(waiting.letter.body)
            if count and size > MAX_WAVE_BYTES:
                break
            count += 1
        batch, self._queue = self._queue[:count], self._queue[count:]
        return batch

    async def _store(self, wave: list[_PendingDelivery]) -> None:
        nc = self._client()
        if not nc.is_connected:
            raise NotReady("nats is not connected")
        waited = asyncio.get_running_loop().time() - wave[0].since
        patience = max(PUBLISH_TIMEOUT_S - waited, 0.1)
        self._marks.begin_wave()
        js = nc.jetstream(timeout=patience)
        async with asyncio.timeout(patience + 0.1):
            if len(wave) < MIN_BATCH_MESSAGES:
                await self._each(nc, js, wave)
            else:
                await self._together(nc, js, [waiting.letter for waiting in wave])

    async def _each(self, nc: Client, js: JetStreamContext, wave: list[_PendingDelivery]) -> None:
        """Store one by one; one that is refused does not take the others along."""

        async def one(waiting: _PendingDelivery) -> None:
            letter = waiting.letter
            if letter.messages > 1:
                await self._together(nc, js, [letter])
            else:
                ack = await js.publish(letter.subject, letter.body, headers=letter.headers)
                self._marks.note(ack.seq, letter.id)
            if not waiting.stored.done():
                waiting.stored.set_result(None)

        results = await asyncio.gather(*map(one, wave), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _together(
        self, nc: Client, js: JetStreamContext, letters: list[OutgoingEnvelope]
    ) -> None:
        """Store all or none."""
        *rest, (subject, headers, body) = (
            (letter.subject, *piece) for letter in letters for piece in letter.pieces()
        )
        group = {"Nats-Batch-Id": uuid4().hex}
        for number, (to, told, piece) in enumerate(rest, 1):
            staged = {**told, **group, "Nats-Batch-Sequence": str(number)}
            await nc.publish(to, piece, headers=staged)
        closing = {**group, "Nats-Batch-Sequence": str(len(rest) + 1), "Nats-Batch-Commit": "1"}
        ack = await js.publish(subject, body, headers={**headers, **closing})
        self._marks.note(ack.seq, letters[-1].id)
