"""A fast HTTP/1.1 client: kept connections, and responses parsed in C by httptools.

httpx's client took half of notify's CPU, because it checks every idle connection twice for each
request and parses in Python. The errors raised are httpx's; the caller sets the timeouts.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

import httptools
import httpx

from chassis.tls import trusted_certificates

T = TypeVar("T")
Origin = tuple[str, str, int, str]

IDLE_TIMEOUT_S = 5.0
"""Seconds for which an idle connection is kept; servers keep theirs longer."""

MAX_HEADER_BYTES = 64 * 1024
"""The largest size of a response's headers in bytes, trailers included."""

MAX_BUFFERED_BYTES = 128 * 1024
"""Bytes of a response that are buffered before reading from the socket pauses."""


class Connection(asyncio.Protocol):
    """A connection to one origin, for one exchange at a time; when `free` it can be reused."""

    def __init__(self) -> None:
        self.alive = False
        self.free = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._transport: asyncio.Transport | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._reset()

    def _reset(self) -> None:
        self.free, self.status, self.headers = False, 0, []
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._header_bytes = self._unparsed = 0
        self._is_complete = self._is_reusable = False
        self._error: httpx.TransportError | None = None
        self._changed = asyncio.Event()

    # ---------------------------------------------------------------- the exchange

    def send(self, raw: bytes) -> None:
        """Send a request, which begins an exchange."""
        assert self._transport is not None  # noqa: S101 (it is connected before anyone gets it)
        if self._expiry is not None:
            self._expiry.cancel()
            self._reset()
        self._transport.write(raw)

    async def head(self) -> None:
        """Wait for the status and the headers."""
        while not self._has_head:
            self._raise()
            self._changed.clear()
            await self._changed.wait()

    async def piece(self) -> bytes:
        """Return the next part of the body; empty when it is complete."""
        while not self._pieces:
            if self._is_complete:
                return b""
            self._raise()
            self._changed.clear()
            await self._changed.wait()
        if self._buffered > MAX_BUFFERED_BYTES and self._transport is not None and self.alive:
            self._transport.resume_reading()
        data, self._pieces, self._buffered = b"".join(self._pieces), [], 0
        return data

    def release(self) -> None:
        """End the exchange; close the connection if it is not complete or must not be kept."""
        if self._is_complete and self.alive and self._is_reusable:
            self.free = True
            self._expiry = asyncio.get_running_loop().call_later(IDLE_TIMEOUT_S, self.close)
        else:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self.alive = self.free = False
        if self._expiry is not None:
            self._expiry.cancel()
        if self._transport is not None:
            self._transport.close()

    @property
    def _has_head(self) -> bool:
        return self.status >= 200

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    # ---------------------------------------------------------------- callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.alive = cast(asyncio.Transport, transport), True

    def data_received(self, data: bytes) -> None:
        if self.free:
            self.close()  # data without a request
            return
        self._unparsed += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(httpx.RemoteProtocolError(f"not HTTP/1.1: {type(error).__name__}"))
            self.close()
        # The parser reports a header only when its line ends.
        if self._unparsed > MAX_HEADER_BYTES and not self._is_complete:
            self._fail(httpx.RemoteProtocolError("headers that do not end"))
            self.close()
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()
        names = {name.lower() for name, _ in self.headers}
        if self._has_head and not names & {b"content-length", b"transfer-encoding"}:
            self._is_complete = True  # the end of the connection ends this body
        elif exc is None:
            self._fail(httpx.RemoteProtocolError("the server hung up"))
        else:
            self._fail(httpx.ReadError(type(exc).__name__))
        self._changed.set()

    def _fail(self, error: httpx.TransportError) -> None:
        if not self._is_complete:
            self._error = self._error or error

    # ---------------------------------------------------------------- callbacks of the parser

    def on_message_begin(self) -> None:
        if self._is_complete:
            raise ValueError("a second answer")
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("headers that do not end")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self._has_head:
            self._unparsed = 0

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        self._pieces.append(body)
        self._buffered += len(body)
        if self._buffered > MAX_BUFFERED_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self._is_reusable = bool(self._parser.should_keep_alive())
        # An interim response such as 100 Continue does not end the exchange.
        self._is_complete = self._has_head


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A server's response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """The headers, by their names in lower case."""
    complete: bool = True
    """Whether the body ended within the bytes that were read."""


class HttpClient:
    """Connections to any number of origins; the caller limits how many are open at a time."""

    def __init__(self) -> None:
        self._tls = trusted_certificates()
        self._kept: dict[Origin, list[Connection]] = {}

    async def exchange(
        self,
        scheme: str,
        host: str,
        port: int,
        raw: bytes,
        *,
        connect_timeout: float,
        max_bytes: int,
        name: str | None = None,
    ) -> HttpResponse:
        """Send a request, and return the response with at most `max_bytes` of its body.

        `connect_timeout` is in seconds. `name` is the name of the certificate, if it is not the
        host. A request on a kept connection that the server had closed is sent again on another.
        """
        while True:
            connection = await self.connection(scheme, host, port, connect_timeout, name=name)
            kept = connection.free
            try:
                connection.send(raw)
                return await _read_response(connection, max_bytes)
            except (httpx.RemoteProtocolError, httpx.ReadError):
                if not kept or connection.status:
                    raise
            finally:
                connection.release()

    async def connection(
        self,
        scheme: str,
        host: str,
        port: int,
        connect_timeout: float | None,
        *,
        name: str | None = None,
    ) -> Connection:
        """Return a connection that is not in use; `name` is the certificate's name, or the host."""
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
            _, connection = await _with_timeout(connect_timeout, opening, httpx.ConnectTimeout)
        except OSError as error:
            raise httpx.ConnectError(type(error).__name__) from error
        kept.append(connection)
        return connection

    async def aclose(self) -> None:
        for kept in self._kept.values():
            for connection in kept:
                connection.close()
        self._kept.clear()


async def _with_timeout(
    connect_timeout: float | None, work: Awaitable[T], timeout_error: type[httpx.TimeoutException]
) -> T:
    try:
        async with asyncio.timeout(connect_timeout) as limit:
            return await work
    except TimeoutError as error:
        if limit.expired():
            raise timeout_error(f"not within {connect_timeout} s") from error
        raise


async def _read_response(connection: Connection, max_bytes: int) -> HttpResponse:
    await connection.head()
    pairs, body = connection.headers, b""
    while (piece := await connection.piece()) and len(body) <= max_bytes:
        body += piece
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}
    return HttpResponse(
        connection.status, body[:max_bytes], headers, not piece and len(body) <= max_bytes
    )
