"""Follow the domain streams in order and across restarts of NATS, as a read-only user."""

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
CONNECT_TIMEOUT_S, RETRY_INTERVAL_S = 5.0, 0.3
POLL_INTERVAL_S = 0.15
"""Interval between requests for new messages at the end of a stream."""
MAX_QUEUED_FACTS = 512
"""Facts of one stream that may wait while older facts of another stream are returned."""


class Source:
    """Reads the facts of one stream in order; after a restart of NATS it continues where it was."""

    def __init__(self, line: NatsConnection, stream: str, fact_filter: FactFilter) -> None:
        self._line, self._stream, self._filter = line, stream, fact_filter
        self._next, self._position = 1, 0
        self._created: datetime | None = None
        self._returns = line.reconnects
        self.queue: asyncio.Queue[StreamFact | None] = asyncio.Queue(MAX_QUEUED_FACTS)
        """Facts read so far; a single None marks the end of the stored facts."""

    async def find_start(self) -> None:
        """Set the stream sequence to start from."""
        info = await self._line.js.stream_info(self._stream)
        self._created = info.created
        since = self._filter.since
        self._next = {ALL: 1, NOW: info.state.last_seq + 1}.get(since) or max(1, int(since))

    async def run(self) -> None:
        """Read facts into the queue until cancelled."""
        is_past = True
        while True:
            with suppress(NotReady, nats.errors.Error, JetStreamError, OSError, TimeoutError):
                await self._check_stream()
                subject = self._filter.subject(self._stream)
                async with DirectReader(self._line, self._stream, subject, self._next) as reading:
                    while True:
                        if await self._queue_batch(reading):
                            continue
                        if is_past:
                            is_past = False
                            await self.queue.put(None)
                        await asyncio.sleep(POLL_INTERVAL_S)
                        if self._returns != self._line.reconnects:
                            break
            await asyncio.sleep(RETRY_INTERVAL_S)

    async def _check_stream(self) -> None:
        """Start over if the stream was recreated; facts already read are skipped by position."""
        self._returns = self._line.reconnects
        created = (await self._line.js.stream_info(self._stream)).created
        if created != self._created:
            self._created, self._next = created, 1

    async def _queue_batch(self, reading: DirectReader) -> bool:
        """Queue the next facts; return False if there are no more messages."""
        batch = await reading.batch()
        for item in batch:
            self._next = item.stream_sequence + 1
            if item.position is not None and item.position <= self._position:
                continue
            self._position = item.position or self._position
            fact = StreamFact.of(self._stream, item)
            if self._filter.matches(fact):
                await self.queue.put(fact)
        return bool(batch)


@asynccontextmanager
async def follow_facts(
    instance: Instance, fact_filter: FactFilter
) -> AsyncGenerator[AsyncGenerator[StreamFact]]:
    """Yield facts: stored facts of all streams ordered by time, then new ones as they arrive.

    Raises `CannotStart` if NATS does not answer or the user `tail` is not provisioned.
    """
    creds = Path(os.environ.get("NATS_CREDS_DIR") or instance.creds)
    if not (creds / f"{USER}.nk").exists():
        raise CannotStart(f"{creds} has no seed of user {USER!r}: restart the instance")
    line = NatsConnection(instance.nats_url, USER, creds, USER)
    sources = [Source(line, stream, fact_filter) for stream in fact_filter.streams]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(line.close)
        try:
            await asyncio.wait_for(line.broker.connect(), CONNECT_TIMEOUT_S)
            for source in sources:
                await source.find_start()
        except (OSError, TimeoutError, nats.errors.Error, JetStreamError) as error:
            raise CannotStart(f"NATS does not answer at {instance.nats_url}: {error!r}") from None
        tasks = [asyncio.create_task(source.run()) for source in sources]
        stack.push_async_callback(_cancel_all, tasks)
        yield await stack.enter_async_context(aclosing(_merge(sources)))


async def _merge(sources: Sequence[Source]) -> AsyncGenerator[StreamFact]:
    heads: list[tuple[datetime, int, StreamFact]] = []

    async def advance(number: int) -> None:
        fact = await sources[number].queue.get()
        if fact is not None:
            heapq.heappush(heads, (fact.time, number, fact))

    for number in range(len(sources)):
        await advance(number)
    while heads:
        _, number, fact = heapq.heappop(heads)
        yield fact
        await advance(number)
    async with aclosing(_in_arrival_order([source.queue for source in sources])) as present:
        async for fact in present:
            yield fact


async def _in_arrival_order(
    queues: Sequence[asyncio.Queue[StreamFact | None]],
) -> AsyncGenerator[StreamFact]:
    waits = {asyncio.ensure_future(queue.get()): queue for queue in queues}
    try:
        while True:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                queue = waits.pop(wait)
                waits[asyncio.ensure_future(queue.get())] = queue
                if (fact := wait.result()) is not None:
                    yield fact
    finally:
        for wait in waits:
            wait.cancel()


async def _cancel_all(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel all tasks; repeat it, as a response that arrives may swallow a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1)
