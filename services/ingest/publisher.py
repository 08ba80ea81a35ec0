"""Publishing into INBOUND: what has come while the last batch was being stored is the next one.

Each stored message costs the server an fsync; an atomic batch costs one. There is no timer: a lone
delivery leaves at once, and under load the batches grow by themselves.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import nats.errors
from nats.aio.client import Client

from chassis.outcomes import NotReady
from ingest.delivery import Letter

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds a delivery may wait for its acknowledgement, its place in the queue included."""
MOST, HEAVIEST, LONGEST = 100, 2_000_000, 5_000
"""Messages and bytes of one batch; deliveries that may wait."""
AWAY = (nats.errors.Error, NotReady, OSError, asyncio.TimeoutError)


@dataclass(slots=True)
class _Waiting:
    letter: Letter
    stored: "asyncio.Future[None]"
    since: float


class Publisher:
    """One per process; `publish` returns when the delivery is on disk, else raises `NotReady`."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self._queue: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def publish(self, letter: Letter) -> None:
        """Store a delivery."""
        if len(self._queue) >= LONGEST:
            raise NotReady("too many deliveries are waiting to be stored")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(letter, loop.create_future(), loop.time())
        self._queue.append(waiting)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        await waiting.stored

    async def _drain(self) -> None:
        while self._queue:
            batch = self._next()
            try:
                await self._store(batch)
            except AWAY as why:
                # Whoever stands behind waits for the same server: they are told now, too.
                log.warning("%s deliveries could not be stored: %r", len(batch), why)
                queue, self._queue = self._queue, []
                _fail([*batch, *queue], NotReady("the delivery could not be stored"))
            except BaseException as why:
                queue, self._queue = self._queue, []
                _fail([*batch, *queue], NotReady("the door is closing"))
                if isinstance(why, Exception):
                    log.exception("publishing failed")
                    continue
                raise
            else:
                for waiting in batch:
                    if not waiting.stored.done():
                        waiting.stored.set_result(None)

    def _next(self) -> list[_Waiting]:
        size, count = 0, 0
        for waiting in self._queue[:MOST]:
            size += len(waiting.letter.body)
            if count and size > HEAVIEST:
                break
            count += 1
        batch, self._queue = self._queue[:count], self._queue[count:]
        return batch

    async def _store(self, batch: list[_Waiting]) -> None:
        nc = self._client()
        if not nc.is_connected:
            raise NotReady("nats is not connected")
        waited = asyncio.get_running_loop().time() - batch[0].since
        patience = max(PATIENCE - waited, 0.1)
        *rest, last = (waiting.letter for waiting in batch)
        headers = last.headers
        if rest:
            group = {"Nats-Batch-Id": uuid4().hex}
            for number, letter in enumerate(rest, 1):
                staged = {**letter.headers, **group, "Nats-Batch-Sequence": str(number)}
                await nc.publish(letter.subject, letter.body, headers=staged)
            closing = {"Nats-Batch-Sequence": str(len(batch)), "Nats-Batch-Commit": "1"}
            headers = {**headers, **group, **closing}
        async with asyncio.timeout(patience + 0.1):
            js = nc.jetstream(timeout=patience)
            await js.publish(last.subject, last.body, headers=headers, timeout=patience)


def _fail(waiting: list[_Waiting], why: NotReady) -> None:
    for each in waiting:
        if not each.stored.done():
            each.stored.set_exception(why)
