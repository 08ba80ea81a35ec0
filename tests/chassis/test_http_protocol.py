"""A server with limits: heads, bodies, connections, and bytes held for unknown senders."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from strangers import ENDLESS, endless, send, slow_body

from chassis.observability import metrics
from chassis.testing import eventually
from chassis.web import connections, http_protocol
from chassis.web.connections import MAX_HEAD_BYTES, MAX_HEADERS, ConnectionTable, connection_limit
from chassis.web.http_protocol import event_stream, limited, sender_known
from chassis.web.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from starlette.types import Receive, Scope, Send


SAID = {"/large": "x" * 8_000_000, "/early": "early"}


class Application:
    """Answers with what it was sent: how many bytes, or how many headers."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        path = scope["path"]
        if path == "/known":
            sender_known(scope)
        if path == "/stream":
            try:
                event_stream(scope)
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
        if path in {"/wait", "/stream"}:
            self.waiting += 1
            await self.go.wait()
        said = SAID.get(path) or str(len(await request.body()))
        headers = {"headers": str(len(scope["headers"]))}
        await PlainTextResponse(said, headers=headers)(scope, receive, send)


@asynccontextmanager
async def served(app: Any, protocol: Any) -> AsyncGenerator[int]:
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none", http=protocol)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ConnectionTable:
    """Connections as few, and times as short, as a test needs."""
    monkeypatch.setattr(connections, "SWEEP_S", 0.05)
    monkeypatch.setattr(http_protocol, "SWEEP_S", 0.05)
    monkeypatch.setattr(http_protocol, "LINGER_S", 0.1)
    return ConnectionTable("test", max_connections=8)


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
async def port(app: Application, table: ConnectionTable) -> AsyncGenerator[int]:
    async with served(app, limited(table)) as port:
        yield port
        app.go.set()


async def get(port: int, path: str = "/", **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
        return await http.get(path, **more)


def refused(reason: str) -> float:
    labels = {"service": "test", "reason": reason}
    return metrics.REGISTRY.get_sample_value("trunkline_http_refused_total", labels) or 0


# ------------------------------------------------------------------ heads


@pytest.mark.parametrize("kind", ENDLESS)
async def test_endless_head_or_framing_is_refused(port: int, kind: str) -> None:
    assert await send(port, endless(kind, 4 << 20)) == ("431", True)
    assert (await get(port)).status_code == 200


async def test_endless_header_is_read_by_the_plain_protocol(app: Application) -> None:
    async with served(app, "httptools") as port:
        attacks = [send(port, endless(kind, 4 << 20), within=0.5) for kind in ENDLESS]
        assert set(await asyncio.gather(*attacks)) == {("", False)}


async def test_head_of_32_kib_is_answered(port: int) -> None:
    begin, end = b"GET /", b" HTTP/1.1\r\nConnection: close\r\n\r\n"
    for size, status in ((MAX_HEAD_BYTES, "200"), (MAX_HEAD_BYTES + 1, "431")):
        head = begin + b"a" * (size - len(begin) - len(end)) + end
        for parts in ([head], [head[:100], head[100:-1], head[-1:]]):
            assert (await send(port, parts, pause=0.01))[0] == status, size


async def test_128_headers_are_answered(port: int) -> None:
    for more, status in ((0, "200"), (1, "431")):
        head = b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEADERS + more) + b"\r\n"
        assert (await send(port, [head], within=0.5))[0] == status


async def test_trailers_are_no_headers(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + b"1\r\nx\r\n0\r\nX-Secret: y\r\n\r\n")
    assert b"headers: 2\r\n" in await reader.read()
    writer.close()


async def test_head_is_awaited_so_long(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.3)
    dribble = [b"GET / HTTP/1.1\r\n", *[b"a"] * 1000]
    later = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"G", *[b""] * 1000]
    assert await send(port, dribble, pause=0.02) == ("408", True)
    assert await send(port, [b""]) == ("", True)
    assert await send(port, later, pause=0.02) == ("200", True)


async def test_pipelined_requests_are_few(
    port: int, table: ConnectionTable, caplog: pytest.LogCaptureFixture
) -> None:
    one, last = b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(one * 7 + last)
    assert (await reader.read()).count(b"HTTP/1.1 200") == 8
    writer.close()
    assert (await send(port, [one * 5000]))[1]
    assert refused("pipelined") == 1
    assert table.held_bytes == 0
    assert "Exception" not in caplog.text


# ------------------------------------------------------------------ bodies


async def test_slow_body_is_ended(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "BODY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(http_protocol, "MIN_BODY_BYTES_PER_S", 10_000)
    assert await send(port, slow_body("/", 100, 10), pause=0.02) == ("408", True)
    body = slow_body("/", 30_000, 30)  # twice as long as one may stay silent, and fast enough
    whole = [next(body) for _ in range(31)] + [b"b"]
    assert (await send(port, whole, pause=0.02, within=1))[0] == "200"


async def test_body_after_its_answer_is_read_so_far(port: int) -> None:
    def body() -> Iterator[bytes]:
        yield b"POST /early HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n"
        while True:
            yield b"b" * 4096

    assert await send(port, body(), pause=0.001) == ("200", True)
    assert refused("body_discarded") == 1


async def test_oldest_bodies_of_strangers_make_room(
    port: int, table: ConnectionTable, app: Application
) -> None:
    table.max_held_bytes = 300_000
    known = asyncio.create_task(send(port, slow_body("/known", 900_000, 1), within=2))
    slow = []
    for n in range(3):
        slow.append(asyncio.create_task(send(port, slow_body("/", 90_000, 1), within=2)))
        await eventually(lambda n=n: held(table, n * 90_000))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        answer = await http.post("/", content=b"b" * 60_000)
    assert (answer.status_code, answer.text) == (200, "60000")
    results = [await each for each in slow]
    assert results[0] == ("503", True)
    assert results[2] == ("", False)
    assert await known == ("", False)
    await eventually(lambda: held(table, -1, 0))


async def held(table: ConnectionTable, more: int, less: int = 1 << 40) -> bool:
    return more < table.held_bytes <= less


# ------------------------------------------------------------------ connections


async def test_idle_connections_make_room(port: int, app: Application) -> None:
    waiting = [asyncio.create_task(get(port, "/wait")) for _ in range(3)]
    await eventually(lambda: waits(app, 3))
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
    assert (await get(port)).status_code == 200
    gone = [await asyncio.wait_for(reader.read(), 5) for reader, _ in idle[:30]]
    assert set(gone) == {b""}
    app.go.set()
    assert [(await each).status_code for each in waiting] == [200] * 3
    for _, writer in idle:
        writer.close()


async def test_connections_are_refused_when_all_are_busy(port: int, app: Application) -> None:
    waiting = [asyncio.create_task(get(port, "/wait")) for _ in range(8)]
    await eventually(lambda: waits(app, 8))
    status, closed = await send(port, [b""])
    assert (status, closed) == ("503", True)
    app.go.set()
    assert [(await each).status_code for each in waiting] == [200] * 8


async def waits(app: Application, number: int) -> bool:
    return app.waiting == number


async def test_unread_answers_make_room(port: int, table: ConnectionTable) -> None:
    unread = []
    for _ in range(8):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        unread.append((reader, writer))

    async def stuck() -> bool:
        return len(table.unread) == 8

    await eventually(stuck)
    assert (await get(port)).status_code == 200
    for _, writer in unread:
        writer.transport.abort()


async def test_unread_answer_is_cut(
    port: int, table: ConnectionTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "WRITE_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.write(b"GET /large HTTP/1.1\r\n\r\n")

    async def cut() -> bool:
        return not table.connections

    await eventually(lambda: asyncio.sleep(0, result=bool(table.connections)))
    await eventually(cut)
    writer.transport.abort()
    assert reader


async def test_event_streams_have_their_own_limit(
    port: int, app: Application, table: ConnectionTable
) -> None:
    assert table.max_event_streams == 6
    streams = [asyncio.create_task(get(port, "/stream")) for _ in range(6)]
    await eventually(lambda: waits(app, 6))
    more = await get(port, "/stream")
    assert (more.status_code, more.headers["retry-after"]) == (503, "5")
    assert (await get(port)).status_code == 200
    app.go.set()
    assert [(await each).status_code for each in streams] == [200] * 6
    assert table.event_streams == 0


def test_connections_follow_the_file_descriptors() -> None:
    assert [connection_limit(each) for each in (256, 1024, 1 << 20)] == [32, 800, 4096]
    with pytest.raises(ValueError, match="RLIMIT_NOFILE is 255; it must be 256 or more"):
        connection_limit(255)
