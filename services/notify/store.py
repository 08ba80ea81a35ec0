"""What notify remembers of requests, and the bell."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chassis.messaging.transaction import Tx
from notify.domain.notifications import BELL, Notification
from notify.domain.request import Request

SELECT_REQUESTS = """SELECT request_id, type, topic, sequence, assignee, watchers, closed, team
    FROM requests WHERE request_id = ANY(%b::uuid[])"""

# watchers travel as one text per row: unnest would flatten an array of arrays
UPSERT_REQUESTS = """INSERT INTO requests
    (request_id, type, topic, sequence, assignee, watchers, closed, team)
    SELECT id, type, topic, sequence, assignee, string_to_array(watchers, ' '), closed, team
    FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::bigint[], %b::text[], %b::text[],
        %b::bool[], %b::text[]) AS u (id, type, topic, sequence, assignee, watchers, closed, team)
    ON CONFLICT (request_id) DO UPDATE SET topic = EXCLUDED.topic, sequence = EXCLUDED.sequence,
        assignee = EXCLUDED.assignee, watchers = EXCLUDED.watchers, closed = EXCLUDED.closed,
        team = EXCLUDED.team"""

INSERT_NOTIFICATIONS = """INSERT INTO notifications (id, recipient, kind, request_id, text, at)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::uuid[], %b::text[],
        %b::timestamptz[])
    ON CONFLICT (id) DO NOTHING RETURNING id"""

SELECT_BELL = """SELECT position, id, kind, request_id,
        CASE WHEN count > 1 THEN format('%%s, and %%s more waiting in %%s', text, count - 1, team)
            ELSE text END,
        at, read_at IS NOT NULL, count FROM notifications
    WHERE recipient = %s AND position < %s AND (read_at IS NULL OR NOT %s)
    ORDER BY position DESC LIMIT %s"""

# locked in the order in which bells that collect are raised, so that neither waits for the other
UPDATE_READ = """WITH chosen AS (SELECT id FROM notifications
        WHERE recipient = %s AND read_at IS NULL AND (%b::uuid[] IS NULL OR id = ANY(%b::uuid[]))
        ORDER BY recipient, kind, team, position FOR UPDATE)
    UPDATE notifications SET read_at = %s
    WHERE id = ANY(ARRAY(SELECT id FROM chosen)) AND read_at IS NULL"""

SELECT_NOTIFICATIONS = """SELECT id, recipient, kind, at FROM notifications
    WHERE request_id = %s AND team IS NULL ORDER BY position LIMIT 500"""


async def load(tx: Tx, ids: Iterable[UUID]) -> dict[UUID, Request]:
    """Load what is known of these requests."""
    cursor = await tx.run(SELECT_REQUESTS, sorted(set(ids)))
    return {row[0]: Request(*row) for row in await cursor.fetchall()}


async def save(tx: Tx, requests: Sequence[Request]) -> None:
    """Save requests; subjects hold no blanks, so watchers are joined by one."""
    if not requests:
        return
    rows = [
        (r.id, r.type, r.topic, r.sequence, r.assignee, " ".join(r.watchers), r.closed, r.team)
        for r in sorted(requests, key=lambda r: r.id)
    ]
    await tx.run(UPSERT_REQUESTS, *columns(rows))


async def ring(tx: Tx, notices: Sequence[Notification]) -> set[UUID]:
    """Put notices into their recipients' bells; gives those that were not there already."""
    if not notices:
        return set()
    rows = [(n.id, n.recipient, n.kind, n.request_id, n.text, n.fact.time) for n in notices]
    cursor = await tx.run(INSERT_NOTIFICATIONS, *columns(rows))
    return {row[0] for row in await cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class BellEntry:
    """A line of the bell; `position` orders them."""

    position: int
    body: dict[str, Any]


async def bell(tx: Tx, recipient: str, before: int, *, unread: bool, limit: int) -> list[BellEntry]:
    """Give somebody's notifications, the latest first."""
    cursor = await tx.run(SELECT_BELL, recipient, before, unread, limit)
    names = ("id", "kind", "request_id", "text", "at", "mark_read", "count")
    return [
        BellEntry(row[0], dict(zip(names, row[1:], strict=True))) for row in await cursor.fetchall()
    ]


async def mark_read(tx: Tx, recipient: str, ids: Sequence[UUID] | None) -> int:
    """Mark some or all of somebody's notifications as read."""
    chosen = None if ids is None else list(ids)
    cursor = await tx.run(UPDATE_READ, recipient, chosen, chosen, tx.now)
    return cursor.rowcount


async def notifications_of(tx: Tx, request_id: UUID) -> list[dict[str, Any]]:
    """Give who was told of a request."""
    rows = await (await tx.run(SELECT_NOTIFICATIONS, request_id)).fetchall()
    return [
        {
            "what": "notification",
            "id": id_,
            "channel": BELL,
            "to": to,
            "kind": kind,
            "state": "sent",
            "at": at,
        }
        for id_, to, kind, at in rows
    ]


def columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Return rows as one list per column, as `unnest` takes them."""
    return [list(column) for column in zip(*rows, strict=True)]
