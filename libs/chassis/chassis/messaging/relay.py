"""The relay: one leader publishes the outbox in order, each fact exactly once.

The first message of an atomic batch has the stream's expected last sequence; the server refuses a
late publisher's batch as a whole. Up to `MAX_CHAIN` messages are published without a batch, each
with the expected sequence and id of its predecessor: for a batch the server creates a store on
disk, which costs as much as ten messages. The position is read from the stream itself (`resuming`),
so no table can contradict it; a floor in PostgreSQL, per creation of the stream, preserves it when
messages are trimmed.
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

from chassis.errors import StaleLeader, TooLarge
from chassis.messaging.connections import Bus
from chassis.messaging.epochs import Epochs
from chassis.messaging.resuming import ROW, Ahead, Proof, hold_reason, prove
from chassis.messaging.retention import SET_FLOOR, Retention, initial_floor, trim
from chassis.observability.tracing import metrics
from chassis.postgres.pool import Database
from trunkline_contracts.fact import SLOTS, fact_id_text, splice

log = logging.getLogger(__name__)

MAX_BATCH = 500
MAX_CHAIN = 8
"""The most messages that are published without a batch."""
WRONG_LAST_SEQUENCE = 10071
DUPLICATE_MESSAGE_ID = 10201
STREAM_FULL = 10077
REFUSALS_BEFORE_ALARM = 3
"""Successive refusals after which the alarm is raised."""
RESERVED_BYTES = 4096
"""Bytes reserved for envelope and headers, which count towards the server's limit."""
MIN_BATCH_INTERVAL_S = 0.01
"""Seconds between the starts of two batches that are not full: each costs the server an fsync."""
FALLBACK_POLL_S = 0.5
TRIM_INTERVAL_S = 60.0
POLLS_PER_END_CHECK = 4
"""While idle, the stream's end is compared with the last message once in so many polls."""

AHEAD_PAUSE_S = 1.0
"""Seconds between two checks of a stream that is ahead of its outbox."""

ROWS: LiteralString = (
    "SELECT position, key, slot, sequence, type, body FROM outbox"
    " WHERE position >= %s ORDER BY position LIMIT %s"
)
PREVIOUS: LiteralString = (
    "SELECT s.slot, coalesce((SELECT max(o.position) FROM outbox o"
    " WHERE o.slot = s.slot AND o.position <= %s), 0) FROM generate_series(0, 15) AS s(slot)"
)
FLOOR: LiteralString = "SELECT position FROM relay_floor WHERE stream = %s AND created = %s"
Row = tuple[int, str, int, int, str, bytes]
"""Position, key, slot, sequence, type, body."""
Message = tuple[str, bytes, dict[str, str]]
"""Subject, data, headers."""


def message(row: Row, previous: int, epoch: int = 0) -> Message:
    """Return the message of an outbox row. The body is not parsed, so unreadable ones pass, too."""
    position, key, slot, sequence, type_, body = row
    id_ = fact_id_text(type_, key, sequence, epoch)
    headers = {
        "Nats-Msg-Id": id_,
        "Trunkline-Position": str(position),
        "Trunkline-Previous": str(previous),
    }
    return f"{type_}.{slot:02d}.{key}", splice(type_, key, sequence, bytes(body), id_), headers


class Relay:
    """Publishes one service's outbox into its stream. Only the leader of the role calls `run`."""

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
        """Why nothing is published; None while all is well."""
        self.foreign: str | None = None
        """The newest foreign message that was skipped since the stream was created."""
        self.position = 0
        self.progress_at = time.monotonic()
        self._db = db
        self._bus = bus
        self._woken = asyncio.Event()
        self._previous = [0] * SLOTS
        self._epochs = Epochs()
        self._last: Row | None = None
        """The row at `position`. If the outbox has another one there, PostgreSQL was restored."""
        self._foreign_seq = 0
        self._last_seq = 0
        self._created = ""
        self._idle = 0
        self._is_chain_doubtful = False
        self._max_batch = MAX_BATCH
        self._refusals = 0

    def wake(self) -> None:
        """Wake the relay: the outbox has new rows."""
        self._woken.set()

    async def run(self) -> None:
        """Publish until this replica loses the role. An alarm stops publishing, not checking."""
        self._max_batch, self._refusals = MAX_BATCH, 0
        async with self._db.pool.connection() as conn:
            await self._read_position(conn)
            while True:
                self._woken.clear()
                began = time.monotonic()
                max_rows, rows = self._max_batch, await self._pending(conn)
                try:
                    if rows:
                        await self._publish_rows(rows)
                except Exception as why:  # noqa: BLE001 (retried, and logged)
                    log.warning("%s: reading the position back: %r", self.stream, why)
                    await self._read_position(conn)
                    if not isinstance(why, StaleLeader | TimeoutError):
                        await self._handle_refusal(conn, why)
                    continue
                self._reset_refusals()
                self.progress_at = time.monotonic()
                if self.progress_at - self._trimmed_at > TRIM_INTERVAL_S:
                    await self.trim(conn)
                if 0 < len(rows) < max_rows:
                    await asyncio.sleep(began + MIN_BATCH_INTERVAL_S - self.progress_at)
                if len(rows) < max_rows and not await self._wait_for_rows():
                    await self._read_position(conn)

    async def _wait_for_rows(self) -> bool:
        """Wait for new rows; return False when another publisher has changed the stream."""
        try:
            async with asyncio.timeout(FALLBACK_POLL_S):
                await self._woken.wait()
        except TimeoutError:
            self._idle += 1
            if self._idle % POLLS_PER_END_CHECK == 0:
                info = await self._bus.relay.js.stream_info(self.stream)
                return info.state.last_seq == self._last_seq and str(info.created) == self._created
        return True

    async def _handle_refusal(self, conn: psycopg.AsyncConnection, why: Exception) -> None:
        """Trim a full stream and halve the batch; if that is not possible, count and pause."""
        full = isinstance(why, APIError) and why.err_code == STREAM_FULL
        if full and (await self.trim(conn, full=True) or self._max_batch > 1):
            self._max_batch = max(self._max_batch // 2, 1)
            return
        self._refusals += 1
        if self._refusals >= REFUSALS_BEFORE_ALARM or isinstance(why, TooLarge):
            reason = why.description if isinstance(why, APIError) else repr(why)[:300]
            self._set_alarm(f"{self.stream} refuses what comes next: {reason}")
        await asyncio.sleep(min(0.1 * 2**self._refusals, 1))

    def _reset_refusals(self) -> None:
        self._max_batch = min(self._max_batch * 2, MAX_BATCH)
        if self._refusals:
            self._refusals = 0
            self._set_alarm(None)

    def _set_alarm(self, why: str | None) -> None:
        if why is not None and why != self.alarm:
            log.error("%s: relay stopped: %s", self.stream, why)
        elif why is None and self.alarm:
            log.info("%s: the alarm is over", self.stream)
        self.alarm = why
        metrics.relay_alarm.labels(self.service).set(why is not None)

    async def _read_position(self, conn: psycopg.AsyncConnection) -> None:
        while True:
            try:
                info = await self._bus.relay.js.stream_info(self.stream)
                proof = await self._prove_position(conn, info)
            except Ahead as why:
                self._set_alarm(str(why))
                await asyncio.sleep(AHEAD_PAUSE_S)
                continue
            break
        if not self._refusals:
            self._set_alarm(None)
        self._report_foreign(info, proof)
        self.position = proof.position
        self._last_seq = info.state.last_seq
        self._created = str(info.created)
        self._last = await self._row_at_position(conn)
        self._epochs = await Epochs.load(conn)
        cursor = await conn.execute(PREVIOUS, (self.position,))
        for slot, previous in await cursor.fetchall():
            self._previous[slot] = previous

    async def _prove_position(self, conn: psycopg.AsyncConnection, info: StreamInfo) -> Proof:
        """Return the position that the stream proves; raise `Ahead`.

        This leader's memory is a lower limit, so a copy of an old message at the stream's end does
        not set the position back. Where the stream ends before this leader's last message, it was
        set back, and what it lost is published again.
        """
        created = str(info.created)
        floor = await self._floor(conn, created)
        is_whole = created == self._created and info.state.last_seq >= self._last_seq
        at_least = 0
        if is_whole and self._last and await self._row_at_position(conn) == self._last:
            at_least = self.position
        proof = await prove(conn, self._bus.relay.js, info, at_least, floor=floor or 0)
        if floor is None and not proof.position:
            return Proof(await self._create_floor(conn, created), proof.foreign)
        return proof

    async def _floor(self, conn: psycopg.AsyncConnection, created: str) -> int | None:
        row = await (await conn.execute(FLOOR, (self.stream, created))).fetchone()
        return row[0] if row else None

    async def _row_at_position(self, conn: psycopg.AsyncConnection) -> Row | None:
        """Return the outbox row at this relay's position."""
        cursor = await conn.execute(ROW, (self.position,), binary=True)
        row: Row | None = await cursor.fetchone()
        return row

    def _report_foreign(self, info: StreamInfo, proof: Proof) -> None:
        """Log and count each foreign message once."""
        if str(info.created) != self._created:
            self.foreign, self._foreign_seq = None, 0
        for sequence, why in proof.foreign:
            if sequence > self._foreign_seq:
                self.foreign = f"stepped over message {sequence} from an unknown publisher: {why}"
                self._foreign_seq = sequence
                metrics.relay_foreign.labels(self.service).inc()
                log.error("%s: %s", self.stream, self.foreign)

    async def ahead(self) -> str | None:
        """Return why readers must wait: the stream is ahead of the outbox, held, or missing.

        Then PostgreSQL was restored, and other streams may also hold facts that it has lost. None
        of them may be applied before the streams are reset.
        """
        js = self._bus.relay.js
        try:
            info = await js.stream_info(self.stream)
            async with self._db.connection() as conn:
                floor = await self._floor(conn, str(info.created)) or 0
                await prove(conn, js, info, floor=floor, further=0)
        except Ahead as why:
            return f"{self.stream}: {why}"
        except NotFoundError:
            return f"{self.stream} is missing"
        return hold_reason(info)

    async def _create_floor(self, conn: psycopg.AsyncConnection, created: str) -> int:
        """Store and return the floor of a new stream: older facts are not published into it."""
        floor = await initial_floor(conn, self._oldest_to_keep())
        await conn.execute(SET_FLOOR, (self.stream, created, floor))
        log.info(
            "%s: a new stream, created %s: publishing after position %s",
            self.stream,
            created,
            floor,
        )
        return floor

    def _oldest_to_keep(self) -> datetime | None:
        retention = self._retention()
        return None if retention is None else self._clock() - retention

    async def trim(self, conn: psycopg.AsyncConnection, *, full: bool = False) -> int:
        """Purge messages past their retention; return how many sequences were purged."""
        self._trimmed_at = time.monotonic()
        js, oldest = self._bus.relay.js, self._oldest_to_keep()
        return await trim(conn, js, self.stream, self.position, oldest, full=full)

    async def _pending(self, conn: psycopg.AsyncConnection) -> list[Row]:
        """Return the next rows, after checking that the last published row is unchanged."""
        while True:
            args = (self.position, self._max_batch + 1)
            cursor = await conn.execute(ROWS, args, prepare=True, binary=True)
            rows: list[Any] = await cursor.fetchall()
            if self._last is None or rows[:1] == [self._last]:
                return [row for row in rows if row[0] > self.position][: self._max_batch]
            log.warning("%s: position %s holds another fact", self.stream, self.position)
            await self._read_position(conn)

    async def _publish_rows(self, rows: Sequence[Row]) -> None:
        rows = self._limit_size(rows)
        previous = list(self._previous)
        messages: list[Message] = []
        for row in rows:
            messages.append(message(row, previous[row[2]], self._epochs.at(row[0])))
            previous[row[2]] = row[0]
        try:
            self._last_seq = await self._publish(messages)
        except APIError as why:
            if why.err_code == WRONG_LAST_SEQUENCE:
                raise StaleLeader(f"another publisher has written into {self.stream}") from why
            if why.err_code != DUPLICATE_MESSAGE_ID:
                raise
            self._last_seq = await publish_singly(self._bus, messages, self._last_seq)
        self._is_chain_doubtful = False
        self._previous = previous
        self.position, self._last = rows[-1][0], rows[-1]
        metrics.relay_position.labels(self.service).set(self.position)

    def _limit_size(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows before the first one that is too large for the server.

        Raises `TooLarge` when that is the first row.
        """
        max_bytes = self._bus.relay.nc.max_payload - RESERVED_BYTES
        for n, (position, _, _, _, type_, body) in enumerate(rows):
            if len(body) > max_bytes:
                if n == 0:
                    fact = f"{type_} at position {position} has {len(body)} bytes"
                    raise TooLarge(f"{fact}; the server takes {max_bytes}")
                return rows[:n]
        return rows

    async def _publish(self, messages: Sequence[Message]) -> int:
        if len(messages) > MAX_CHAIN or self._is_chain_doubtful:
            return await publish_batch(self._bus, messages, self._last_seq)
        self._is_chain_doubtful = (
            True  # a failed chain is retried as a batch, whose refusal has a reason
        )
        return await publish_chain(self._bus, messages, self._last_seq)


async def publish_batch(bus: Bus, messages: Sequence[Message], last_seq: int | None) -> int:
    """Publish atomically, with `last_seq` only if it is the stream's last sequence.

    Returns the new last sequence.
    """
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
    """Publish messages that each expect their predecessor; return the new last sequence.

    So the acknowledgement of the last message covers all of them.
    """
    nc, js, end, before = bus.relay.nc, bus.relay.js, last_seq + len(messages), ""
    for expected, (subject, data, headers) in enumerate(messages, last_seq):
        headers["Nats-Expected-Last-Sequence"] = str(expected)
        if before:
            headers["Nats-Expected-Last-Msg-Id"] = before
        before = headers["Nats-Msg-Id"]
        if expected + 1 < end:
            await nc.publish(subject, data, headers=headers)
        elif (await js.publish(subject, data, headers=headers, timeout=5)).seq != end:
            raise StaleLeader("the stream had the last message already")
    return end


async def publish_singly(bus: Bus, messages: Sequence[Message], last_seq: int) -> int:
    """Publish one by one a batch of which the stream has some ids already.

    Returns the new last sequence.
    """
    for subject, data, headers in messages:
        kept = {k: v for k, v in headers.items() if not k.startswith("Nats-Batch-")}
        kept["Nats-Expected-Last-Sequence"] = str(last_seq)
        last_seq = (await bus.relay.js.publish(subject, data, headers=kept, timeout=5)).seq
    return last_seq
