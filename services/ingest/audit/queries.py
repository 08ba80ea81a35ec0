"""What people see of the intake: what became of an inbound id, and the ledger.

Longer than other files: each query stands beside what is made of its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row

MAX_BIGINT = 2**63 - 1
OUTCOMES = ("opened", "appended", "noted", "duplicate", "rejected", "parked")

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

EPOCHS: LiteralString = """
SELECT e.number, e.stream_created, e.cause, e.began_at, e.shared, e.acked,
    coalesce(i.taken_in, 0), coalesce(i.last, 0)
FROM inbound_epoch e LEFT JOIN (
    SELECT epoch, count(*) AS taken_in, max(sequence) AS last
    FROM item WHERE n = 0 GROUP BY epoch) i ON i.epoch = e.number
ORDER BY e.number"""

COVERED: LiteralString = """
SELECT coalesce(sum(i.chunks), 0)::bigint
FROM unnest(%s::int[], %s::bigint[]) AS v (number, upto)
JOIN item i ON i.epoch = v.number AND i.n = 0 AND i.sequence > %s
    AND i.sequence <= least(v.upto, %s)"""

MISSING: LiteralString = """
SELECT s FROM generate_series(%s::bigint, %s::bigint) AS s
WHERE NOT EXISTS (
    SELECT 1 FROM inbound_epoch e JOIN item i ON i.epoch = e.number AND i.n = 0
        AND i.sequence BETWEEN s AND s + 250 AND i.sequence <= e.kept AND i.sequence - i.chunks < s)
ORDER BY s LIMIT %s"""

POSITIONS: LiteralString = """
SELECT reader, slot, position FROM reader_position WHERE reader IN ('inbound', 'mail')"""

ACKNOWLEDGED: LiteralString = "SELECT lost FROM inbound_loss ORDER BY id DESC LIMIT 1"
ACKNOWLEDGE: LiteralString = (
    "INSERT INTO inbound_loss (lost, reason, by, at) VALUES (%s, %s, %s, %s)"
)


async def load_items(conn: AsyncConnection[Any], inbound_id: UUID) -> list[dict[str, Any]]:
    """Give the items of a delivery with their outcomes; none when it is not taken in yet."""
    cursor = conn.cursor(row_factory=dict_row)
    return await (await cursor.execute(ITEMS, (inbound_id,))).fetchall()


@dataclass
class AccountFigures:
    """One account of the ledger."""

    channel: str
    account: str
    taken_in: int = 0
    pending: int = 0
    words: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))

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
class Epoch:
    """One epoch of INBOUND: what was taken in during it, and what it has given out.

    `shared` is up to where it began with the messages of the one before, `acked` the highest
    sequence acknowledged to a door, `last` the highest taken in.
    """

    number: int
    created: str
    cause: str
    began_at: datetime
    shared: int
    acked: int
    taken_in: int
    last: int
    pending: int = 0
    lost: int = 0

    @property
    def accepted(self) -> int:
        """Deliveries it took, as far as it is known."""
        return self.taken_in + self.pending + self.lost

    @property
    def end(self) -> int:
        """The highest sequence it is known to have given out."""
        return max(self.acked, self.last)

    def as_json(self) -> dict[str, Any]:
        """Write it as it is answered."""
        names = ("number", "created", "cause", "began_at", "accepted", "taken_in", "pending")
        return {**{name: getattr(self, name) for name in names}, "lost": self.lost}


async def load_account_figures(conn: AsyncConnection[Any]) -> dict[tuple[str, str], AccountFigures]:
    """Count all items by account and outcome."""
    lines: dict[tuple[str, str], AccountFigures] = {}
    for channel, account, word, items, deliveries in await (await conn.execute(COUNTS)).fetchall():
        line = lines.setdefault((channel, account), AccountFigures(channel, account))
        line.words[word] += items
        line.taken_in += deliveries
    return lines


async def load_epochs(conn: AsyncConnection[Any]) -> list[Epoch]:
    """Return all epochs; those that have ended with what is lost of them.

    Of an epoch that ended is lost what it gave out after what the next one shares with it, as far
    as it was not taken in. A lost delivery of several messages counts as so many.
    """
    epochs = [Epoch(*row) for row in await (await conn.execute(EPOCHS)).fetchall()]
    for n, (epoch, after) in enumerate(pairwise(epochs), 1):
        covered = await count_covered(conn, epochs[:n], after.shared, epoch.end)
        epoch.lost = max(epoch.end - after.shared - covered, 0)
    return epochs


async def count_covered(
    conn: AsyncConnection[Any], epochs: Sequence[Epoch], low: int, high: int
) -> int:
    """Count the sequences above `low` and up to `high` of the last of these epochs taken in.

    What an earlier one took in counts up to where the later ones share it.
    """
    upto, shared = [], MAX_BIGINT
    for epoch in reversed(epochs):
        upto.append((epoch.number, shared))
        shared = min(shared, epoch.shared)
    columns = map(list, zip(*upto, strict=True))
    row = await (await conn.execute(COVERED, (*columns, low, high))).fetchone()
    return int(row[0]) if row else 0


async def find_missing(conn: AsyncConnection[Any], first: int, last: int, most: int) -> list[int]:
    """Name sequences of the present INBOUND that are not taken in."""
    rows = await (await conn.execute(MISSING, (first, last, most))).fetchall()
    return [sequence for (sequence,) in rows]


async def load_positions(conn: AsyncConnection[Any]) -> dict[tuple[str, int], int]:
    """Return how far each slot was read, by reader."""
    rows = await (await conn.execute(POSITIONS)).fetchall()
    return {(reader, slot): position for reader, slot, position in rows}


async def count_acknowledged_losses(conn: AsyncConnection[Any]) -> int:
    """Return how many losses a person has looked at."""
    row = await (await conn.execute(ACKNOWLEDGED)).fetchone()
    return int(row[0]) if row else 0
