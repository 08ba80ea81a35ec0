"""Facts a reader cannot apply: parked with a reason, or deferred until their request is known.

Both block only their own key. Only the reader's leader writes here, in the transaction that moves
the position, so no fact is skipped or applied twice.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

import psycopg

from chassis.messaging.message import StreamMessage
from chassis.messaging.transaction import Tx

INSERT_PARKED: LiteralString = (
    "INSERT INTO parked (reader, stream, slot, position, key, subject, headers, data, reason,"
    " head, state, parked_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'parked', %s)"
    " ON CONFLICT (reader, position) DO UPDATE SET reason = EXCLUDED.reason, head = EXCLUDED.head,"
    " state = 'parked', settled_at = NULL"
)
PARKED_KEYS: LiteralString = (
    "SELECT key, bool_or(head AND state = 'parked') FROM parked"
    " WHERE reader = %s AND slot = ANY(%b::int[]) AND state IN ('parked', 'redrive') GROUP BY key"
)
PARKED_OF_KEY: LiteralString = (
    "SELECT id, position, subject, headers, data, head FROM parked"
    " WHERE reader = %s AND key = %s AND state IN ('parked', 'redrive') ORDER BY position LIMIT 200"
)
SETTLE_PARKED: LiteralString = (
    "UPDATE parked SET state = 'done', settled_at = %s WHERE id = ANY(%b::bigint[])"
)
INSERT_DEFERRED: LiteralString = (
    "INSERT INTO waiting (reader, position, slot, key, subject, headers, data, since)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)
DEFERRED_KEYS: LiteralString = (
    "SELECT DISTINCT key FROM waiting WHERE reader = %s AND slot = ANY(%b::int[])"
)
DEFERRED_OF_KEYS: LiteralString = (
    "SELECT key, position, subject, headers, data FROM waiting"
    " WHERE reader = %s AND key = ANY(%b::text[]) ORDER BY position"
)
COUNT_LATE: LiteralString = (
    "SELECT count(*) FROM waiting WHERE reader = %s AND slot = ANY(%b::int[]) AND since < %s"
)
DELETE_DEFERRED: LiteralString = (
    "DELETE FROM waiting WHERE reader = %s AND position = ANY(%b::bigint[])"
)

KEYS_PER_RETRY = 100
"""The number of keys of one round of retries."""


class DeferredKeys:
    """The blocked keys of one slot group of a reader, as its leader knows them."""

    def __init__(self, reader: str, stream: str, slots: tuple[int, ...]) -> None:
        self.reader = reader
        self.stream = stream
        self.slots = list(slots)
        self.parked: set[str] = set()
        self.redriven: list[str] = []
        self.deferred: set[str] = set()
        self._last = ""

    async def load(self, conn: psycopg.AsyncConnection) -> None:
        """Load the parked and deferred keys, and those whose redrive was requested."""
        rows = await (await conn.execute(PARKED_KEYS, (self.reader, self.slots))).fetchall()
        self.parked = {key for key, _ in rows}
        self.redriven = [key for key, stuck in rows if not stuck]
        cursor = await conn.execute(DEFERRED_KEYS, (self.reader, self.slots))
        self.deferred = {key for (key,) in await cursor.fetchall()}

    async def load_some(self, conn: psycopg.AsyncConnection) -> dict[str, list[StreamMessage]]:
        """Return all deferred facts of some keys, in order; each call takes the next keys."""
        keys = sorted(self.deferred)
        keys = [key for key in keys if key > self._last][:KEYS_PER_RETRY] or keys[:KEYS_PER_RETRY]
        self._last = keys[-1] if keys else ""
        by_key: dict[str, list[StreamMessage]] = {key: [] for key in keys}
        rows = await conn.execute(DEFERRED_OF_KEYS, (self.reader, keys))
        for key, position, subject, headers, data in await rows.fetchall():
            item = StreamMessage(subject, bytes(data), position, 0, 0, headers, was_deferred=True)
            by_key[key].append(item)
        return by_key

    async def count_late(self, conn: psycopg.AsyncConnection, since: datetime) -> int:
        """Return the number of facts deferred before `since`."""
        row = await (await conn.execute(COUNT_LATE, (self.reader, self.slots, since))).fetchone()
        return int(row[0]) if row else 0

    async def park(self, tx: Tx, item: StreamMessage, reason: str, *, head: bool) -> None:
        """Park a fact that cannot be applied (`head`), or one behind such a fact."""
        headers = json.dumps(dict(item.headers))
        await tx.run(
            INSERT_PARKED, self.reader, self.stream, item.slot, item.position, item.key,
            item.subject, headers, item.data, reason[:500], head, tx.now,
        )  # fmt: skip
        self.parked.add(item.key)

    async def defer(self, tx: Tx, item: StreamMessage) -> None:
        """Keep a fact whose request is not known here yet."""
        headers = json.dumps(dict(item.headers))
        await tx.run(
            INSERT_DEFERRED,
            self.reader,
            item.position,
            item.slot,
            item.key,
            item.subject,
            headers,
            item.data,
            tx.now,
        )
        self.deferred.add(item.key)

    async def delete(self, tx: Tx, positions: Sequence[int]) -> None:
        """Delete deferred facts that were applied or parked."""
        await tx.run(DELETE_DEFERRED, self.reader, list(positions))
