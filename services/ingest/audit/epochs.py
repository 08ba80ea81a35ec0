"""Epochs of INBOUND: its creations, and the set-backs that are detected.

A NATS store restored to an older state keeps the stream's creation time and gives its sequences out
again. It is detected by the last deliveries read and acknowledged: the stream must reach their
sequences, and contain the same messages there.
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
from ingest.audit.marks import Mark, Marks, last_before_set_back
from ingest.envelope import inbound_id_of, received_at, repeated_id

log = logging.getLogger(__name__)

STREAM = "INBOUND"
READERS = ["inbound", "mail"]
CHECK_INTERVAL_S = 1.0
SETBACKS = metrics.counter("inbound_setback_total", "Set-backs and new creations detected", "cause")

NEWEST: LiteralString = (
    "SELECT number, stream_created, shared, acked, acked_id, acked_at FROM inbound_epoch"
    " ORDER BY number DESC LIMIT 1"
)
READ_ENDS: LiteralString = (
    "SELECT DISTINCT stream_sequence, last_id FROM reader_position"
    " WHERE reader = ANY(%s) AND epoch = %s AND stream_sequence > 0"
)
LOCK: LiteralString = "SELECT pg_advisory_xact_lock(%b)"
STORE_MARK: LiteralString = (
    "UPDATE inbound_epoch SET acked = %s, acked_id = %s, acked_at = %s"
    " WHERE number = %s AND acked < %s"
)
LIMIT_KEPT: LiteralString = "UPDATE inbound_epoch SET kept = %s WHERE kept > %s"
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
    """The newest epoch, as stored in PostgreSQL."""

    number: int
    created: str
    shared: int
    acked: int
    acked_id: str
    acked_at: datetime | None


@dataclass(frozen=True, slots=True)
class CommonPart:
    """The part of INBOUND that a set-back left as it was.

    `taken_in` and `inbound_id` are its last delivery taken in, `accepted` its last sequence.
    """

    taken_in: int
    inbound_id: str
    accepted: int


class Epochs:
    """Detects that INBOUND is not the stream that was read, and begins a new epoch."""

    def __init__(self, service: Service, marks: Marks) -> None:
        self._service = service
        self._marks = marks
        self._verified: tuple[Any, ...] = ()

    async def follow(self) -> None:
        """Check INBOUND every second, and store the gateway's marks."""
        for cause in ("created", "set_back"):
            SETBACKS.labels(self._service.name, cause)
        while True:
            try:
                await self.check()
            except TRANSIENT as why:
                log.info("cannot check whether INBOUND was set back: %r", why)
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def check(self) -> int:
        """Return the number of INBOUND's epoch; a set-back or a new creation begins a new one."""
        marks = self._marks.snapshot()
        async with self._service.db.connection() as conn:
            newest = await self._newest(conn)
            ends = await self._ends(conn, newest)
        info = await self._service.bus.js.stream_info(STREAM)
        if newest is None or newest.created != str(info.created):
            newest = await self._begin(newest, info, "created", marks)
        else:
            ends |= _ends_of(marks, newest.number)
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
        """Return the sequences the stream must have reached, each with its inbound id."""
        if newest is None:
            return set()
        rows = await (await conn.execute(READ_ENDS, (READERS, newest.number))).fetchall()
        ends = {(sequence, id) for sequence, id in rows}
        return ends | ({(newest.acked, newest.acked_id)} if newest.acked else set())

    async def _reaches(self, ends: set[tuple[int, str]], info: StreamInfo, newest: Epoch) -> bool:
        """Return whether the stream reaches all ends, and has the same messages there."""
        last = info.state.last_seq
        # Verified ends hold until the client reconnects: a restore restarts the server.
        checked = (newest.number, last, self._service.bus.own.reconnects, frozenset(ends))
        if checked == self._verified:
            return True
        for sequence, id in sorted(ends, reverse=True):
            if sequence > last or not await self._is_unchanged(sequence, id):
                log.error(
                    "INBOUND was set back: delivery %s is not at sequence %s of %s any more",
                    id, sequence, last,
                )  # fmt: skip
                return False
        self._verified = checked
        return True

    async def _is_unchanged(self, sequence: int, id: str) -> bool:
        """Return whether a sequence still has its message; an expired one proves nothing."""
        message = await self._message(sequence)
        return message is None or not id or (message.subject or "").endswith(f".{id}")

    async def _message(self, sequence: int) -> RawStreamMsg | None:
        """Return the message with a sequence, or None if INBOUND does not contain it."""
        try:
            return await self._service.bus.js.get_msg(STREAM, sequence)
        except NotFoundError:
            return None

    async def _store(self, marks: Sequence[Mark], newest: Epoch) -> None:
        """Store marks, each with the epoch it belongs to."""
        unstored = [
            (mark, await self._epoch_of(mark, newest))
            for mark in marks
            if not self._is_stored(mark, newest)
        ]
        if not unstored:
            return
        async with self._service.db.connection() as conn:
            for mark, number in unstored:
                await conn.execute(STORE_MARK, _mark_parameters(mark, number))
        self._marks.mark_stored(marks)

    def _is_stored(self, mark: Mark, newest: Epoch) -> bool:
        """Return whether PostgreSQL has a mark, also after PostgreSQL was restored."""
        if mark.epoch == newest.number:
            return mark.sequence <= newest.acked
        return self._marks.is_stored(mark)

    async def _epoch_of(self, mark: Mark, newest: Epoch) -> int:
        """Return the epoch of a mark: an older one if the newest does not contain its message."""
        if mark.epoch == newest.number:
            return mark.epoch
        message = await self._message(mark.sequence)
        is_there = message is not None and inbound_id_of(message.subject or "") == mark.inbound_id
        return newest.number if is_there else mark.epoch or newest.number - 1

    async def _begin(
        self, known: Epoch | None, info: StreamInfo, cause: str, marks: Sequence[Mark]
    ) -> Epoch:
        """Begin an epoch: all readers return to the end of the part that is left as it was.

        Returns the epoch another replica has begun meanwhile, if any; `known` is this one's newest.
        """
        async with self._service.transaction() as tx:
            await tx.run(LOCK, lock_key("key", f"{self._service.name}/epoch"))
            newest = await self._newest(tx.conn)
            if newest is not None and (known is None or newest.number != known.number):
                return newest
            if newest is not None:
                newest = await self._store_last_mark(tx, newest, marks)
            common = CommonPart(0, "", 0)
            if newest is not None and cause == "set_back":
                common = await self._common(tx.conn, newest, info)
            number = newest.number + 1 if newest else 1
            begun = Epoch(number, str(info.created), common.accepted, 0, "", None)
            await self._write(tx, begun, cause, common)
        if newest is not None:
            SETBACKS.labels(self._service.name, cause).inc()
            log.error(
                "INBOUND begins epoch %s (%s): it has sequences up to %s of epoch %s, which had %s;"
                " `trunkline audit` reports the losses",
                number, cause, common.accepted, newest.number, newest.acked,
            )  # fmt: skip
        return begun

    async def _store_last_mark(self, tx: Tx, newest: Epoch, marks: Sequence[Mark]) -> Epoch:
        """Store the last mark of the epoch that ends, and return the epoch with it."""
        mark = last_before_set_back(marks, newest.number)
        if mark is not None:
            await tx.run(STORE_MARK, *_mark_parameters(mark, newest.number))
        return await self._newest(tx.conn) or newest

    async def _write(self, tx: Tx, begun: Epoch, cause: str, common: CommonPart) -> None:
        """Write a new epoch, turn the readers back, and set aside parked facts beyond it."""
        taken_in, id = common.taken_in, common.inbound_id
        await tx.run(LIMIT_KEPT, begun.shared, begun.shared)
        await tx.run(BEGIN, begun.number, begun.created, cause, begun.shared)
        parameters = (begun.number, begun.created, taken_in, taken_in, id, taken_in, READERS)
        await tx.run(TURN_BACK, *parameters)
        await tx.run(SET_ASIDE, READERS, taken_in)

    async def _common(
        self, conn: psycopg.AsyncConnection[Any], newest: Epoch, info: StreamInfo
    ) -> CommonPart:
        """Find the part of the stream that is as it was, by the ids of deliveries taken in.

        Deliveries accepted and not taken in have no row to compare with. They belong to the part if
        the gateway received them no later than its last acknowledgement. That decides only the
        count of losses; the readers' new position is decided by ids alone.
        """
        low, high = info.state.first_seq - 1, info.state.last_seq
        low, taken_in, id = max(low, 0), max(low, 0), ""
        while low < high:
            middle = (low + high + 1) // 2
            unchanged = await self._first_unchanged(conn, middle, high)
            if unchanged is None:
                high = middle - 1
            else:
                taken_in, id = unchanged
                low = taken_in
        rows = await (await conn.execute(TAKEN_IN, (taken_in + 1,))).fetchall()
        until = min([info.state.last_seq, newest.acked, *(row[0] - row[1] for row in rows[:1])])
        return CommonPart(
            taken_in, id, await self._last_received_by(taken_in, until, newest.acked_at)
        )

    async def _first_unchanged(
        self, conn: psycopg.AsyncConnection[Any], first: int, last: int
    ) -> tuple[int, str] | None:
        """Return sequence and id of the first delivery taken in from `first` on, if still there.

        Returns None if another message has its sequence, or there is no such delivery up to `last`.
        """
        rows = await (await conn.execute(TAKEN_IN, (first,))).fetchall()
        for sequence, _, inbound_id, epoch in rows:
            message = await self._message(sequence) if sequence <= last else None
            if message is None:
                continue
            id = inbound_id_of(message.subject or "")
            return (sequence, id) if inbound_id in (id, repeated_id(id, epoch, sequence)) else None
        return None

    async def _last_received_by(self, low: int, high: int, upto: datetime | None) -> int:
        """Return the last sequence up to `high` received by `upto`; `low` if there is none."""
        while low < high and upto is not None:
            middle = (low + high + 1) // 2
            message = await self._next(middle)
            if message is not None and message[0] <= high and message[1] <= upto:
                low = message[0]
            else:
                high = middle - 1
        return low

    async def _next(self, sequence: int) -> tuple[int, datetime] | None:
        """Return the sequence and the time of receipt of the first message from `sequence` on."""
        try:
            message = await self._service.bus.js.get_msg(STREAM, sequence, ">", next=True)
        except NotFoundError:
            return None
        stored_at = message.time or datetime.fromtimestamp(0, UTC)
        return message.seq or 0, received_at(message.headers or {}, stored_at)


def _ends_of(marks: Sequence[Mark], epoch: int) -> set[tuple[int, str]]:
    """Return the sequences and inbound ids of an epoch's marks."""
    return {(mark.sequence, mark.inbound_id) for mark in marks if mark.epoch == epoch}


def _mark_parameters(mark: Mark, number: int) -> tuple[Any, ...]:
    """Return the parameters of `STORE_MARK`."""
    return mark.sequence, mark.inbound_id, mark.at, number, mark.sequence
