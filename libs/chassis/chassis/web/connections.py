"""The limits of an HTTP port, and the table of its connections.

The table looks at each connection once a second, so a request costs no timer of its own. Long, as
all figures are here.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from chassis.observability import metrics
from chassis.web.problems import Problem, unavailable

MAX_HEAD_BYTES = 32 * 1024
"""Request line and headers; also trailers, and extensions between two pieces of a body."""
MAX_HEADERS = 128
MAX_PIPELINED_REQUESTS = 8
HEAD_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 30.0
MIN_BODY_BYTES_PER_S = 64 * 1024
"""Each 64 KiB of a body that arrive are one second more for the rest."""
WRITE_TIMEOUT_S = 30.0
"""How long a client may leave an answer unread."""
LINGER_S = 2.0
"""How long a refused client may take to read why."""
MAX_DISCARDED_BYTES = 256 * 1024
"""Of a body that was answered before it was whole."""
MAX_HELD_BYTES = 24 * 1024 * 1024
"""Of all requests together whose sender is not known."""
HELD_SHARE = 0.75
"""The share of `MAX_HELD_BYTES` that remains after the oldest requests were refused."""
PIECE_BYTES, HEADER_BYTES = 64, 192
"""Memory of a piece of a body and of a header, besides the bytes received."""
MAX_EVENT_STREAMS = 600
MAX_CONNECTIONS = 4096
MIN_CONNECTIONS = 32
RESERVED_DESCRIPTORS = 224
"""For PostgreSQL, NATS, SMTP, files, and requests to others."""
SWEEP_S = 1.0


def _answer(problem: Problem) -> tuple[bytes, bytes]:
    """Return a problem's status line, and its headers and body."""
    response = problem.response()
    lines = [b"%s: %s" % pair for pair in response.raw_headers]
    rest = b"\r\n".join([*lines, b"connection: close", b"", bytes(response.body)])
    return f"HTTP/1.1 {problem.status_code} {problem.title}\r\n".encode(), rest


ANSWERS = {
    "malformed": _answer(Problem(400, "malformed", "the request is not HTTP/1.1")),
    "head_too_large": _answer(
        Problem(
            431,
            "head_too_large",
            f"request line and headers may have {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers",
        )
    ),
    "head_timeout": _answer(
        Problem(408, "timeout", f"request line and headers may take {HEAD_TIMEOUT_S:.0f} s")
    ),
    "body_timeout": _answer(
        Problem(408, "timeout", f"a body may take {BODY_TIMEOUT_S:.0f} s and 1 s for each 64 KiB")
    ),
    "bytes_held": _answer(unavailable("too much is being received; send it again")),
    "connections": _answer(unavailable("there are too many connections; send it again")),
    "pipelined": _answer(
        Problem(429, "too_many_requests", f"{MAX_PIPELINED_REQUESTS} requests may be pipelined")
    ),
}
"""What is answered before the application is asked, by the `reason` in the metric."""


def connection_limit(descriptors: int) -> int:
    """Return how many connections a process with so many file descriptors may have.

    Raises ValueError when there are too few descriptors.
    """
    least = RESERVED_DESCRIPTORS + MIN_CONNECTIONS
    if descriptors < least:
        raise ValueError(f"RLIMIT_NOFILE is {descriptors}; it must be {least} or more")
    return min(descriptors - RESERVED_DESCRIPTORS, MAX_CONNECTIONS)


class Connection(Protocol):
    """What the table asks of a connection."""

    loop: asyncio.AbstractEventLoop
    since: float
    held_bytes: int

    def check(self, now: float) -> None:
        """Close the connection when one of its deadlines has passed."""

    def refuse(self, reason: str) -> None:
        """Answer with a problem, and read no more."""

    def evict(self) -> None:
        """Close the connection at once."""


Group = dict[Connection, None]
"""Connections, the one that came to the group first at the front."""


class ConnectionTable:
    """The connections of one server, and the bytes that are held for them."""

    def __init__(
        self, service: str, max_connections: int, max_held_bytes: int = MAX_HELD_BYTES
    ) -> None:
        """Limit connections, event streams among them, and bytes held for unknown senders."""
        self.max_connections = max_connections
        self.max_event_streams = min(MAX_EVENT_STREAMS, max_connections * 3 // 4)
        self.max_held_bytes = max_held_bytes
        self.event_streams = 0
        self.held_bytes = 0
        self.connections: Group = {}
        self.refused: Group = {}
        self.idle: Group = {}
        """Without a request, or with a part of a head."""
        self.receiving: Group = {}
        """With a part of a body."""
        self.unread: Group = {}
        """With an answer that its client does not read."""
        self._service = service
        self._timer: asyncio.TimerHandle | None = None

    def count(self, reason: str) -> None:
        """Count a connection that was refused."""
        metrics.http_refused.labels(self._service, reason).inc()

    def add(self, connection: Connection) -> bool:
        """Admit a connection; at the limit another one is closed for it, or it is refused."""
        if self._timer is None:
            self._timer = connection.loop.call_later(SWEEP_S, self._sweep, connection.loop)
        self.connections[connection] = None
        return len(self.connections) <= self.max_connections or self._make_room()

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        for group in (self.connections, self.refused, self.unread):
            group.pop(connection, None)

    def hold(self, connection: Connection, size: int) -> None:
        """Count bytes of a connection; over the limit the oldest unfinished requests are refused.

        Whole requests are not: attackers send slowly, and what is whole is answered at once.
        """
        connection.held_bytes += size
        self.held_bytes += size
        if self.held_bytes <= self.max_held_bytes:
            return
        unfinished = [each for each in (*self.receiving, *self.idle) if each.held_bytes]
        for each in sorted(unfinished, key=lambda each: each.since):
            if self.held_bytes <= self.max_held_bytes * HELD_SHARE:
                return
            each.refuse("bytes_held")
        if self.held_bytes > self.max_held_bytes:
            connection.refuse("bytes_held")

    def release(self, connection: Connection) -> None:
        """Count the bytes of a connection no longer."""
        self.held_bytes -= connection.held_bytes
        connection.held_bytes = 0

    def _make_room(self) -> bool:
        for group in (self.refused, self.idle, self.receiving, self.unread):
            if (oldest := next(iter(group), None)) is not None:
                oldest.evict()
                return True
        return False

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in tuple(self.connections):
            connection.check(now)
        again = loop.call_later(SWEEP_S, self._sweep, loop) if self.connections else None
        self._timer = again
