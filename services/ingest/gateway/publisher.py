"""Publish deliveries into INBOUND in waves: those that arrive during one wave form the next.

There is no timer: a lone delivery leaves at once, and under load the waves grow by themselves. The
server writes each message to disk (fsync), and an atomic batch has a fixed cost. Measured: a batch
of sixteen costs as much as sixteen messages, a batch of a hundred a third. So small waves are
published one by one, large ones as a batch.
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
"""From the delivery's arrival to its acknowledgement, the time in the queue included."""
MIN_TIMEOUT_S = 0.1
"""The least that remains for the acknowledgement, however long the delivery was queued."""
MIN_BATCH_MESSAGES = 16
"""From this many deliveries on, a wave is published as an atomic batch."""
MAX_WAVE_MESSAGES, MAX_WAVE_BYTES = 100, 2_000_000
MAX_PENDING = 5_000
"""Deliveries that may be queued; more are refused."""
MAX_PENDING_LARGE_BYTES = 128 * 1024 * 1024
"""Bytes that may be queued when a large body arrives; a larger queue refuses it."""


@dataclass(slots=True)
class _PendingDelivery:
    envelope: OutgoingEnvelope
    stored: "asyncio.Future[None]"
    queued_at: float


class Publisher:
    """Publishes the deliveries of one process, in the order of their arrival."""

    def __init__(self, client: Callable[[], Client], marks: Marks) -> None:
        self._client = client
        self._marks = marks
        self._queue: list[_PendingDelivery] = []
        self._task: asyncio.Task[None] | None = None

    async def publish(self, envelope: OutgoingEnvelope) -> None:
        """Store a delivery on disk; raises `NotReady` if it could not be stored."""
        is_full = len(self._queue) >= MAX_PENDING
        if is_full or (envelope.message_count > 1 and self._has_many_bytes()):
            raise NotReady("too many deliveries are waiting to be stored")
        loop = asyncio.get_running_loop()
        pending = _PendingDelivery(envelope, loop.create_future(), loop.time())
        self._queue.append(pending)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        await pending.stored

    def _has_many_bytes(self) -> bool:
        queued_bytes = sum(len(pending.envelope.body) for pending in self._queue)
        return queued_bytes > MAX_PENDING_LARGE_BYTES

    async def _drain(self) -> None:
        """Store wave after wave until the queue is empty."""
        while self._queue:
            wave = self._next_wave()
            try:
                await self._store(wave)
            except UNREACHABLE as why:
                # The queued deliveries wait for the same server, so they fail at once, too.
                log.warning("%s deliveries could not be stored: %r", len(wave), why)
                self._fail(wave, "the delivery could not be stored")
            except BaseException:
                self._fail(wave, "the service is stopping")
                raise
            for pending in wave:
                if not pending.stored.done():
                    pending.stored.set_result(None)

    def _fail(self, wave: list[_PendingDelivery], reason: str) -> None:
        """Fail the deliveries of a wave that are not stored, and all queued ones."""
        queue, self._queue = self._queue, []
        for pending in (*wave, *queue):
            if not pending.stored.done():
                pending.stored.set_exception(NotReady(reason))

    def _next_wave(self) -> list[_PendingDelivery]:
        size_bytes, count = 0, 0
        for pending in self._queue[:MAX_WAVE_MESSAGES]:
            size_bytes += len(pending.envelope.body)
            if count and size_bytes > MAX_WAVE_BYTES:
                break
            count += 1
        wave, self._queue = self._queue[:count], self._queue[count:]
        return wave

    async def _store(self, wave: list[_PendingDelivery]) -> None:
        nc = self._client()
        if not nc.is_connected:
            raise NotReady("nats is not connected")
        waited_s = asyncio.get_running_loop().time() - wave[0].queued_at
        timeout_s = max(PUBLISH_TIMEOUT_S - waited_s, MIN_TIMEOUT_S)
        self._marks.begin_wave()
        js = nc.jetstream(timeout=timeout_s)
        async with asyncio.timeout(timeout_s + MIN_TIMEOUT_S):
            if len(wave) < MIN_BATCH_MESSAGES:
                await self._publish_each(nc, js, wave)
            else:
                await self._publish_batch(nc, js, [pending.envelope for pending in wave])

    async def _publish_each(
        self, nc: Client, js: JetStreamContext, wave: list[_PendingDelivery]
    ) -> None:
        """Publish each delivery by itself; a refused one does not affect the others."""

        async def publish_one(pending: _PendingDelivery) -> None:
            envelope = pending.envelope
            if envelope.message_count > 1:
                await self._publish_batch(nc, js, [envelope])
            else:
                ack = await js.publish(envelope.subject, envelope.body, headers=envelope.headers)
                self._marks.record(ack.seq, envelope.inbound_id)
            if not pending.stored.done():
                pending.stored.set_result(None)

        results = await asyncio.gather(*map(publish_one, wave), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _publish_batch(
        self, nc: Client, js: JetStreamContext, envelopes: list[OutgoingEnvelope]
    ) -> None:
        """Publish deliveries as one atomic batch: all are stored, or none."""
        *staged, (subject, headers, body) = (
            (envelope.subject, *message)
            for envelope in envelopes
            for message in envelope.messages()
        )
        batch = {"Nats-Batch-Id": uuid4().hex}
        for number, (to, own_headers, data) in enumerate(staged, 1):
            batch_headers = {**own_headers, **batch, "Nats-Batch-Sequence": str(number)}
            await nc.publish(to, data, headers=batch_headers)
        last = {**batch, "Nats-Batch-Sequence": str(len(staged) + 1), "Nats-Batch-Commit": "1"}
        ack = await js.publish(subject, body, headers={**headers, **last})
        self._marks.record(ack.seq, envelopes[-1].inbound_id)
