"""The limits of an HTTP port, and the table of its connections.

The table checks each connection once a second, so that a request needs no timer.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from chassis.observability import metrics
from chassis.web.problems import Problem, unavailable

MAX_HEAD_BYTES = 32 * 1024
"""For request line and headers; also for trailers and chunk extensions."""
MAX_HEADERS = 128
MAX_PIPELINED_REQUESTS = 8
HEAD_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 30.0
MIN_BODY_BYTES_PER_S = 64 * 1024
"""Each 64 KiB of a body extend its timeout by one second."""
WRITE_TIMEOUT_S = 30.0
"""Seconds a client may leave an answer unread."""
LINGER_S = 2.0
"""Seconds a refused client may take to read the answer."""
MAX_DISCARDED_BYTES = 256 * 1024
"""For a body that was answered before it was complete."""
MAX_HELD_BYTES = 24 * 1024 * 1024
"""For all requests of unknown senders together."""
HELD_SHARE = 0.75
"""The share of `MAX_HELD_BYTES` that is left after the oldest requests were refused."""
PIECE_BYTES, HEADER_BYTES = 64, 192
"""Memory overhead of a piece of a body, and of a header, in bytes."""
MAX_EVENT_STREAMS = 600
MAX_CONNECTIONS = 4096
MIN_CONNECTIONS = 32
RESERVED_DESCRIPTORS = 224
"""File descriptors for PostgreSQL, NATS, SMTP, files and outgoing requests."""
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
"""Answers given before the application is called, by the `reason` of the metric."""


def connection_limit(descriptors: int) -> int:
    """Return the number of connections allowed with so many file descriptors.

    Raises ValueError when there are too few.
    """
    least = RESERVED_DESCRIPTORS + MIN_CONNECTIONS
    if descriptors < least:
        raise ValueError(f"RLIMIT_NOFILE is {descriptors}; it must be {least} or more")
    return min(descriptors - RESERVED_DESCRIPTORS, MAX_CONNECTIONS)


class Connection(Protocol):
    """The interface of a connection to its table."""

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
"""Connections, in the order in which they joined the group."""


class ConnectionTable:
    """The connections of one server, and the bytes held for them."""

    def __init__(
        self, service: str, max_connections: int, max_held_bytes: int = MAX_HELD_BYTES
    ) -> None:
        """Set the limits of connections, event streams included, and of bytes held."""
        self.max_connections = max_connections
        self.max_event_streams = min(MAX_EVENT_STREAMS, max_connections * 3 // 4)
        self.max_held_bytes = max_held_bytes
        self.event_streams = 0
        self.held_bytes = 0
        self.connections: Group = {}
        self.refused: Group = {}
        self.idle: Group = {}
        """Connections without a request, or with a part of a head."""
        self.receiving: Group = {}
        """Connections with a part of a body."""
        self.unread: Group = {}
        """Connections whose client does not read the answer."""
        self._service = service
        self._timer: asyncio.TimerHandle | None = None

    def count(self, reason: str) -> None:
        """Count a refused connection."""
        metrics.http_refused.labels(self._service, reason).inc()

    def add(self, connection: Connection) -> bool:
        """Add a connection; at the limit close another one. Return whether there was room."""
        if self._timer is None:
            self._timer = connection.loop.call_later(SWEEP_S, self._sweep, connection.loop)
        self.connections[connection] = None
        return len(self.connections) <= self.max_connections or self._make_room()

    def remove(self, connection: Connection) -> None:
        """Remove a connection."""
        for group in (self.connections, self.refused, self.unread):
            group.pop(connection, None)

    def hold(self, connection: Connection, size: int) -> None:
        """Count bytes of a connection; above the limit refuse the oldest incomplete requests.

        Complete requests are spared: they are answered at once, and attackers send slowly.
        """
        connection.held_bytes += size
        self.held_bytes += size
        if self.held_bytes <= self.max_held_bytes:
            return
        incomplete = [other for other in (*self.receiving, *self.idle) if other.held_bytes]
        for oldest in sorted(incomplete, key=lambda other: other.since):
            if self.held_bytes <= self.max_held_bytes * HELD_SHARE:
                return
            oldest.refuse("bytes_held")
        if self.held_bytes > self.max_held_bytes:
            connection.refuse("bytes_held")

    def release(self, connection: Connection) -> None:
        """Release the bytes held for a connection."""
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
