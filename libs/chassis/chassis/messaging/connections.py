"""The service's NATS connections: one as the service, one as its relay, both by FastStream."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nats.errors
from faststream.nats import NatsBroker
from faststream.nats.security import NatsNKey
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from chassis.errors import NotReady
from chassis.observability.tracing import metrics

log = logging.getLogger(__name__)

UNREACHABLE = (nats.errors.Error, NotReady, OSError, asyncio.TimeoutError)
"""Errors of a NATS server that does not answer, or not in time."""

CONNECT_TIMEOUT_S = 5.0


class NatsConnection:
    """The connection of one NATS user: reconnects without end, logs errors, counts reconnects."""

    def __init__(self, url: str, user: str, creds: Path | None, service: str) -> None:
        self.user = user
        self.reconnects = 0
        self._service = service
        seed = creds / f"{user}.nk" if creds else None
        self.broker = NatsBroker(
            url,
            name=user,
            security=NatsNKey(seed) if seed else None,
            inbox_prefix=f"_INBOX_{user}".encode(),
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            error_cb=self._log_error,
            reconnected_cb=self._count_reconnect,
            ping_interval=5,
            pending_size=32 * 1024 * 1024,
            logger=None,
        )
        # FastStream's wrapper of it would end nats-py's reconnect task on refused credentials.
        self.broker._connection_kwargs["error_cb"] = self._log_error  # noqa: SLF001 (no public way)

    async def _log_error(self, why: Exception) -> None:
        metrics.nats_errors.labels(self._service).inc()
        log.warning("nats, as %s: %s", self.user, why)

    async def _count_reconnect(self) -> None:
        self.reconnects += 1
        log.info("nats, as %s: connected again", self.user)

    async def open(self) -> None:
        """Connect; retry until the server answers."""
        while True:
            try:
                await asyncio.wait_for(self.broker.connect(), CONNECT_TIMEOUT_S)
            except (OSError, TimeoutError) as why:
                log.warning("nats does not answer %s yet: %r", self.user, why)
                await asyncio.sleep(0.5)
            else:
                return

    async def close(self) -> None:
        """Close the connection, after flushing what was published."""
        nc = self.broker.connection
        if nc is None:
            return  # type: ignore[unreachable]
        with suppress(OSError, TimeoutError, nats.errors.Error):
            await nc.flush(1)
        with suppress(OSError):  # the server is gone already
            await nc.close()

    @property
    def nc(self) -> Client:
        """The client; raises `NotReady` before the first connect."""
        if self.broker.connection is None:
            raise NotReady("nats is not connected yet")
        return self.broker.connection

    @property
    def js(self) -> JetStreamContext:
        """JetStream over this connection."""
        return self.nc.jetstream(timeout=5)


class Bus:
    """The two NATS connections of a service."""

    def __init__(self, url: str, service: str, creds: Path | None) -> None:
        self.service = service
        self.own = NatsConnection(url, service, creds, service)
        self.relay = NatsConnection(url, f"{service}-relay", creds, service)

    async def open(self) -> None:
        """Open both connections."""
        await asyncio.gather(self.own.open(), self.relay.open())

    async def close(self) -> None:
        """Close both connections. Messages not applied yet are read again later."""
        await asyncio.gather(self.own.close(), self.relay.close())

    @property
    def nc(self) -> Client:
        """The service's own client."""
        return self.own.nc

    @property
    def js(self) -> JetStreamContext:
        """JetStream as the service itself."""
        return self.own.js

    async def wake(self, why: bytes = b"") -> None:
        """Notify the service's other replicas of something new in its schema."""
        await self.nc.publish(f"wake.{self.service}", why)

    async def on_wake(self, then: Callable[[bytes], None]) -> None:
        """Call `then` with the payload of each `wake`."""

        async def receive(msg: Msg) -> None:
            then(msg.data)

        await self.nc.subscribe(f"wake.{self.service}", cb=receive)
