"""Read a stream from a sequence on by direct gets, without a consumer.

For occasional readers: they leave nothing on the server, and the permission they need
(`$JS.API.DIRECT.GET.<stream>`) cannot make the server publish anywhere.
"""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from chassis.errors import NotReady
from chassis.messaging.connections import NatsConnection
from chassis.messaging.message import StreamMessage, from_direct

MAX_BATCH = 100
ANSWER_TIMEOUT_S = 5.0
EMPTY, END_OF_BATCH = "404", "204"


class DirectReader:
    """Reads one subject of a stream. Use it as a context manager, and call `batch`."""

    def __init__(self, connection: NatsConnection, stream: str, subject: str, start: int) -> None:
        self.next = start
        """The sequence to continue from; may be set."""
        self._connection = connection
        self._stream = stream
        self._subject = subject
        self._asked = 0
        self._answers: asyncio.Queue[Msg] = asyncio.Queue()
        self._sub: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._inbox = self._connection.nc.new_inbox()
        self._sub = await self._connection.nc.subscribe(f"{self._inbox}.*", cb=self._receive)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._sub is not None and not self._connection.nc.is_closed:
            await self._sub.unsubscribe()

    async def _receive(self, msg: Msg) -> None:
        self._answers.put_nowait(msg)

    async def batch(self, limit: int = MAX_BATCH) -> list[StreamMessage]:
        """Return the next messages, at most `limit`; empty when there are none yet.

        Raises `NotReady` when the server does not answer, or with an unexpected status.
        """
        self._asked += 1
        reply = f"{self._inbox}.{self._asked}"
        want = {"seq": max(self.next, 1), "next_by_subj": self._subject, "batch": limit}
        call = f"$JS.API.DIRECT.GET.{self._stream}"
        await self._connection.nc.publish(call, json.dumps(want).encode(), reply=reply)
        items: list[StreamMessage] = []
        while True:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    msg = await self._answers.get()
            except TimeoutError:
                raise NotReady(f"{self._stream}: no answer to a direct get") from None
            if msg.subject != reply:
                continue  # the rest of an earlier answer that came too late
            headers: dict[str, Any] = msg.headers or {}
            if "Nats-Sequence" in headers:
                items.append(from_direct(msg))
                self.next = items[-1].stream_sequence + 1
            elif headers.get("Status") in {EMPTY, END_OF_BATCH}:
                return items
            else:
                raise NotReady(f"{self._stream}: unexpected answer to a direct get: {headers}")
