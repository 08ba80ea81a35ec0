"""Connections are kept, answers of every shape are read, and what breaks is told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from notify.transport import http_client
from notify.transport.http_client import HttpClient, HttpResponse

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of the given bytes; None hangs up."""

    def __init__(self, answers: list[bytes | None]) -> None:
        self.answers = answers
        self.connections = 0
        self.heard: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                self.heard.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                for piece in answer.split(b"|"):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if b"length" not in answer.lower() and b"chunked" not in answer.lower():
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


class Client:
    """Asks over kept connections, for a while."""

    def __init__(self, seconds: float = 2.0) -> None:
        self.wire = HttpClient()
        self.seconds = seconds

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.wire.aclose()

    async def post(self, url: str, content: bytes = b"", most: int = 10**7) -> HttpResponse:
        at = httpx.URL(url)
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        raw = head % (at.raw_path, len(content)) + content
        async with asyncio.timeout(self.seconds):
            return await self.wire.exchange(
                at.scheme, at.host, at.port or 80, raw, connect_timeout=1.0, max_bytes=most
            )


@asynccontextmanager
async def met(*answers: bytes | None) -> AsyncIterator[tuple[Server, str, Client]]:
    told = Server(list(answers))
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a?b=c"
    async with Client() as client:
        yield told, url, client
    server.close()


async def test_connection_is_kept_and_reused() -> None:
    async with met(OK, OK, OK) as (server, url, client):
        for _ in range(3):
            answer = await client.post(url, b"hello")
            assert (answer.status, answer.body) == (200, b"ok")
            assert (answer.headers, answer.complete) == ({"content-length": "2"}, True)
    assert server.connections == 1
    assert server.heard[0].startswith(b"POST /a?b=c HTTP/1.1\r\n")
    assert server.heard[0].endswith(b"\r\n\r\nhello")


async def test_concurrent_requests_have_own_connections() -> None:
    async with met(*[OK] * 8) as (server, url, client):
        await asyncio.gather(*(client.post(url) for _ in range(4)))
        await asyncio.gather(*(client.post(url) for _ in range(4)))
    assert server.connections == 4


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n|ok\r\n1|\r\n!\r\n0\r\n\r\n",
            b"ok!",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil |the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n|HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n|ok", b"ok"),
        (b"HTTP/1.1 204 No Content\r\nX-Length: 0\r\n\r\n", b""),
    ],
    ids=["chunked", "until the end", "after continue", "none"],
)
async def test_body_of_every_framing_is_read(answer: bytes, body: bytes) -> None:
    async with met(answer) as (_, url, client):
        assert (await client.post(url)).body == body


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"SSH-2.0-it-has-no-length\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=["hangs up", "half a body", "another protocol", "switches protocols"],
)
async def test_invalid_response_is_a_protocol_error(answer: bytes | None) -> None:
    async with met(answer, *[None] * 2) as (server, url, client):
        server.answers = server.answers[:1]
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(url)


async def test_unrequested_response_closes_the_connection() -> None:
    async with met(OK + OK.replace(b"200", b"500"), OK) as (server, url, client):
        assert (await client.post(url)).status == 200
        assert (await client.post(url)).status == 200
    assert server.connections == 2


async def test_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "IDLE_TIMEOUT_S", 0.01)
    async with met(OK, OK) as (server, url, client):
        await client.post(url)
        await asyncio.sleep(0.05)
        await client.post(url)
    assert server.connections == 2


async def test_silent_server_ends_in_a_timeout() -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with Client(0.05) as client:
        with pytest.raises(TimeoutError):
            await client.post(url)
    await gone.wait()
    server.close()


async def test_refused_connection_is_a_connect_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    async with Client() as client:
        with pytest.raises(httpx.ConnectError):
            await client.post(f"http://127.0.0.1:{port}/")


async def test_closed_kept_connection_is_replaced() -> None:
    async with met(OK, None, OK) as (server, url, client):
        await client.post(url)
        assert (await client.post(url)).status == 200
    assert (len(server.heard), server.connections) == (3, 2)


LINE = b"X-A: " + b"a" * 200 + b"\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"


@pytest.mark.parametrize(
    ("before", "again"),
    [
        (b"HTTP/1.1 200 OK\r\n", LINE),
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 200),
        (b"HTTP/1.1 200 OK\r\n", b"a" * 200),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"0\r\n", LINE),
        (CHUNKED + b"0\r\nX-A: ", b"a" * 200),
        (CHUNKED, b"0" * 200),
        (CHUNKED + b"1;", b"a" * 200),
    ],
    ids=[
        "headers", "a header", "a name", "interim answers", "trailers", "a trailer", "a size",
        "an extension",
    ],
)  # fmt: skip
async def test_endless_headers_close_the_connection(before: bytes, again: bytes) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(before)
        try:
            while sent < 64 * 1024 * 1024:
                writer.write(again * 64)
                await writer.drain()
                sent += len(again) * 64
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, Client(20) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(url)
    assert sent < 16 * 1024 * 1024  # what sockets hold between the two, and no more


async def test_headers_within_limit_and_long_body_are_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n" + LINE * 200 + b"\r\n"
    async with met(head + b"x" * 300_000) as (_, url, client):
        assert len((await client.post(url)).body) == 300_000


async def test_large_body_is_read_up_to_the_limit() -> None:
    size = 3 * http_client.MAX_BUFFERED_BYTES
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    async with met(large, large) as (_, url, client):
        assert len((await client.post(url)).body) == size
        little = await client.post(url, most=1000)
        assert (len(little.body), little.complete) == (1000, False)
