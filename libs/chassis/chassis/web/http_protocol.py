"""HTTP/1.1 with limits of size, time and number of connections.

uvicorn's own protocol has no such limits; this one leaves the parsing to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chassis.web.connections import (
    ANSWERS,
    BODY_TIMEOUT_S,
    HEAD_TIMEOUT_S,
    HEADER_BYTES,
    LINGER_S,
    MAX_DISCARDED_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_PIPELINED_REQUESTS,
    MIN_BODY_BYTES_PER_S,
    PIECE_BYTES,
    SWEEP_S,
    WRITE_TIMEOUT_S,
    ConnectionTable,
    Group,
)
from chassis.web.problems import unavailable

IDLE, HEAD, BODY = range(3)
"""Stages of a request: nothing received, a part of the head, a part of the body."""


class _Stop(Exception):
    """Stops the parser, after the connection was refused."""


def limited(table: ConnectionTable) -> Callable[..., asyncio.Protocol]:
    """Return the protocol factory of a server, for uvicorn's setting `http`."""
    return partial(LimitedProtocol, table=table)


def sender_known(scope: Scope) -> None:
    """Release a request's bytes from the limit for unknown senders."""
    if (connection := scope.get("connection")) is not None:
        connection.sender_known()


def event_stream(scope: Scope) -> None:
    """Count a request as an event stream until its end; raise a `Problem` at their limit."""
    if (connection := scope.get("connection")) is not None:
        connection.event_stream()


class LimitedProtocol(HttpToolsProtocol):
    """One connection, limited by its table."""

    def __init__(self, *args: Any, table: ConnectionTable, **named: Any) -> None:
        super().__init__(*args, **named)
        self.table = table
        self.headers: list[tuple[bytes, bytes]] = []
        self.since = 0.0
        """Loop time at which the present stage began."""
        self.held_bytes = 0
        self._stage = IDLE
        self._group: Group | None = None
        self._is_refused = self._is_known = self._is_stream = False
        self._is_answering = self._has_answered = False
        self._has_completed = False
        self._head_bytes = self._headers_held = 0
        self._body_bytes = self._discarded_bytes = 0
        self._framing_bytes = 0
        self._unsent_bytes, self._unread_s = 0, 0.0

    def sender_known(self) -> None:
        """Release the held bytes: the limit is for unknown senders only."""
        self._is_known = True
        self.table.release(self)

    def event_stream(self) -> None:
        """Count the request as an event stream; raise a `Problem` at their limit."""
        if self.table.event_streams >= self.table.max_event_streams:
            raise unavailable(f"there are {self.table.event_streams} event streams", retry_after=5)
        self._is_stream = True
        self.table.event_streams += 1

    # ------------------------------------------------------------------ called by the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = self.loop.time()
        if self.table.add(self):
            self._move(self.table.idle)
        else:
            self.refuse("connections")
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disconnect()
        self._finish()
        self._move(None)
        self.table.remove(self)
        self.cycle = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        room = MAX_HEAD_BYTES - self._head_bytes
        if self._stage == BODY or len(data) <= room:
            self._parse(data)
        else:
            self._parse(data[:room])
            self.data_received(data[room:])

    def pause_writing(self) -> None:
        super().pause_writing()
        self.table.unread[self] = None

    def resume_writing(self) -> None:
        super().resume_writing()
        self.table.unread.pop(self, None)

    def _parse(self, piece: bytes) -> None:
        if self._is_refused:
            return
        before, body_bytes = self._stage, self._body_bytes
        self._stage = before or HEAD
        self._has_completed = False
        super().data_received(piece)
        if self._has_ended():
            return
        self._place()
        if self._stage == IDLE:
            self._head_bytes = self._framing_bytes = 0
            if self._is_answering:
                self._hold(len(piece))
        else:
            if self._stage != before or self._has_completed:
                self.since = self.loop.time()
            is_framing = self._stage == before == BODY and self._body_bytes == body_bytes
            self._check_part(len(piece), is_framing=is_framing)

    def _has_ended(self) -> bool:
        return self._is_refused  # a method, because mypy does not see that parsing changes it

    def _check_part(self, size: int, *, is_framing: bool) -> None:
        """Hold a part of a request, or refuse the request."""
        is_head = self._stage == HEAD and not self._has_completed
        self._head_bytes = self._head_bytes + size if is_head else 0
        self._framing_bytes = self._framing_bytes + size if is_framing else 0
        if max(self._head_bytes, self._framing_bytes) >= MAX_HEAD_BYTES:
            self.refuse("head_too_large")
        elif self._stage == BODY and not self._is_answering:
            self._discarded_bytes += size
            if self._discarded_bytes > MAX_DISCARDED_BYTES:
                self.refuse("body_discarded")
        else:
            self._hold(size)

    def _hold(self, size: int) -> None:
        if self._is_known:
            return
        headers = len(self.headers)
        size += PIECE_BYTES + HEADER_BYTES * (headers - self._headers_held)
        self._headers_held = headers
        self.table.hold(self, size)

    # ------------------------------------------------------------------ called by the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]
        self._stage = HEAD
        self._headers_held = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) == MAX_HEADERS:  # 32 KB may be 6,500 headers, and 4 ms
            self.refuse("head_too_large")
            raise _Stop
        # The same as uvicorn's; calling that would cost 1 us per request.
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED_REQUESTS:
            self.refuse("pipelined")
            raise _Stop
        super().on_headers_complete()
        self._stage, self._is_answering = BODY, True
        self._body_bytes = self._discarded_bytes = 0
        self.headers = [*self.headers]  # trailers must not be added to the request's headers

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stage, self._has_completed = IDLE, True

    # ------------------------------------------------------------------ called by uvicorn

    def on_response_complete(self) -> None:
        if self.pipeline:
            super().on_response_complete()
            return
        # As uvicorn's, but without a timer: the table closes idle connections.
        self.server_state.total_requests += 1
        self._is_answering, self._has_answered = False, True
        self._finish()
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self._stage == IDLE:
                self.since = self.loop.time()
            self._place()

    def send_400_response(self, msg: str) -> None:
        self.refuse("malformed")

    def shutdown(self) -> None:
        if self._is_refused:
            self.transport.abort()
        else:
            super().shutdown()

    # ------------------------------------------------------------------ called by the table

    def check(self, now: float) -> None:
        """Close the connection when one of its deadlines has passed."""
        if self._is_refused:
            if now - self.since > LINGER_S:
                self.transport.abort()
        elif self.flow.write_paused or self.transport.is_closing():
            self._check_reading()
        elif self._stage == BODY:
            self._check_body(now)
        elif not self._is_answering:
            self._check_head(now - self.since)

    def _check_head(self, age: float) -> None:
        if self._stage == HEAD and age > HEAD_TIMEOUT_S:
            self.refuse("head_timeout")
            return
        max_age = self.timeout_keep_alive if self._has_answered else HEAD_TIMEOUT_S
        if self._stage == IDLE and age > max_age:
            self.transport.close()

    def _check_body(self, now: float) -> None:
        if self.flow.read_paused:
            self.since += SWEEP_S  # the application is slow, not the client
        elif now - self.since > BODY_TIMEOUT_S + self._body_bytes / MIN_BODY_BYTES_PER_S:
            self.refuse("body_timeout")

    def _check_reading(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._unread_s = self._unread_s + SWEEP_S if unsent == self._unsent_bytes else 0.0
        self._unsent_bytes = unsent
        if self._unread_s > WRITE_TIMEOUT_S:
            self.transport.abort()

    def refuse(self, reason: str) -> None:
        """Answer unless another answer has begun, and stop reading; the table closes it soon."""
        if self._is_refused:
            return
        can_answer, is_pipelined = self._can_answer() and reason in ANSWERS, bool(self.pipeline)
        self._is_refused = True
        self.table.count(reason)
        self._disconnect()
        self._finish()
        self.since = self.loop.time()
        self._move(self.table.refused)
        if self.transport.is_closing():
            return
        self.flow.pause_reading()
        if is_pipelined:
            self.transport.close()  # an earlier request may still be answered
            return
        if can_answer:
            status, rest = ANSWERS[reason]
            date = b"".join(b"%s: %s\r\n" % pair for pair in self.server_state.default_headers)
            self.transport.write(status + date + rest)
        # Closing with unread data would send a reset, and the client might lose the answer.
        self.transport.write_eof()

    def evict(self) -> None:
        """Close the connection at once, in favour of another one."""
        if self._is_refused or self.transport.is_closing() or self in self.table.unread:
            self._disconnect()
            self.transport.abort()
        elif self._stage == IDLE:
            self.table.count("connections")
            self.transport.close()
        else:
            self.refuse("connections")
            self.transport.close()
        self._is_refused = True
        self.table.refused.pop(self, None)
        self.table.unread.pop(self, None)
        self._move(None)

    # ------------------------------------------------------------------ private

    def _can_answer(self) -> bool:
        if self._is_answering:
            return not (self.cycle.response_started or self.pipeline or self._stage == HEAD)
        return self._stage != BODY

    def _disconnect(self) -> None:
        """Drop the requests, and signal the application that the client has disconnected."""
        self.pipeline.clear()
        # Breaks a reference cycle, which would keep them until garbage collection.
        self.headers = []
        self.scope = None  # type: ignore[assignment]
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._is_answering = False

    def _finish(self) -> None:
        """Release everything held for the request."""
        self.table.release(self)
        self._is_known = False
        if self._is_stream:
            self._is_stream = False
            self.table.event_streams -= 1

    def _place(self) -> None:
        """Join the group of the present stage."""
        if self._is_refused:
            return
        if not self._is_answering:
            self._move(self.table.idle)
        else:
            self._move(self.table.receiving if self._stage == BODY else None)

    def _move(self, group: Group | None) -> None:
        if group is not self._group:
            if self._group is not None:
                self._group.pop(self, None)
            if group is not None:
                group[self] = None
            self._group = group
