"""Strangers at an HTTP port: what they send over sockets, and who is served meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

import httpx
import psutil
from desk import soon, update

from trunkline.child import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from world import World

DESCRIPTORS = 1024
MAX_GROWTH = 64 << 20
LIMITED = """
import resource, sys
from trunkline import serving
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]),) * 2)
serving.serve(sys.argv[1])
"""
PLAIN = LIMITED.replace(
    "serving.serve", "serving._protocol = lambda name: 'httptools'\nserving.serve"
)
"""The same by uvicorn's own protocol: every attack succeeds."""


@dataclass(eq=False)
class Witness(threading.Thread):
    """Asks a port all the time, on connections of its own: is it alive, and does it deliver."""

    port: int
    pid: int
    secret: str
    """Of the Telegram account; empty where nothing is delivered."""
    waits: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    delivered: int = 0
    growth: int = 0
    """Bytes of memory at most, beyond those at the beginning."""

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._ending = threading.Event()

    def run(self) -> None:
        memory = psutil.Process(self.pid).memory_info
        before = memory().rss
        while not self._ending.wait(0.02):
            self._ask("GET", "/health/live")
            if self.secret:
                self._ask("POST", "/channels/telegram/main")
            self.growth = max(self.growth, memory().rss - before)

    def _ask(self, method: str, path: str) -> None:
        body = b"" if method == "GET" else json.dumps(update(self.delivered, 7, "hello")).encode()
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.secret}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        began = time.monotonic()
        try:
            connection.request(method, path, body, headers)
            status = connection.getresponse().status
        except (OSError, HTTPException) as error:
            self.failures.append(f"{method} {path}: {error!r}")
            return
        finally:
            connection.close()
        if status != 200:
            self.failures.append(f"{method} {path}: {status}")
        elif method == "POST":
            self.delivered += 1
        else:
            self.waits.append(time.monotonic() - began)

    def __enter__(self) -> Witness:
        self.start()
        soon(lambda: self.waits or self.failures)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self.join(20)


@dataclass
class Port:
    """A service's process and its port."""

    service: str
    number: int
    pid: int
    secret: str

    def witness(self) -> Witness:
        return Witness(self.number, self.pid, self.secret if self.service == "ingest" else "")


@contextmanager
def ports(
    world: World, *services: str, program: str = LIMITED, descriptors: int = DESCRIPTORS
) -> Iterator[list[Port]]:
    """Processes of these services, ready, each with so many file descriptors."""
    processes, found = [], []
    try:
        for service in services:
            port = free_port()
            environment = {**os.environ, **world.env(service, PORT=str(port), LOG_LEVEL="ERROR")}
            words = [sys.executable, "-c", program, service, str(descriptors)]
            processes.append(subprocess.Popen(words, env=environment))
            secret = world.environment["TELEGRAM_MAIN_SECRET"]
            found.append(Port(service, port, processes[-1].pid, secret))
        for each in found:
            url = f"http://127.0.0.1:{each.number}/health/ready"
            soon(lambda url=url: httpx.get(url).status_code == 200, within=60)
        yield found
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


def raise_descriptors() -> None:
    """Allow this process, which plays thousands of clients, as many descriptors as may be."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Client(asyncio.Protocol):
    """A connection: what came over it, and whether it was closed from the other side."""

    def __init__(self) -> None:
        self.received = b""
        self.is_closed = False
        self.heard = asyncio.Event()
        self.can_write = asyncio.Event()
        self.can_write.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.heard.set()

    def eof_received(self) -> bool:
        self.connection_lost(None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self.heard.set()
        self.can_write.set()

    def pause_writing(self) -> None:
        self.can_write.clear()

    def resume_writing(self) -> None:
        self.can_write.set()

    @property
    def status(self) -> str:
        """The first answer's."""
        return self.received[9:12].decode()


async def send(
    port: int, pieces: Iterable[bytes], *, pause: float = 0, within: float = 20
) -> tuple[str, bool]:
    """Send until the connection is closed; returns the first status, and whether it was."""
    loop = asyncio.get_running_loop()
    try:
        transport, client = await loop.create_connection(Client, "127.0.0.1", port)
    except OSError:
        return "", True
    try:
        async with asyncio.timeout(within):
            for piece in pieces:
                if client.is_closed:
                    break
                transport.write(piece)
                await client.can_write.wait()
                await asyncio.sleep(pause)
            while not client.is_closed:
                client.heard.clear()
                await client.heard.wait()
    except TimeoutError:
        pass
    finally:
        transport.abort()
    return client.status, client.is_closed


CHUNKED = b"POST /none HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "header": (b"GET / HTTP/1.1\r\nX: ", b"a" * 4096),
    "headers": (b"GET / HTTP/1.1\r\n", b"a:b\r\n" * 800),
    "url": (b"GET /", b"a" * 4096),
    "newlines": (b"", b"\r\n" * 2048),
    "trailer": (CHUNKED + b"1\r\nx\r\n0\r\nX: ", b"a" * 4096),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"a:b\r\n" * 800),
    "extension": (CHUNKED + b"1;", b"a" * 4096),
}
"""How each begins that never ends, and how it goes on."""


def endless(kind: str, size: int) -> Iterator[bytes]:
    """Send one of these, up to so many bytes."""
    begin, more = ENDLESS[kind]
    yield begin
    for _ in range(size // len(more)):
        yield more


def slow_body(path: str, size: int, pieces: int, **headers: str) -> Iterator[bytes]:
    """Send a body in pieces, all but its last byte."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {size}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    yield ("\r\n".join(lines) + "\r\n\r\n").encode()
    for n in range(pieces):
        yield b"b" * (size * (n + 1) // pieces - size * n // pieces - (n + 1 == pieces))
    while True:
        yield b""


@contextmanager
def idle(port: int, number: int) -> Iterator[None]:
    """Connections over which nothing is sent."""
    made = []
    try:
        for _ in range(number):
            each = socket.create_connection(("127.0.0.1", port), timeout=5)
            made.append(each)
        yield
    finally:
        for each in made:
            each.close()
