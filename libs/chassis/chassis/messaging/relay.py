"""The relay: what is in the outbox is published in order, exactly once, by one leader.

The first message of every atomic batch names the stream's last sequence; whoever is late is refused
and nothing of theirs is stored. Few messages go without a batch, each naming the sequence and the
message before it: for a batch the server makes a store on disk, which costs it as much as ten
messages. The position is read back from the stream itself, so no table can disagree with it; a
floor in PostgreSQL, per life of the stream, keeps it when the stream's messages are trimmed. Long:
what keeps one stream in order is read together.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
from nats.js.api import StreamInfo
from nats.js.errors import APIError, NotFoundError

from chassis.errors import Fenced, TooLarge
from chassis.messaging.connections import Bus
from chassis.messaging.retention import SET_FLOOR, Retention, first_floor, trim
from chassis.observability.tracing import metrics
from chassis.postgres.pool import Database
from trunkline_contracts.fact import SLOTS, fact_id_text, splice

log = logging.getLogger(__name__)

BATCH = 500
FEW = 8
"""How many messages are fewer than a batch is worth."""
FENCED = 10071
SEEN = 10201
FULL = 10077
PATIENCE = 3
"""After so many refusals in a row a person is told."""
HEAD = 4096
"""Bytes kept free for a message's envelope and headers, which the server counts, too."""
PACE = 0.01
"""Seconds between the beginnings of two batches that are not full: each costs the server a sync."""
REST = 0.1
"""Seconds to rest at most for as long as a batch took."""
FALLBACK_POLL = 0.5
TRIM_EVERY = 60.0
IDLE_LOOKS = 4
"""While idle, every so many polls the stream's end is compared with what was told."""

ROWS: LiteralString = (
    "SELECT position, key, slot, sequence, type, body FROM outbox"
    " WHERE position > %s ORDER BY position LIMIT %s"
)
AT: LiteralString = "SELECT key, sequence, type FROM outbox WHERE position = %s"
LAST: LiteralString = "SELECT coalesce(max(position), 0) FROM outbox"
PREVIOUS: LiteralString = (
    "SELECT s.slot, coalesce((SELECT max(o.position) FROM outbox o"
    " WHERE o.slot = s.slot AND o.position <= %s), 0) FROM generate_series(0, 15) AS s(slot)"
)
FLOOR: LiteralString = "SELECT position FROM relay_floor WHERE stream = %s AND created = %s"
Row = tuple[int, str, int, int, str, bytes]
"""Position, key, slot, sequence, type, body."""
Message = tuple[str, bytes, dict[str, str]]
"""Subject, data, headers."""


class Alarm(Exception):
    """The stream is not as this relay left it: a person must look."""


def message(row: Row, previous: int) -> Message:
    """Make a recorded fact a message; the body is not read: what is unreadable stays so."""
    position, key, slot, sequence, type_, body = row
    id_ = fact_id_text(type_, key, sequence)
    headers = {
        "Nats-Msg-Id": id_,
        "Trunkline-Position": str(position),
        "Trunkline-Previous": str(previous),
    }
    return f"{type_}.{slot:02d}.{key}", splice(type_, key, sequence, bytes(body), id_), headers


class Relay:
    """Publishes one service's outbox into its stream. `run` is an office: one leader at a time."""

    def __init__(
        self,
        service: str,
        db: Database,
        bus: Bus,
        clock: Callable[[], datetime],
        retention: Retention = lambda: None,
    ) -> None:
        self.service = service
        self._clock = clock
        self._retention = retention
        self._trimmed_at = time.monotonic()
        self.stream = service.upper()
        self.alarm: str | None = None
        self.position = 0
        self.moved_at = time.monotonic()
        self._db = db
        self._bus = bus
        self._woken = asyncio.Event()
        self._previous = [0] * SLOTS
        self._last_seq = 0
        self._created = ""
        self._idle = 0
        self._doubted = False
        self._most = BATCH
        self._refusals = 0

    def wake(self) -> None:
        """Say that there is something to tell."""
        self._woken.set()

    async def run(self) -> None:
        """Relay until this replica is deposed. An alarm stops the telling, not the watching."""
        self._most, self._refusals = BATCH, 0
        async with self._db.pool.connection() as conn:
            await self._start(conn)
            while True:
                self._woken.clear()
                began = time.monotonic()
                most, rows = self._most, await self._pending(conn)
                try:
                    if rows:
                        await self._tell(rows)
                except Exception as why:  # noqa: BLE001 (tried again, and told)
                    log.warning("%s: reading the position back: %r", self.stream, why)
                    await self._start(conn)
                    if not isinstance(why, Fenced | TimeoutError):
                        await self._refused(conn, why)
                    continue
                self._accepted()
                self.moved_at = time.monotonic()
                if self.moved_at - self._trimmed_at > TRIM_EVERY:
                    await self.trim(conn)
                if 0 < len(rows) < most:
                    await asyncio.sleep(began + PACE - self.moved_at)
                if len(rows) < most and not await self._rest():
                    await self._start(conn)

    async def _rest(self) -> bool:
        """Wait for something to tell; False when somebody else has touched the stream."""
        try:
            async with asyncio.timeout(FALLBACK_POLL):
                await self._woken.wait()
        except TimeoutError:
            self._idle += 1
            if self._idle % IDLE_LOOKS == 0:
                info = await self._bus.relay.js.stream_info(self.stream)
                return info.state.last_seq == self._last_seq and str(info.created) == self._created
        return True

    async def _refused(self, conn: psycopg.AsyncConnection, why: Exception) -> None:
        """Make room in a stream that is full, and ask for less; when that does not help, wait."""
        full = isinstance(why, APIError) and why.err_code == FULL
        if full and (await self.trim(conn, full=True) or self._most > 1):
            self._most = max(self._most // 2, 1)
            return
        self._refusals += 1
        if self._refusals >= PATIENCE or isinstance(why, TooLarge):
            told = why.description if isinstance(why, APIError) else repr(why)[:300]
            self._alarm(f"{self.stream} refuses what comes next: {told}")
        await asyncio.sleep(min(0.1 * 2**self._refusals, 1))

    def _accepted(self) -> None:
        self._most = min(self._most * 2, BATCH)
        if self._refusals:
            self._refusals = 0
            self._alarm(None)

    def _alarm(self, why: str | None) -> None:
        if why is not None and why != self.alarm:
            log.error("%s: relay stopped: %s", self.stream, why)
        elif why is None and self.alarm:
            log.info("%s: the alarm is over", self.stream)
        self.alarm = why
        metrics.relay_alarm.labels(self.service).set(why is not None)

    async def _start(self, conn: psycopg.AsyncConnection) -> None:
        while True:
            try:
                info = await self._bus.relay.js.stream_info(self.stream)
                position = await self._verified(conn, info)
            except Alarm as why:
                self._alarm(str(why))
                await asyncio.sleep(1)
                continue
            break
        if not self._refusals:
            self._alarm(None)
        self.position = position
        self._last_seq = info.state.last_seq
        self._created = str(info.created)
        cursor = await conn.execute(PREVIOUS, (position,))
        for slot, previous in await cursor.fetchall():
            self._previous[slot] = previous

    async def _verified(self, conn: psycopg.AsyncConnection, info: StreamInfo) -> int:
        """Give the position the stream itself proves, or raise `Alarm`."""
        created = str(info.created)
        row = await (await conn.execute(FLOOR, (self.stream, created))).fetchone()
        floor: int | None = row[0] if row else None
        (end,) = await (await conn.execute(LAST)).fetchone() or (0,)
        if not info.state.messages:
            if floor is None:
                floor = await self._first_floor(conn, created, end)
            if floor > end:
                raise Alarm(f"the stream was told up to {floor}, the outbox ends at {end}")
            return floor
        try:
            last = await self._bus.relay.js.get_msg(self.stream, seq=info.state.last_seq)
        except NotFoundError:
            raise Alarm(f"the last message, {info.state.last_seq}, is not there") from None
        position = await self._ours(conn, last.headers or {}, end, info.state.last_seq)
        return max(position, floor or 0)

    async def _ours(
        self, conn: psycopg.AsyncConnection, headers: dict[str, str], end: int, sequence: int
    ) -> int:
        told = headers.get("Trunkline-Position", "")
        if not told.isdigit():
            raise Alarm(f"message {sequence} is not ours: it names no position")
        position = int(told)
        if position > end:
            raise Alarm(f"the stream is ahead of its outbox: {position} > {end}")
        row = await (await conn.execute(AT, (position,))).fetchone()
        if row is None or fact_id_text(row[2], row[0], row[1]) != headers.get("Nats-Msg-Id"):
            raise Alarm(f"message {sequence} is not ours: position {position} holds another fact")
        return position

    async def _first_floor(self, conn: psycopg.AsyncConnection, created: str, end: int) -> int:
        """A stream just made is told what PostgreSQL has, as far as it is young enough."""
        floor = await first_floor(conn, self._oldest())
        await conn.execute(SET_FLOOR, (self.stream, created, floor))
        if end:
            log.info("%s: a new stream, made %s: telling from %s on", self.stream, created, floor)
        return floor

    def _oldest(self) -> datetime | None:
        retention = self._retention()
        return None if retention is None else self._clock() - retention

    async def trim(self, conn: psycopg.AsyncConnection, *, full: bool = False) -> int:
        """Take away what the stream no longer has to keep; gives how many messages."""
        self._trimmed_at = time.monotonic()
        js, oldest = self._bus.relay.js, self._oldest()
        return await trim(conn, js, self.stream, self.position, oldest, full=full)

    async def _pending(self, conn: psycopg.AsyncConnection) -> list[Row]:
        cursor = await conn.execute(ROWS, (self.position, self._most), prepare=True, binary=True)
        rows: list[Any] = await cursor.fetchall()
        return rows

    async def _tell(self, rows: Sequence[Row]) -> None:
        rows = self._fitting(rows)
        previous = list(self._previous)
        messages: list[Message] = []
        for row in rows:
            messages.append(message(row, previous[row[2]]))
            previous[row[2]] = row[0]
        try:
            self._last_seq = await self._publish(messages)
        except APIError as why:
            if why.err_code == FENCED:
                raise Fenced(f"somebody else published into {self.stream}") from why
            if why.err_code != SEEN:
                raise
            self._last_seq = await publish_singly(self._bus, messages, self._last_seq)
        self._doubted = False
        self._previous = previous
        self.position = rows[-1][0]
        metrics.relay_position.labels(self.service).set(self.position)

    def _fitting(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Give what comes before the first fact the server would not take; that one stops us."""
        most = self._bus.relay.nc.max_payload - HEAD
        for n, (position, _, _, _, type_, body) in enumerate(rows):
            if len(body) > most:
                if n == 0:
                    told = f"{type_} at position {position} has {len(body)} bytes"
                    raise TooLarge(f"{told}; the server takes {most}")
                return rows[:n]
        return rows

    async def _publish(self, messages: Sequence[Message]) -> int:
        if len(messages) > FEW or self._doubted:
            return await publish_batch(self._bus, messages, self._last_seq)
        self._doubted = True  # what fails as a chain goes as a batch, whose refusals tell why
        return await publish_chain(self._bus, messages, self._last_seq)


async def publish_batch(bus: Bus, messages: Sequence[Message], last_seq: int | None) -> int:
    """Publish all or nothing; with `last_seq`, only if the stream ends there. Gives its end."""
    nc, js, batch = bus.relay.nc, bus.relay.js, uuid4().hex
    for number, (subject, data, headers) in enumerate(messages, 1):
        headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
        if number == 1 and last_seq is not None:
            headers["Nats-Expected-Last-Sequence"] = str(last_seq)
        if number < len(messages):
            await nc.publish(subject, data, headers=headers)
        else:
            headers["Nats-Batch-Commit"] = "1"
            return (await js.publish(subject, data, headers=headers, timeout=5)).seq
    return last_seq or 0


async def publish_chain(bus: Bus, messages: Sequence[Message], last_seq: int) -> int:
    """Each names the one before it, so the last one's acknowledgement speaks for all."""
    nc, js, end, before = bus.relay.nc, bus.relay.js, last_seq + len(messages), ""
    for expected, (subject, data, headers) in enumerate(messages, last_seq):
        headers["Nats-Expected-Last-Sequence"] = str(expected)
        if before:
            headers["Nats-Expected-Last-Msg-Id"] = before
        before = headers["Nats-Msg-Id"]
        if expected + 1 < end:
            await nc.publish(subject, data, headers=headers)
        elif (await js.publish(subject, data, headers=headers, timeout=5)).seq != end:
            raise Fenced("the stream knew the last message already")
    return end


async def publish_singly(bus: Bus, messages: Sequence[Message], last_seq: int) -> int:
    """The same one by one, for a batch of which the stream remembers some ids already."""
    for subject, data, headers in messages:
        kept = {k: v for k, v in headers.items() if not k.startswith("Nats-Batch-")}
        kept["Nats-Expected-Last-Sequence"] = str(last_seq)
        last_seq = (await bus.relay.js.publish(subject, data, headers=kept, timeout=5)).seq
    return last_seq
