"""What people see of the intake: what became of an inbound id, and the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row

WORDS = ("opened", "appended", "noted", "duplicate", "rejected", "parked")

# A duplicate goes where its original went, also when that was corrected later.
ITEMS: LiteralString = """
SELECT i.channel, i.account, i.outcome, i.reason, i.threaded_by, i.external_id,
    coalesce(CASE WHEN i.outcome = 'duplicate' THEN f.request_id END, i.request_id) AS request_id
FROM item i LEFT JOIN item f ON f.message_id = i.message_id AND f.first AND NOT i.first
WHERE i.inbound_id = %s ORDER BY i.n"""

COUNTS: LiteralString = """
SELECT i.channel, i.account, i.outcome, count(*) AS items,
    count(*) FILTER (WHERE i.n = 0) AS deliveries
FROM item i GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""

CREATIONS: LiteralString = """
SELECT i.stream_created AS created, count(*) AS taken_in, max(i.sequence) AS last,
    sum(i.chunks) - count(*) AS chunks
FROM item i WHERE i.n = 0 GROUP BY 1 ORDER BY 1"""

MISSING: LiteralString = """
SELECT s FROM generate_series(greatest(%s::bigint, 1), %s::bigint) AS s
WHERE NOT EXISTS (
    SELECT 1 FROM item i WHERE i.stream_created = %s AND i.n = 0
        AND i.sequence BETWEEN s AND s + 150 AND i.sequence - i.chunks < s)
ORDER BY s LIMIT %s"""


async def items_of(conn: AsyncConnection[Any], inbound_id: UUID) -> list[dict[str, Any]]:
    """Give the items of a delivery with their outcomes; none when it is not taken in yet."""
    cursor = conn.cursor(row_factory=dict_row)
    return await (await cursor.execute(ITEMS, (inbound_id,))).fetchall()


@dataclass
class Line:
    """One account of the ledger."""

    channel: str
    account: str
    taken_in: int = 0
    pending: int = 0
    words: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WORDS, 0))

    def figures(self) -> dict[str, Any]:
        """Write its figures as they are answered."""
        return {
            "accepted": self.taken_in + self.pending,
            "taken_in": self.taken_in,
            "pending": self.pending,
            "items": sum(self.words.values()),
            "outcomes": self.words,
        }

    def as_json(self) -> dict[str, Any]:
        """Write it as it is answered."""
        return {"channel": self.channel, "account": self.account, **self.figures()}


@dataclass
class Creation:
    """INBOUND as it was made once: the deliveries it took, and how many of them were taken in.

    A delivery of several chunks counts once, at the last of its sequences.
    """

    created: datetime
    accepted: int
    taken_in: int
    current: bool
    last: int = 0

    @property
    def missing(self) -> int:
        """Deliveries not taken in: pending in the stream there is, lost in one that is gone."""
        return self.accepted - self.taken_in


async def lines_of(conn: AsyncConnection[Any]) -> dict[tuple[str, str], Line]:
    """Count all items by account and outcome."""
    lines: dict[tuple[str, str], Line] = {}
    for channel, account, word, items, deliveries in await (await conn.execute(COUNTS)).fetchall():
        line = lines.setdefault((channel, account), Line(channel, account))
        line.words[word] += items
        line.taken_in += deliveries
    return lines


async def creations_of(
    conn: AsyncConnection[Any], created: datetime, last_sequence: int
) -> list[Creation]:
    """Compare what each creation of INBOUND gave out with what was taken in."""
    found: Sequence[tuple[datetime, int, int, int]]
    found = await (await conn.execute(CREATIONS)).fetchall()
    past = [
        Creation(at, last - int(chunks), taken, current=False, last=last)
        for at, taken, last, chunks in found
        if at != created
    ]
    now = ((taken, last, int(chunks)) for at, taken, last, chunks in found if at == created)
    taken, seen, chunks = next(now, (0, 0, 0))
    last = max(last_sequence, seen)
    return [*past, Creation(created, last - chunks, taken, current=True, last=last)]


async def missing_of(
    conn: AsyncConnection[Any], created: datetime, first: int, last: int, most: int
) -> list[int]:
    """Name sequences of the present INBOUND that are not taken in."""
    rows = await (await conn.execute(MISSING, (first, last, created, most))).fetchall()
    return [sequence for (sequence,) in rows]
