"""The positions of a reader: one row per slot, moved in the transaction of the effects.

`WHERE position = expected` is the fence: a leader that was paused and comes back cannot commit.
In a stream with epochs a position is valid for one epoch only.
"""

from typing import LiteralString

import psycopg

from chassis.errors import NotReady, StaleLeader
from chassis.messaging.transaction import Tx

INSERT_MISSING: LiteralString = (
    "INSERT INTO reader_position (reader, slot, position, stream_created, stream_sequence)"
    " SELECT %s, s, 0, '', 0 FROM unnest(%b::int[]) s ON CONFLICT DO NOTHING"
)
LOAD: LiteralString = (
    "SELECT slot, position, stream_created, stream_sequence, epoch, last_id FROM reader_position"
    " WHERE reader = %s AND slot = ANY(%b::int[]) ORDER BY stream_sequence"
)
RESTART: LiteralString = (
    "UPDATE reader_position SET position = 0, stream_created = %s, stream_sequence = 0,"
    " epoch = %s, last_id = '' WHERE reader = %s AND slot = ANY(%b::int[])"
    " AND (epoch < %s OR (%s = 0 AND stream_created <> %s))"
)
SET_ASIDE: LiteralString = (
    "UPDATE parked SET position = -id WHERE reader = %s AND slot = ANY(%b::int[]) AND position > 0"
)
"""Frees the positions of messages parked from an earlier stream: a new one counts from 1 again."""
MOVE: LiteralString = (
    "UPDATE reader_position p SET position = v.new, stream_created = %s, stream_sequence = %s,"
    " last_id = %s FROM unnest(%b::int[], %b::bigint[], %b::bigint[]) v(slot, old, new)"
    " WHERE p.reader = %s AND p.slot = v.slot AND p.position = v.old AND p.epoch = %s"
)
COUNT_UNMOVED: LiteralString = (
    "SELECT count(*) FROM reader_position p JOIN unnest(%b::int[], %b::bigint[]) v(slot, old)"
    " ON p.slot = v.slot AND p.position = v.old WHERE p.reader = %s AND p.epoch = %s"
)
LOCK_POSITIONS: LiteralString = (
    "SELECT 1 FROM reader_position WHERE reader = %s AND slot = ANY(%b::int[])"
    " ORDER BY slot FOR UPDATE"
)


class Positions:
    """The positions of one slot group of one reader.

    `at` are the positions in memory, `stored` those in PostgreSQL. Facts without effect move only
    the former; they are stored with the next effect, or within a second.
    """

    def __init__(self, reader: str, slots: tuple[int, ...]) -> None:
        self.reader = reader
        self.slots = slots
        self.at: dict[int, int] = dict.fromkeys(slots, 0)
        self.stored = self.at
        self.created = ""
        self.sequence = 0
        self.epoch = 0
        self.last_id = ""
        """The id of the message at `sequence`, where the stream has epochs."""
        self._newest = (0, "")

    async def load(
        self, conn: psycopg.AsyncConnection, created: str, *, own: bool, epoch: int = 0
    ) -> None:
        """Load the positions. A recreated stream is read from its start; known facts are skipped.

        INBOUND's positions are its sequences (`own`), so a new stream restarts them; where its
        `epoch` is known, only a newer epoch does. Raises `NotReady` when a newer epoch has begun.
        """
        slots = list(self.slots)
        await conn.execute(INSERT_MISSING, (self.reader, slots))
        if own:
            restarted = await conn.execute(
                RESTART, (created, epoch, self.reader, slots, epoch, epoch, created)
            )
            if restarted.rowcount:
                await conn.execute(SET_ASIDE, (self.reader, slots))
        rows = await (await conn.execute(LOAD, (self.reader, slots))).fetchall()
        if any(row[4] != epoch for row in rows):
            raise NotReady(f"{self.reader}: its stream has another epoch")
        self.at = self.stored = {slot: position for slot, position, *_ in rows}
        same = epoch or all(made == created for _, _, made, *_ in rows)
        _, _, _, self.sequence, self.epoch, self.last_id = rows[0]
        self.sequence = self.sequence if same else 0
        self.created = created

    def note_newest(self, sequence: int, id: str) -> None:
        """Note the id of the newest message read."""
        self._newest = (sequence, id)

    def _id_at(self, sequence: int) -> str:
        came, id = self._newest
        if sequence == came:
            return id
        return self.last_id if sequence == self.sequence else ""

    async def is_moved(self, conn: psycopg.AsyncConnection) -> bool:
        """Return whether the table has other positions than this loop stored.

        Happens after a restore of PostgreSQL under a running service, and in a new epoch.
        """
        rows = await (await conn.execute(LOAD, (self.reader, list(self.slots)))).fetchall()
        found = {slot: (position, epoch) for slot, position, _, _, epoch, _ in rows}
        return found != {slot: (at, self.epoch) for slot, at in self.stored.items()}

    async def move(self, tx: Tx, to: dict[int, int], sequence: int) -> None:
        """Move all slots to these positions, and the reader to the stream's `sequence`.

        Call `mark_committed` after the commit. Raises `StaleLeader` when another leader has moved
        a slot.
        """
        slots = list(self.slots)
        old = [self.stored[slot] for slot in slots]
        new = [to.get(slot, self.at[slot]) for slot in slots]
        moved = await tx.run(
            MOVE, self.created, sequence, self._id_at(sequence), slots, old, new, self.reader,
            self.epoch,
        )  # fmt: skip
        if moved.rowcount != len(slots):
            raise StaleLeader(f"{self.reader}: another leader has moved on")

    def mark_committed(self, to: dict[int, int], sequence: int) -> None:
        """Take over positions that have been committed."""
        self.at = self.stored = to
        self.last_id, self.sequence = self._id_at(sequence), sequence

    def advance_in_memory(self, to: dict[int, int], sequence: int) -> None:
        """Take over positions of messages without effect, which need no own transaction."""
        self.at = to
        self.last_id, self.sequence = self._id_at(sequence), sequence

    async def assert_unmoved(self, tx: Tx) -> None:
        """Lock the positions for this transaction; raise `StaleLeader` when they have moved."""
        slots = list(self.slots)
        await tx.run(LOCK_POSITIONS, self.reader, slots)
        stored = [self.stored[slot] for slot in slots]
        cursor = await tx.run(COUNT_UNMOVED, slots, stored, self.reader, self.epoch)
        if await cursor.fetchone() != (len(slots),):
            raise StaleLeader(f"{self.reader}: another leader has moved on")
