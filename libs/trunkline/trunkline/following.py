"""Following the domain streams: in order, through restarts of NATS, as a user that only reads.

Long: a stream is read, and streams are merged.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

import nats.errors
from nats.js.errors import Error as JetStreamError

from chassis.errors import NotReady
from chassis.messaging.connections import NatsConnection
from chassis.messaging.direct_get import DirectReader
from trunkline.facts import StreamFact
from trunkline.filters import ALL, NOW, FactFilter
from trunkline.instance import Instance
from trunkline.paths import CannotStart

USER = "tail"
ANSWERS_WITHIN, AGAIN = 5.0, 0.3
LOOK_S = 0.15
"""Seconds between looks for what is new."""
AHEAD = 512
"""Facts of a stream held ready while an older one of another stream goes first."""


class Source:
    """One stream's facts, in order. It outlives its server, and goes on behind what it has seen."""

    def __init__(self, line: NatsConnection, stream: str, wanted: FactFilter) -> None:
        self._line, self._stream, self._wanted = line, stream, wanted
        self._next, self._position = 1, 0
        self._created: datetime | None = None
        self._returns = line.reconnects
        self.queue: asyncio.Queue[StreamFact | None] = asyncio.Queue(AHEAD)
        """What was seen; None stands once where the past ends."""

    async def begin(self) -> None:
        """Settle where to begin."""
        info = await self._line.js.stream_info(self._stream)
        self._created = info.created
        since = self._wanted.since
        self._next = {ALL: 1, NOW: info.state.last_seq + 1}.get(since) or max(1, int(since))

    async def run(self) -> None:
        """Hear, for ever."""
        past = True
        while True:
            with suppress(NotReady, nats.errors.Error, JetStreamError, OSError, TimeoutError):
                await self._look()
                subject = self._wanted.subject(self._stream)
                async with DirectReader(self._line, self._stream, subject, self._next) as reading:
                    while True:
                        if await self._take(reading):
                            continue
                        if past:
                            past = False
                            await self.queue.put(None)
                        await asyncio.sleep(LOOK_S)
                        if self._returns != self._line.reconnects:
                            break
            await asyncio.sleep(AGAIN)

    async def _look(self) -> None:
        """Begin anew in a stream that was made anew: positions tell what was seen already."""
        self._returns = self._line.reconnects
        created = (await self._line.js.stream_info(self._stream)).created
        if created != self._created:
            self._created, self._next = created, 1

    async def _take(self, reading: DirectReader) -> bool:
        """Queue what there is; tells whether there was anything."""
        batch = await reading.batch()
        for item in batch:
            self._next = item.stream_sequence + 1
            if item.position is not None and item.position <= self._position:
                continue
            self._position = item.position or self._position
            seen = StreamFact.of(self._stream, item)
            if self._wanted.matches(seen):
                await self.queue.put(seen)
        return bool(batch)


@asynccontextmanager
async def following(
    instance: Instance, wanted: FactFilter
) -> AsyncGenerator[AsyncGenerator[StreamFact]]:
    """Follow facts: the past of all streams by time, then each as it comes."""
    creds = Path(os.environ.get("NATS_CREDS_DIR") or instance.creds)
    if not (creds / f"{USER}.nk").exists():
        raise CannotStart(f"{creds} knows no user {USER!r}: start the instance again")
    line = NatsConnection(instance.nats_url, USER, creds, USER)
    sources = [Source(line, stream, wanted) for stream in wanted.streams]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(line.close)
        try:
            await asyncio.wait_for(line.broker.connect(), ANSWERS_WITHIN)
            for source in sources:
                await source.begin()
        except (OSError, TimeoutError, nats.errors.Error, JetStreamError) as why:
            raise CannotStart(f"NATS does not answer at {instance.nats_url}: {why!r}") from None
        tasks = [asyncio.create_task(source.run()) for source in sources]
        stack.push_async_callback(_ended, tasks)
        yield await stack.enter_async_context(aclosing(_merged(sources)))


async def _merged(sources: Sequence[Source]) -> AsyncGenerator[StreamFact]:
    heads: list[tuple[datetime, int, StreamFact]] = []

    async def advance(number: int) -> None:
        seen = await sources[number].queue.get()
        if seen is not None:
            heapq.heappush(heads, (seen.time, number, seen))

    for number in range(len(sources)):
        await advance(number)
    while heads:
        _, number, seen = heapq.heappop(heads)
        yield seen
        await advance(number)
    async with aclosing(_as_they_come([source.queue for source in sources])) as present:
        async for seen in present:
            yield seen


async def _as_they_come(
    queues: Sequence[asyncio.Queue[StreamFact | None]],
) -> AsyncGenerator[StreamFact]:
    waits = {asyncio.ensure_future(queue.get()): queue for queue in queues}
    try:
        while True:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                queue = waits.pop(wait)
                waits[asyncio.ensure_future(queue.get())] = queue
                if (seen := wait.result()) is not None:
                    yield seen
    finally:
        for wait in waits:
            wait.cancel()


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End them all; a cancellation that was lost to an answer just come is said again."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=1)
