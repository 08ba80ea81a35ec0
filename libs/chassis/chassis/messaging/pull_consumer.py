"""An acknowledgement-free pull: messages of some slots, in order, from a sequence on.

Nobody but provisioning makes consumers: whoever may make one may have the server publish anywhere.
So a pull moves the consumer of its slot group to where it begins, and numbers count from 1 again.
Somebody else who pulls there (a deposed leader that was frozen) leaves a gap in the numbers.

A callback fills a queue, and the next batch is asked for when half of the last has come: never a
wait for a full batch. A silent server, a gap or a reconnect end it; the reader then begins a new
one. Long by its two sides: what comes, and who takes it.
"""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import NotFoundError

from chassis.errors import NotReady
from chassis.messaging.connections import NatsConnection
from chassis.messaging.message import StreamMessage, from_stream
from chassis.messaging.slots import Consumer, groups_key

REQUEST_BATCH = 256
REQUEST_EXPIRES_S = 5.0
"""Seconds a request for a batch lives on the server: less than until a frozen leader is deposed, so
that what it asked for takes nothing away from its successor."""
HEARTBEAT_S = 1.0
MAX_SILENCE_S = 3.0
RESET_TIMEOUT_S = 3.0
COMPARE_INTERVAL_S = 5.0
"""While nothing comes, so often the numbers are compared with the server's."""


class PullConsumer:
    """Messages as they come. Use as a context; `take` gives what has arrived."""

    def __init__(
        self, connection: NatsConnection, consumer: Consumer, start: int, *, own_positions: bool
    ) -> None:
        self._connection = connection
        self._consumer = consumer
        self._stream = consumer.stream
        self._name = consumer.name
        self._start = start
        self._own = own_positions
        self._queue: asyncio.Queue[StreamMessage] = asyncio.Queue()
        self._outstanding = 0
        self._broken: str | None = None
        self._returns = connection.reconnects
        self._received_at = 0.0
        self._seen = 0
        self._delivered = 0
        self._compared_at = 0.0
        self.taken = 0
        """How many messages have been taken from here."""
        self._sub: Subscription | None = None

    async def __aenter__(self) -> Self:
        nc = self._connection.nc
        await self._reset()
        self._inbox = nc.new_inbox()
        self._sub = await nc.subscribe(self._inbox, cb=self._receive)
        self._received_at = asyncio.get_running_loop().time()
        await self._request_batch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._sub is not None and not self._connection.nc.is_closed:
            await self._sub.unsubscribe()

    async def _reset(self) -> None:
        """Move the consumer to where this begins; raises `NotReady` when it is not as it must be.

        The server does not answer at all for a consumer that is not there.
        """
        subject = f"$JS.API.CONSUMER.RESET.{self._stream}.{self._name}"
        body = json.dumps({"seq": max(self._start, 1)}).encode()
        try:
            answer = await self._connection.nc.request(subject, body, timeout=RESET_TIMEOUT_S)
        except nats.errors.Error:
            raise NotReady(await self._missing()) from None
        told: dict[str, Any] = json.loads(answer.data)
        if error := told.get("error"):
            raise NotReady(f"{self._stream}: {self._name} is not reset: {error}")
        config = told["config"]
        found = {*config.get("filter_subjects", ())} or {config.get("filter_subject") or ">"}
        if found != ({*self._consumer.filters} or {">"}):
            raise NotReady(f"{self._described} reads other subjects: run `trunkline provision`")

    async def _missing(self) -> str:
        """Say why there is no answer: how many groups there are is written on the stream."""
        js, wants = self._connection.js, self._consumer
        config = (await js.stream_info(self._stream)).config
        groups = (config.metadata or {}).get(groups_key(wants.service), "")
        if groups and str(wants.groups) not in groups.split(","):
            return (
                f"READERS is {wants.groups}, and {wants.service}'s consumers are provisioned for"
                f" {groups}: set it to that, or change `readers` in provision.yaml (READERS, where"
                " it does not name the service) and run `trunkline provision`"
            )
        try:
            await js.consumer_info(self._stream, self._name)
        except NotFoundError:
            return f"{self._described} is not there: run `trunkline provision`"
        except nats.errors.TimeoutError:
            files = "`trunkline provision --files` and reload NATS, if it is refused"
            return f"{self._described} does not answer {self._connection.user}: run {files}"
        return f"{self._described} does not answer"

    @property
    def _described(self) -> str:
        return f"the consumer {self._name} of {self._stream}"

    async def _request_batch(self) -> None:
        want = {
            "batch": REQUEST_BATCH,
            "expires": int(REQUEST_EXPIRES_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        }
        self._outstanding = REQUEST_BATCH
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._connection.nc.publish(subject, json.dumps(want).encode(), reply=self._inbox)

    async def _receive(self, msg: Msg) -> None:
        if self._broken is not None:
            return
        self._received_at = asyncio.get_running_loop().time()
        status = (msg.headers or {}).get("Status")
        if status is not None and not msg.reply.startswith("$JS.ACK"):
            if status in {"404", "408"} or (status == "409" and "Batch" in str(msg.headers)):
                await self._request_batch()
            elif status != "100":
                self._broken = f"{status} {(msg.headers or {}).get('Description', '')}"
                self._queue.put_nowait(END_OF_PULL)
            return
        item = from_stream(msg, own_positions=self._own)
        if item.consumer_sequence != self._seen + 1:
            self._broken = f"a gap after {self._seen}"
            self._queue.put_nowait(END_OF_PULL)
            return
        self._seen = item.consumer_sequence
        self._queue.put_nowait(item)
        self._outstanding -= 1
        if self._outstanding <= REQUEST_BATCH // 2 and self._queue.qsize() < REQUEST_BATCH:
            await self._request_batch()

    async def take(self, limit: int, wait: float) -> list[StreamMessage]:
        """Give what has arrived, at most `limit`; waits up to `wait` seconds for the first."""
        batch: list[StreamMessage] = []
        try:
            batch.append(self._queue.get_nowait())
        except asyncio.QueueEmpty:
            try:
                async with asyncio.timeout(wait):
                    batch.append(await self._queue.get())
            except TimeoutError:
                self._check()
                await self._compare()
                return []
        while len(batch) < limit and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        if self._outstanding <= REQUEST_BATCH // 2 and self._queue.qsize() < REQUEST_BATCH:
            await self._request_batch()
        if batch[-1] is END_OF_PULL:
            if len(batch) == 1:
                self._check()
            batch.pop()
        if batch:
            self.taken = batch[-1].consumer_sequence
        return batch

    def _check(self) -> None:
        silent = asyncio.get_running_loop().time() - self._received_at
        if self._returns != self._connection.reconnects:
            raise NotReady(f"{self._stream}: the connection was renewed")
        if self._broken is not None:
            raise NotReady(f"{self._stream}: the pull ended: {self._broken}")
        if silent > MAX_SILENCE_S:
            raise NotReady(f"{self._stream}: silent for {silent:.1f} s")

    async def _compare(self) -> None:
        """Notice what somebody else was given: a gap shows it only when the next message comes."""
        now = asyncio.get_running_loop().time()
        if now - self._compared_at < COMPARE_INTERVAL_S:
            return
        self._compared_at = now
        if self._seen < self._delivered:  # known since the last time: nothing is under way
            raise NotReady(f"{self._stream}: {self._delivered} given, {self._seen} have come")
        info = await self._connection.js.consumer_info(self._stream, self._name)
        self._delivered = info.delivered.consumer_seq if info.delivered else 0

    async def published(self) -> int:
        """How many messages had been published for this pull, at some instant since the call."""
        seen = self._seen
        info = await self._connection.js.consumer_info(self._stream, self._name)
        delivered = info.delivered.consumer_seq if info.delivered else 0
        if delivered < seen:
            raise NotReady(f"{self._stream}: somebody else has moved {self._name}")
        return delivered + (info.num_pending or 0)


END_OF_PULL = StreamMessage("", b"", None, 0, 0)
"""Put behind the last message of a pull that has ended."""
