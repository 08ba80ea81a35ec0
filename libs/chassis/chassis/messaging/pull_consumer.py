"""Pull messages of a slot group in order, from a sequence on, without acknowledgements.

Only provisioning creates consumers, because the right to create one would allow publishing to any
subject. So a pull resets the consumer of its slot group to its first sequence, and consumer
sequences count from 1 again. Another client that pulls there (a leader that was frozen and has been
replaced) causes a gap in these sequences.

A callback fills a queue, and the next batch is requested when half of the last one has arrived, so
a full batch is never waited for. Silence of the server, a gap or a reconnect ends the pull; the
reader then starts a new one.
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
"""Seconds a request for a batch lives on the server. A frozen leader loses its role later, so its
request takes no messages away from its successor."""
HEARTBEAT_S = 1.0
MAX_SILENCE_S = 3.0
RESET_TIMEOUT_S = 3.0
COMPARE_INTERVAL_S = 5.0
"""How often an idle pull compares its consumer sequence with the server's."""


class PullConsumer:
    """Pulls messages. Use it as a context manager, and call `take`."""

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
        self._reconnects = connection.reconnects
        self._received_at = 0.0
        self._seen = 0
        self._delivered = 0
        self._compared_at = 0.0
        self.taken = 0
        """The number of messages taken from this pull."""
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
        """Reset the consumer to the first sequence; raise `NotReady` when it is not as declared.

        The server sends no answer for a consumer that does not exist.
        """
        subject = f"$JS.API.CONSUMER.RESET.{self._stream}.{self._name}"
        body = json.dumps({"seq": max(self._start, 1)}).encode()
        try:
            answer = await self._connection.nc.request(subject, body, timeout=RESET_TIMEOUT_S)
        except nats.errors.Error:
            raise NotReady(await self._missing_reason()) from None
        result: dict[str, Any] = json.loads(answer.data)
        if error := result.get("error"):
            raise NotReady(f"{self._stream}: {self._name} is not reset: {error}")
        config = result["config"]
        found = {*config.get("filter_subjects", ())} or {config.get("filter_subject") or ">"}
        if found != ({*self._consumer.filters} or {">"}):
            raise NotReady(f"{self._described} reads other subjects: run `trunkline provision`")

    async def _missing_reason(self) -> str:
        """Return why there is no answer. The stream's metadata has the provisioned groups."""
        js, wanted = self._connection.js, self._consumer
        config = (await js.stream_info(self._stream)).config
        groups = (config.metadata or {}).get(groups_key(wanted.service), "")
        if groups and str(wanted.groups) not in groups.split(","):
            return (
                f"READERS is {wanted.groups}, and {wanted.service}'s consumers are provisioned for"
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
        request = {
            "batch": REQUEST_BATCH,
            "expires": int(REQUEST_EXPIRES_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        }
        self._outstanding = REQUEST_BATCH
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._connection.nc.publish(subject, json.dumps(request).encode(), reply=self._inbox)

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
            self._broken = f"a gap after message {self._seen}"
            self._queue.put_nowait(END_OF_PULL)
            return
        self._seen = item.consumer_sequence
        self._queue.put_nowait(item)
        self._outstanding -= 1
        if self._outstanding <= REQUEST_BATCH // 2 and self._queue.qsize() < REQUEST_BATCH:
            await self._request_batch()

    async def take(self, limit: int, wait: float) -> list[StreamMessage]:
        """Return up to `limit` messages that have arrived; wait up to `wait` s for the first."""
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
        silence_s = asyncio.get_running_loop().time() - self._received_at
        if self._reconnects != self._connection.reconnects:
            raise NotReady(f"{self._stream}: the connection was renewed")
        if self._broken is not None:
            raise NotReady(f"{self._stream}: the pull ended: {self._broken}")
        if silence_s > MAX_SILENCE_S:
            raise NotReady(f"{self._stream}: silent for {silence_s:.1f} s")

    async def _compare(self) -> None:
        """Raise `NotReady` when another client was sent messages of this consumer.

        A gap would show it, too, but only when the next message arrives.
        """
        now = asyncio.get_running_loop().time()
        if now - self._compared_at < COMPARE_INTERVAL_S:
            return
        self._compared_at = now
        if self._seen < self._delivered:  # compared before: no message is under way any more
            raise NotReady(
                f"{self._stream}: {self._delivered} messages delivered, {self._seen} received"
            )
        info = await self._connection.js.consumer_info(self._stream, self._name)
        self._delivered = info.delivered.consumer_seq if info.delivered else 0

    async def published(self) -> int:
        """Return how many messages had been published for this pull at some instant of the call."""
        seen = self._seen
        info = await self._connection.js.consumer_info(self._stream, self._name)
        delivered = info.delivered.consumer_seq if info.delivered else 0
        if delivered < seen:
            raise NotReady(f"{self._stream}: another client has reset {self._name}")
        return delivered + (info.num_pending or 0)


END_OF_PULL = StreamMessage("", b"", None, 0, 0)
"""Queued behind the last message of a pull that has ended."""
