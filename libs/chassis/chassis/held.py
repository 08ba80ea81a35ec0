"""What a reader cannot apply: facts parked with a reason, facts that wait for their request.

Both hold back only their own key. Only the reader's leader writes here, inside the transaction
that moves the position, so nothing is skipped and nothing is applied twice.
"""

import json
from collections.abc import Sequence
from typing import LiteralString

import psycopg

from chassis.incoming import Incoming
from chassis.tx import Tx

PARK: LiteralString = (
    "INSERT INTO parked (reader, stream, slot, position, key, subject, headers, data, reason,"
    " head, state, parked_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'parked', %s)"
    " ON CONFLICT (reader, position) DO UPDATE SET reason = EXCLUDED.reason, head = EXCLUDED.head,"
    " state = 'parked', settled_at = NULL"
)
OPEN_KEYS: LiteralString = (
    "SELECT key, bool_or(head AND state = 'parked') FROM parked"
    " WHERE reader = %s AND slot = ANY(%b::int[]) AND state IN ('parked', 'redrive') GROUP BY key"
)
OPEN_OF_KEY: LiteralString = (
    "SELECT id, position, subject, headers, data, head FROM parked"
    " WHERE reader = %s AND key = %s AND state IN ('parked', 'redrive') ORDER BY position LIMIT 200"
)
SETTLE: LiteralString = (
    "UPDATE parked SET state = 'done', settled_at = %s WHERE id = ANY(%b::bigint[])"
)
WAIT: LiteralString = (
    "INSERT INTO waiting (reader, position, slot, key, subject, headers, data, since)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)
WAITING: LiteralString = (
    "SELECT position, subject, headers, data, since FROM waiting"
    " WHERE reader = %s AND slot = ANY(%b::int[]) ORDER BY position LIMIT 1000"
)
WAITED: LiteralString = "DELETE FROM waiting WHERE reader = %s AND position = ANY(%b::bigint[])"


class Held:
    """The keys of one reader that are held back, as its leader knows them."""

    def __init__(self, reader: str, stream: str, slots: tuple[int, ...]) -> None:
        self.reader = reader
        self.stream = stream
        self.slots = list(slots)
        self.parked: set[str] = set()
        self.freed: list[str] = []
        self.waiting: set[str] = set()
        self.oldest: float = 0.0

    async def load(self, conn: psycopg.AsyncConnection) -> None:
        """Read what is held, and which keys have been freed by a person."""
        rows = await (await conn.execute(OPEN_KEYS, (self.reader, self.slots))).fetchall()
        self.parked = {key for key, _ in rows}
        self.freed = [key for key, stuck in rows if not stuck]
        cursor = await conn.execute(WAITING, (self.reader, self.slots))
        self.waiting = {row[1].rsplit(".", 1)[1] for row in await cursor.fetchall()}

    async def park(self, tx: Tx, item: Incoming, reason: str, *, head: bool) -> None:
        """Keep a fact that cannot be applied, or one that stands behind such a fact."""
        headers = json.dumps(dict(item.headers))
        await tx.run(
            PARK, self.reader, self.stream, item.slot, item.position, item.key, item.subject,
            headers, item.data, reason[:500], head, tx.now,
        )  # fmt: skip
        self.parked.add(item.key)

    async def wait(self, tx: Tx, item: Incoming) -> None:
        """Keep a fact that came before its request."""
        headers = json.dumps(dict(item.headers))
        await tx.run(
            WAIT,
            self.reader,
            item.position,
            item.slot,
            item.key,
            item.subject,
            headers,
            item.data,
            tx.now,
        )
        self.waiting.add(item.key)

    async def waited(self, tx: Tx, positions: Sequence[int]) -> None:
        """Let go of what has been applied."""
        await tx.run(WAITED, self.reader, list(positions))
