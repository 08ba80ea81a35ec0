"""Read models of the intake: the outcomes of a delivery, and the figures of the ledger."""

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

# A duplicate has the request of its original, also if that was corrected later.
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
WITH v AS (SELECT * FROM unnest(%(numbers)s::int[], %(upto)s::bigint[]) AS v (number, upto))
SELECT (SELECT coalesce(sum(i.chunks), 0) FROM v
    JOIN item i ON i.epoch = v.number AND i.n = 0 AND i.sequence > %(low)s
        AND i.sequence <= least(v.upto, %(high)s))::bigint
    + (SELECT count(*) FROM v JOIN inbound_foreign f ON f.epoch = v.number
        AND f.sequence > %(low)s AND f.sequence <= least(v.upto, %(high)s))"""

MISSING: LiteralString = """
SELECT s FROM generate_series(%s::bigint, %s::bigint) AS s
WHERE NOT EXISTS (
    SELECT 1 FROM inbound_epoch e JOIN item i ON i.epoch = e.number AND i.n = 0
        AND i.sequence BETWEEN s AND s + 250 AND i.sequence <= e.kept AND i.sequence - i.chunks < s)
    AND NOT EXISTS (
    SELECT 1 FROM inbound_epoch e JOIN inbound_foreign f ON f.epoch = e.number
        AND f.sequence = s AND f.sequence <= e.kept)
ORDER BY s LIMIT %s"""

POSITIONS: LiteralString = """
SELECT reader, slot, position FROM reader_position WHERE reader IN ('inbound', 'mail')"""

FOREIGN: LiteralString = "SELECT count(*) FROM inbound_foreign"
RECORD_FOREIGN: LiteralString = (
    "INSERT INTO inbound_foreign (epoch, sequence, subject) VALUES (%s, %s, %s)"
    " ON CONFLICT DO NOTHING"
)

ACKNOWLEDGED: LiteralString = "SELECT lost FROM inbound_loss ORDER BY id DESC LIMIT 1"
ACKNOWLEDGE: LiteralString = (
    "INSERT INTO inbound_loss (lost, reason, by, at) VALUES (%s, %s, %s, %s)"
)


async def load_items(conn: AsyncConnection[Any], inbound_id: UUID) -> list[dict[str, Any]]:
    """Return the items of a delivery with their outcomes; none if it is not taken in yet."""
    cursor = conn.cursor(row_factory=dict_row)
    return await (await cursor.execute(ITEMS, (inbound_id,))).fetchall()


@dataclass
class AccountFigures:
    """The figures of one account."""

    channel: str
    account: str
    taken_in: int = 0
    pending: int = 0
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))

    def figures(self) -> dict[str, Any]:
        """Return the figures without the account, as the API's JSON."""
        return {
            "accepted": self.taken_in + self.pending,
            "taken_in": self.taken_in,
            "pending": self.pending,
            "items": sum(self.outcomes.values()),
            "outcomes": self.outcomes,
        }

    def as_json(self) -> dict[str, Any]:
        """Return the figures as the API's JSON."""
        return {"channel": self.channel, "account": self.account, **self.figures()}


@dataclass
class Epoch:
    """One epoch of INBOUND: the deliveries taken in during it, and the sequences it gave out.

    `shared` is the last sequence it has in common with the epoch before, `acked` the highest
    sequence acknowledged to a gateway, `last` the highest taken in.
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
        """Deliveries accepted during the epoch, as far as they are known."""
        return self.taken_in + self.pending + self.lost

    @property
    def end(self) -> int:
        """The highest sequence the epoch is known to have given out."""
        return max(self.acked, self.last)

    def as_json(self) -> dict[str, Any]:
        """Return the epoch as the API's JSON."""
        names = ("number", "created", "cause", "began_at", "accepted", "taken_in", "pending")
        return {**{name: getattr(self, name) for name in names}, "lost": self.lost}


async def load_account_figures(conn: AsyncConnection[Any]) -> dict[tuple[str, str], AccountFigures]:
    """Return the figures of all accounts, by channel and account."""
    accounts: dict[tuple[str, str], AccountFigures] = {}
    for channel, account, outcome, items, deliveries in await (
        await conn.execute(COUNTS)
    ).fetchall():
        figures = accounts.setdefault((channel, account), AccountFigures(channel, account))
        figures.outcomes[outcome] += items
        figures.taken_in += deliveries
    return accounts


async def load_epochs(conn: AsyncConnection[Any]) -> list[Epoch]:
    """Return all epochs; those that have ended with their losses.

    Lost are the sequences that an ended epoch gave out beyond those shared with the next one, and
    that were not taken in. A lost delivery of several messages counts once for each message.
    """
    epochs = [Epoch(*row) for row in await (await conn.execute(EPOCHS)).fetchall()]
    for n, (epoch, after) in enumerate(pairwise(epochs), 1):
        covered = await count_covered(conn, epochs[:n], after.shared, epoch.end)
        epoch.lost = max(epoch.end - after.shared - covered, 0)
    return epochs


async def count_covered(
    conn: AsyncConnection[Any], epochs: Sequence[Epoch], low: int, high: int
) -> int:
    """Return how many sequences of the last epoch were taken in, above `low` and up to `high`.

    Sequences taken in during an earlier epoch count as far as all later ones share them. So do
    foreign messages, which are no deliveries.
    """
    upto, shared = [], MAX_BIGINT
    for epoch in reversed(epochs):
        upto.append((epoch.number, shared))
        shared = min(shared, epoch.shared)
    numbers, ends = map(list, zip(*upto, strict=True))
    parameters = {"numbers": numbers, "upto": ends, "low": low, "high": high}
    row = await (await conn.execute(COVERED, parameters)).fetchone()
    return int(row[0]) if row else 0


async def find_missing(conn: AsyncConnection[Any], first: int, last: int, limit: int) -> list[int]:
    """Return up to `limit` sequences of the present INBOUND that are not taken in."""
    rows = await (await conn.execute(MISSING, (first, last, limit))).fetchall()
    return [sequence for (sequence,) in rows]


async def load_positions(conn: AsyncConnection[Any]) -> dict[tuple[str, int], int]:
    """Return the position of each reader and slot."""
    rows = await (await conn.execute(POSITIONS)).fetchall()
    return {(reader, slot): position for reader, slot, position in rows}


async def count_foreign(conn: AsyncConnection[Any]) -> int:
    """Return how many messages in INBOUND were found to be no deliveries."""
    row = await (await conn.execute(FOREIGN)).fetchone()
    return int(row[0]) if row else 0


async def count_acknowledged_losses(conn: AsyncConnection[Any]) -> int:
    """Return how many losses a person has acknowledged."""
    row = await (await conn.execute(ACKNOWLEDGED)).fetchone()
    return int(row[0]) if row else 0
