"""HTTP/1.1 where much is sent: over kept connections, parsed in C by httptools, without a client.

A client that asks every idle connection for its health twice per request, and parses in Python, was
half of what notify cost. Errors are httpx's; how long to wait is the caller's to say.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

import httptools
import httpx

from chassis.tls import trusted

T = TypeVar("T")
Origin = tuple[str, str, int, str]

IDLE_TIMEOUT_S = 5.0
"""Seconds an idle connection is kept: less than servers keep theirs."""

MAX_HEADER_BYTES = 64 * 1024
"""Bytes an answer's headers may take, what follows its body included."""

MAX_BUFFERED_BYTES = 128 * 1024
"""Bytes of an answer taken in before somebody wants them."""


class Connection(asyncio.Protocol):
    """One connection to one origin, one exchange at a time; when `free` it may serve again."""

    def __init__(self) -> None:
        self.alive = False
        self.free = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._transport: asyncio.Transport | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._begin()

    def _begin(self) -> None:
        self.free, self.status, self.headers = False, 0, []
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._named = self._idle = 0
        self._done = self._keep = False
        self._why: httpx.TransportError | None = None
        self._news = asyncio.Event()

    # ---------------------------------------------------------------- the exchange

    def send(self, raw: bytes) -> None:
        """Begin an exchange."""
        assert self._transport is not None  # noqa: S101 (connected before it is given out)
        if self._expiry is not None:
            self._expiry.cancel()
            self._begin()
        self._transport.write(raw)

    async def head(self) -> None:
        """Await status and headers."""
        while not self._headed:
            self._raise()
            self._news.clear()
            await self._news.wait()

    async def piece(self) -> bytes:
        """Await what has come of the body; nothing when it is whole."""
        while not self._pieces:
            if self._done:
                return b""
            self._raise()
            self._news.clear()
            await self._news.wait()
        if self._waiting > MAX_BUFFERED_BYTES and self._transport is not None and self.alive:
            self._transport.resume_reading()
        told, self._pieces, self._waiting = b"".join(self._pieces), [], 0
        return told

    def release(self) -> None:
        """End the exchange; what is not whole, or not to be kept, is hung up."""
        if self._done and self.alive and self._keep:
            self.free = True
            self._expiry = asyncio.get_running_loop().call_later(IDLE_TIMEOUT_S, self.close)
        else:
            self.close()

    def close(self) -> None:
        """Hang up."""
        self.alive = self.free = False
        if self._expiry is not None:
            self._expiry.cancel()
        if self._transport is not None:
            self._transport.close()

    @property
    def _headed(self) -> bool:
        return self.status >= 200

    def _raise(self) -> None:
        if self._why is not None:
            raise self._why

    # ---------------------------------------------------------------- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.alive = cast(asyncio.Transport, transport), True

    def data_received(self, data: bytes) -> None:
        if self.free:
            self.close()  # nobody has asked
            return
        self._idle += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as why:
            self._fail(httpx.RemoteProtocolError(f"not HTTP/1.1: {type(why).__name__}"))
            self.close()
        if (
            self._idle > MAX_HEADER_BYTES and not self._done
        ):  # the parser keeps a line until it ends
            self._fail(httpx.RemoteProtocolError("headers that do not end"))
            self.close()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()
        names = {name.lower() for name, _ in self.headers}
        if self._headed and not names & {b"content-length", b"transfer-encoding"}:
            self._done = True  # this body ends with its connection
        elif exc is None:
            self._fail(httpx.RemoteProtocolError("the server hung up"))
        else:
            self._fail(httpx.ReadError(type(exc).__name__))
        self._news.set()

    def _fail(self, why: httpx.TransportError) -> None:
        if not self._done:
            self._why = self._why or why

    # ---------------------------------------------------------------- what the parser calls

    def on_message_begin(self) -> None:
        if self._done:
            raise ValueError("a second answer")
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._named += len(name) + len(value)
        if self._named > MAX_HEADER_BYTES:
            raise ValueError("headers that do not end")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self._headed:
            self._idle = 0

    def on_body(self, body: bytes) -> None:
        self._idle = 0
        self._pieces.append(body)
        self._waiting += len(body)
        if self._waiting > MAX_BUFFERED_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self._keep = bool(self._parser.should_keep_alive())
        self._done = self._headed  # what goes before, such as 100 Continue, ends nothing


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a server said."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """By their names in lower case."""
    complete: bool = True
    """Whether the body ended within what is read of it."""


class HttpClient:
    """Connections to many places; how many at once is the caller's limit."""

    def __init__(self) -> None:
        self._tls = trusted()
        self._kept: dict[Origin, list[Connection]] = {}

    async def exchange(
        self,
        scheme: str,
        host: str,
        port: int,
        raw: bytes,
        *,
        patience: float,
        most: int,
        name: str | None = None,
    ) -> HttpResponse:
        """Ask once, and read `most` bytes of the body; `patience` is for connecting, in seconds.

        A kept connection that had been hung up meanwhile is no failure: another one is asked.
        """
        while True:
            connection = await self.connection(scheme, host, port, patience, name=name)
            kept = connection.free
            try:
                connection.send(raw)
                return await _read_response(connection, most)
            except (httpx.RemoteProtocolError, httpx.ReadError):
                if not kept or connection.status:
                    raise
            finally:
                connection.release()

    async def connection(
        self, scheme: str, host: str, port: int, patience: float | None, *, name: str | None = None
    ) -> Connection:
        """Give a connection nobody uses. `name` is who must be there, if that is not the host."""
        tls, name = scheme == "https", name or host
        kept = self._kept.setdefault((scheme, host, port, name), [])
        kept[:] = [connection for connection in kept if connection.alive]
        for connection in kept:
            if connection.free:
                return connection
        opening = asyncio.get_running_loop().create_connection(
            Connection,
            host,
            port,
            ssl=self._tls if tls else None,
            server_hostname=name if tls else None,
        )
        try:
            _, connection = await _within(patience, opening, httpx.ConnectTimeout)
        except OSError as why:
            raise httpx.ConnectError(type(why).__name__) from why
        kept.append(connection)
        return connection

    async def aclose(self) -> None:
        for kept in self._kept.values():
            for connection in kept:
                connection.close()
        self._kept.clear()


async def _within(
    patience: float | None, work: Awaitable[T], late: type[httpx.TimeoutException]
) -> T:
    try:
        async with asyncio.timeout(patience) as limit:
            return await work
    except TimeoutError as why:
        if limit.expired():
            raise late(f"not within {patience} s") from why
        raise


async def _read_response(connection: Connection, most: int) -> HttpResponse:
    await connection.head()
    told, body = connection.headers, b""
    while (piece := await connection.piece()) and len(body) <= most:
        body += piece
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in told}
    return HttpResponse(connection.status, body[:most], headers, not piece and len(body) <= most)
