"""An ephemeral, acknowledgement-free pull: messages of some slots, in order, from a sequence on.

A callback fills a queue, and the next batch is asked for when half of the last has come: never a
wait for a full batch. A silent server, a gap or a reconnect end it; the reader then makes a new
one. Long by its two sides: what comes, and who takes it.
"""

import asyncio
import json
from types import TracebackType
from typing import Self
from uuid import uuid4

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from chassis.errors import NotReady
from chassis.messaging.connections import Line
from chassis.messaging.message import Incoming, from_stream

BATCH = 256
EXPIRES = 10.0
HEARTBEAT = 1.0
SILENCE = 3.0


class Pull:
    """Messages as they come. Use as a context; `take` gives what has arrived."""

    def __init__(
        self, line: Line, stream: str, filters: list[str], start: int, *, own_positions: bool
    ) -> None:
        self._line = line
        self._stream = stream
        self._filters = filters
        self._start = start
        self._own = own_positions
        self._queue: asyncio.Queue[Incoming] = asyncio.Queue()
        self._outstanding = 0
        self._broken: str | None = None
        self._returns = line.returns
        self._heard_at = 0.0
        self._seen = 0
        self.taken = 0
        """How many messages have been taken from here."""
        self._name = ""
        self._sub: Subscription | None = None

    async def __aenter__(self) -> Self:
        nc = self._line.nc
        config = ConsumerConfig(
            name=f"{self._line.user}-{uuid4().hex}",
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE
            if self._start > 1
            else DeliverPolicy.ALL,
            opt_start_seq=self._start if self._start > 1 else None,
            ack_policy=AckPolicy.NONE,
            filter_subjects=self._filters or None,
            mem_storage=True,
            inactive_threshold=30.0,
        )
        info = await self._line.js.add_consumer(self._stream, config)
        self._name = info.name or ""
        self._inbox = nc.new_inbox()
        self._sub = await nc.subscribe(self._inbox, cb=self._came)
        self._heard_at = asyncio.get_running_loop().time()
        await self._ask()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._sub is not None and not self._line.nc.is_closed:
            await self._sub.unsubscribe()
            try:
                await self._line.nc.jetstream(timeout=1).delete_consumer(self._stream, self._name)
            except (NotFoundError, APIError, OSError, TimeoutError):
                return  # it ends by itself when inactive

    async def _ask(self) -> None:
        want = {
            "batch": BATCH,
            "expires": int(EXPIRES * 1e9),
            "idle_heartbeat": int(HEARTBEAT * 1e9),
        }
        self._outstanding = BATCH
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._line.nc.publish(subject, json.dumps(want).encode(), reply=self._inbox)

    async def _came(self, msg: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        status = (msg.headers or {}).get("Status")
        if status is not None and not msg.reply.startswith("$JS.ACK"):
            if status in {"404", "408"} or (status == "409" and "Batch" in str(msg.headers)):
                await self._ask()
            elif status != "100":
                self._broken = f"{status} {(msg.headers or {}).get('Description', '')}"
                self._queue.put_nowait(END)
            return
        item = from_stream(msg, own_positions=self._own)
        if item.consumer_sequence != self._seen + 1:
            self._broken = f"a gap after {self._seen}"
            self._queue.put_nowait(END)
            return
        self._seen = item.consumer_sequence
        self._queue.put_nowait(item)
        self._outstanding -= 1
        if self._outstanding <= BATCH // 2 and self._queue.qsize() < BATCH:
            await self._ask()

    async def take(self, limit: int, wait: float) -> list[Incoming]:
        """Give what has arrived, at most `limit`; waits up to `wait` seconds for the first."""
        batch: list[Incoming] = []
        try:
            batch.append(self._queue.get_nowait())
        except asyncio.QueueEmpty:
            try:
                async with asyncio.timeout(wait):
                    batch.append(await self._queue.get())
            except TimeoutError:
                self._check()
                return []
        while len(batch) < limit and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        if self._outstanding <= BATCH // 2 and self._queue.qsize() < BATCH:
            await self._ask()
        if batch[-1] is END:
            if len(batch) == 1:
                self._check()
            batch.pop()
        if batch:
            self.taken = batch[-1].consumer_sequence
        return batch

    def _check(self) -> None:
        silent = asyncio.get_running_loop().time() - self._heard_at
        if self._returns != self._line.returns:
            raise NotReady(f"{self._stream}: the connection was renewed")
        if self._broken is not None:
            raise NotReady(f"{self._stream}: the pull ended: {self._broken}")
        if silent > SILENCE:
            raise NotReady(f"{self._stream}: silent for {silent:.1f} s")

    async def caught_up(self) -> bool:
        """Whether everything published until now has been taken from here."""
        return self._queue.empty() and await self.published() <= self.taken

    async def published(self) -> int:
        """How many messages had been published for this pull, at some instant since the call."""
        info = await self._line.js.consumer_info(self._stream, self._name)
        delivered = info.delivered.consumer_seq if info.delivered else 0
        return delivered + (info.num_pending or 0)


END = Incoming("", b"", None, 0, 0)
"""Put behind the last message of a pull that has ended."""
