"""The epochs of INBOUND: its creations, and the set-backs that are found.

A NATS store that is restored to an older state keeps the stream's creation time and gives its
sequences out again. Evidence of it are the ends of what was read and of what was acknowledged: the
stream must reach them, with the same messages there. Longer than other files: finding that out and
what follows from it stand together.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
from nats.js.api import RawStreamMsg, StreamInfo
from nats.js.errors import NotFoundError

from chassis.errors import TRANSIENT
from chassis.messaging.transaction import Tx
from chassis.observability import metrics
from chassis.postgres.locks import lock_key
from chassis.service import Service
from ingest.audit.marks import Mark, Marks
from ingest.envelope import again_id, id_of, received_at

log = logging.getLogger(__name__)

STREAM = "INBOUND"
READERS = ["inbound", "mail"]
LOOK_S = 1.0
SETBACKS = metrics.counter("inbound_setback_total", "Set-backs and new creations found", "cause")

NEWEST: LiteralString = (
    "SELECT number, stream_created, shared, acked, acked_id, acked_at FROM inbound_epoch"
    " ORDER BY number DESC LIMIT 1"
)
READ_UPTO: LiteralString = (
    "SELECT DISTINCT stream_sequence, last_id FROM reader_position"
    " WHERE reader = ANY(%s) AND epoch = %s AND stream_sequence > 0"
)
LOCK: LiteralString = "SELECT pg_advisory_xact_lock(%b)"
ACKNOWLEDGED: LiteralString = (
    "UPDATE inbound_epoch SET acked = %s, acked_id = %s, acked_at = %s"
    " WHERE number = %s AND acked < %s"
)
KEEP: LiteralString = "UPDATE inbound_epoch SET kept = %s WHERE kept > %s"
BEGIN: LiteralString = (
    "INSERT INTO inbound_epoch (number, stream_created, cause, shared) VALUES (%s, %s, %s, %s)"
)
TURN_BACK: LiteralString = (
    "UPDATE reader_position SET epoch = %s, stream_created = %s, position = least(position, %s),"
    " last_id = CASE WHEN stream_sequence > %s THEN %s ELSE last_id END,"
    " stream_sequence = least(stream_sequence, %s) WHERE reader = ANY(%s)"
)
SET_ASIDE: LiteralString = (
    "UPDATE parked SET position = -id WHERE reader = ANY(%s) AND position > %s"
)
TAKEN_IN: LiteralString = """
SELECT i.sequence, i.chunks, i.inbound_id::text, e.number FROM inbound_epoch e CROSS JOIN LATERAL (
    SELECT sequence, chunks, inbound_id FROM item i
    WHERE i.epoch = e.number AND i.n = 0 AND i.sequence >= %s AND i.sequence <= e.kept
    ORDER BY i.sequence LIMIT 50) i
ORDER BY i.sequence LIMIT 50"""


@dataclass(frozen=True, slots=True)
class Epoch:
    """The newest epoch, as PostgreSQL has it."""

    number: int
    created: str
    shared: int
    acked: int
    acked_id: str
    acked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Common:
    """How much of INBOUND is still as it was: by what was taken in, and by what was accepted."""

    taken_in: int
    inbound_id: str
    accepted: int


class Epochs:
    """Finds out whether INBOUND is still the one that was read, and begins an epoch if not."""

    def __init__(self, service: Service, marks: Marks) -> None:
        self._service = service
        self._marks = marks
        self._verified: tuple[Any, ...] = ()

    async def follow(self) -> None:
        """Look every second, and store what the door has had acknowledged."""
        for cause in ("created", "set_back"):
            SETBACKS.labels(self._service.name, cause)
        while True:
            try:
                await self.look()
            except TRANSIENT as why:
                log.info("cannot look whether INBOUND was set back: %r", why)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> int:
        """Return the number of INBOUND's epoch, a new one when it is not the stream it was."""
        marks = self._marks.known()
        async with self._service.db.connection() as conn:
            newest = await self._newest(conn)
            ends = await self._ends(conn, newest)
        info = await self._service.bus.js.stream_info(STREAM)
        if newest is None or newest.created != str(info.created):
            newest = await self._begin(newest, info, "created", marks)
        else:
            number = newest.number
            ends |= {(m.sequence, m.inbound_id) for m in marks if m.epoch == number}
            if not await self._reaches(ends, info, newest):
                newest = await self._begin(newest, info, "set_back", marks)
        await self._store(marks, newest)
        self._marks.epoch = newest.number
        return newest.number

    async def _newest(self, conn: psycopg.AsyncConnection[Any]) -> Epoch | None:
        row = await (await conn.execute(NEWEST)).fetchone()
        return Epoch(*row) if row else None

    async def _ends(
        self, conn: psycopg.AsyncConnection[Any], newest: Epoch | None
    ) -> set[tuple[int, str]]:
        """Return sequences the stream must have reached, each with the id of its message."""
        if newest is None:
            return set()
        rows = await (await conn.execute(READ_UPTO, (READERS, newest.number))).fetchall()
        ends = {(sequence, id) for sequence, id in rows}
        return ends | ({(newest.acked, newest.acked_id)} if newest.acked else set())

    async def _reaches(self, ends: set[tuple[int, str]], info: StreamInfo, newest: Epoch) -> bool:
        """Whether the stream reaches all of these ends, with the same messages there."""
        last = info.state.last_seq
        seen = (newest.number, last, self._service.bus.own.reconnects, frozenset(ends))
        if seen == self._verified:
            return True
        for sequence, id in sorted(ends, reverse=True):
            if sequence > last or not await self._is(sequence, id):
                log.error(
                    "INBOUND was set back: %s is not at %s of %s any more", id, sequence, last
                )
                return False
        self._verified = seen
        return True

    async def _is(self, sequence: int, id: str) -> bool:
        """Whether that message is there; one that is gone by itself says nothing."""
        message = await self._message(sequence)
        return message is None or not id or (message.subject or "").endswith(f".{id}")

    async def _message(self, sequence: int) -> RawStreamMsg | None:
        try:
            return await self._service.bus.js.get_msg(STREAM, sequence)
        except NotFoundError:
            return None

    async def _store(self, marks: Sequence[Mark], newest: Epoch) -> None:
        """Store acknowledgements, each with the epoch it belongs to."""
        belongs = [
            (mark, await self._epoch_of(mark, newest))
            for mark in marks
            if not self._is_known(mark, newest)
        ]
        if not belongs:
            return
        async with self._service.db.connection() as conn:
            for mark, number in belongs:
                await conn.execute(ACKNOWLEDGED, _acknowledged(mark, number))
        self._marks.stored(marks)

    def _is_known(self, mark: Mark, newest: Epoch) -> bool:
        """Whether PostgreSQL has it, also after it was restored."""
        if mark.epoch == newest.number:
            return mark.sequence <= newest.acked
        return self._marks.is_stored(mark)

    async def _epoch_of(self, mark: Mark, newest: Epoch) -> int:
        """Return the epoch of a mark: the newest, unless it was taken before and is gone since."""
        if mark.epoch == newest.number:
            return mark.epoch
        message = await self._message(mark.sequence)
        there = message is not None and id_of(message.subject or "") == mark.inbound_id
        return newest.number if there else mark.epoch or newest.number - 1

    # ------------------------------------------------------------- a new epoch

    async def _begin(
        self, seen: Epoch | None, info: StreamInfo, cause: str, marks: Sequence[Mark]
    ) -> Epoch:
        """Begin an epoch, unless another replica has: all readers turn back to what is common."""
        async with self._service.transaction() as tx:
            await tx.run(LOCK, lock_key("key", f"{self._service.name}/epoch"))
            newest = await self._newest(tx.conn)
            if newest is not None and (seen is None or newest.number != seen.number):
                return newest
            if newest is not None:
                newest = await self._acknowledged(tx, newest, marks)
            common = Common(0, "", 0)
            if newest is not None and cause == "set_back":
                common = await self._common(tx.conn, newest, info)
            number = newest.number + 1 if newest else 1
            begun = Epoch(number, str(info.created), common.accepted, 0, "", None)
            await self._write(tx, begun, cause, common)
        if newest is not None:
            SETBACKS.labels(self._service.name, cause).inc()
            log.error(
                "INBOUND begins epoch %s (%s): it has %s of what epoch %s had until %s;"
                " `trunkline audit` says what is lost",
                number, cause, common.accepted, newest.number, newest.acked,
            )  # fmt: skip
        return begun

    async def _acknowledged(self, tx: Tx, newest: Epoch, marks: Sequence[Mark]) -> Epoch:
        """Store what was acknowledged until then, of the epoch that ends."""
        for mark in marks:
            if mark.epoch == newest.number:
                await tx.run(ACKNOWLEDGED, *_acknowledged(mark, newest.number))
        return await self._newest(tx.conn) or newest

    async def _write(self, tx: Tx, begun: Epoch, cause: str, common: Common) -> None:
        taken_in, id = common.taken_in, common.inbound_id
        await tx.run(KEEP, begun.shared, begun.shared)
        await tx.run(BEGIN, begun.number, begun.created, cause, begun.shared)
        place = (begun.number, begun.created, taken_in, taken_in, id, taken_in, READERS)
        await tx.run(TURN_BACK, *place)
        await tx.run(SET_ASIDE, READERS, taken_in)

    async def _common(
        self, conn: psycopg.AsyncConnection[Any], newest: Epoch, info: StreamInfo
    ) -> Common:
        """Find where the stream parts from what it was: by ids as far as it was taken in.

        What was accepted and not taken in has no row to compare; the door stamped it at the latest
        when its last acknowledgement came, if it is not newer than the set-back. This only counts:
        where to read on is decided by ids alone.
        """
        low, high = info.state.first_seq - 1, info.state.last_seq
        low, taken_in, id = max(low, 0), max(low, 0), ""
        while low < high:
            middle = (low + high + 1) // 2
            agreed = await self._agreed(conn, middle, high)
            if agreed is None:
                high = middle - 1
            else:
                taken_in, id = agreed
                low = taken_in
        rows = await (await conn.execute(TAKEN_IN, (taken_in + 1,))).fetchall()
        until = min([info.state.last_seq, newest.acked, *(row[0] - row[1] for row in rows[:1])])
        return Common(taken_in, id, await self._stamped(taken_in, until, newest.acked_at))

    async def _agreed(
        self, conn: psycopg.AsyncConnection[Any], first: int, last: int
    ) -> tuple[int, str] | None:
        """Return the first delivery taken in from there on that still is in its place, if it is."""
        rows = await (await conn.execute(TAKEN_IN, (first,))).fetchall()
        for sequence, _, known, epoch in rows:
            message = await self._message(sequence) if sequence <= last else None
            if message is None:
                continue
            id = id_of(message.subject or "")
            return (sequence, id) if known in (id, again_id(id, epoch, sequence)) else None
        return None

    async def _stamped(self, low: int, high: int, upto: datetime | None) -> int:
        """Return the last sequence above `low` whose message the door stamped until then."""
        while low < high and upto is not None:
            middle = (low + high + 1) // 2
            found = await self._next(middle)
            if found is not None and found[0] <= high and found[1] <= upto:
                low = found[0]
            else:
                high = middle - 1
        return low

    async def _next(self, sequence: int) -> tuple[int, datetime] | None:
        """Return the next message from there on: its sequence, and when it was received."""
        try:
            found = await self._service.bus.js.get_msg(STREAM, sequence, ">", next=True)
        except NotFoundError:
            return None
        stored_at = found.time or datetime.fromtimestamp(0, UTC)
        return found.seq or 0, received_at(found.headers or {}, stored_at)


def _acknowledged(mark: Mark, number: int) -> tuple[Any, ...]:
    return mark.sequence, mark.inbound_id, mark.at, number, mark.sequence
