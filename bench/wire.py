"""A cheap load generator: keep-alive HTTP/1.1 over plain sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """Return the bytes of a request."""
    payload = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(payload)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if payload:
        lines.append("Content-Type: application/json")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + payload


class Connection:
    """A connection that sends one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request; return status and body. A closed connection is reopened."""
        if self._writer is not None:
            try:
                return await self._send(raw)
            except (asyncio.IncompleteReadError, ConnectionError):
                self._writer = None
        return await self._send(raw)

    async def _send(self, raw: bytes) -> tuple[int, bytes]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader is not None
        self._writer.write(raw)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, length = int(head[9:12]), 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        body = await self._reader.readexactly(length) if length else b""
        return status, body

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()


class Pool:
    """A pool of connections to one port."""

    def __init__(self, port: int, size: int) -> None:
        self._free: asyncio.Queue[Connection] = asyncio.Queue()
        for _ in range(size):
            self._free.put_nowait(Connection(port))

    async def send(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request over a free connection; return status and body."""
        connection = await self._free.get()
        try:
            return await connection.send(raw)
        finally:
            self._free.put_nowait(connection)

    def close(self) -> None:
        """Close all connections."""
        while not self._free.empty():
            self._free.get_nowait().close()


async def closed_loop(port: int, requests: list[bytes], connections: int) -> float:
    """Send all requests over `connections` connections; return requests per second."""
    todo = iter(requests)
    clock = asyncio.get_running_loop().time

    async def worker() -> None:
        connection = Connection(port)
        for raw in todo:
            status, body = await connection.send(raw)
            if status >= 300:
                raise RuntimeError(f"{status}: {body[:200]!r}")
        connection.close()

    began = clock()
    await asyncio.gather(*(worker() for _ in range(connections)))
    return len(requests) / (clock() - began)
