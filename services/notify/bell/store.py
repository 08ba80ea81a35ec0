"""Personal notifications, and the entries of an operator's bell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chassis.messaging.transaction import Tx
from chassis.postgres.columns import columns
from notify.domain.notifications import BELL, Notification

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

# Rows are locked in the order of grouped.UPSERT_BELLS, so that the two statements never deadlock.
UPDATE_READ = """WITH chosen AS (SELECT id FROM notifications
        WHERE recipient = %s AND read_at IS NULL AND (%b::uuid[] IS NULL OR id = ANY(%b::uuid[]))
        ORDER BY recipient, kind, team, position FOR UPDATE)
    UPDATE notifications SET read_at = %s
    WHERE id = ANY(ARRAY(SELECT id FROM chosen)) AND read_at IS NULL"""

SELECT_NOTIFICATIONS = """SELECT id, recipient, kind, at FROM notifications
    WHERE request_id = %s AND team IS NULL ORDER BY position LIMIT 500"""


async def insert(tx: Tx, notifications: Sequence[Notification]) -> set[UUID]:
    """Add personal notifications to bells, and return the ids of those that are new."""
    if not notifications:
        return set()
    rows = [(n.id, n.recipient, n.kind, n.request_id, n.text, n.fact.time) for n in notifications]
    cursor = await tx.run(INSERT_NOTIFICATIONS, *columns(rows))
    return {row[0] for row in await cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class BellEntry:
    """An entry of a bell, as the API returns it; a higher `position` is newer."""

    position: int
    body: dict[str, Any]


async def bell(tx: Tx, recipient: str, before: int, *, unread: bool, limit: int) -> list[BellEntry]:
    """Return notifications of a recipient below a position, the newest first."""
    cursor = await tx.run(SELECT_BELL, recipient, before, unread, limit)
    names = ("id", "kind", "request_id", "text", "at", "read", "count")
    return [
        BellEntry(row[0], dict(zip(names, row[1:], strict=True))) for row in await cursor.fetchall()
    ]


async def mark_read(tx: Tx, recipient: str, ids: Sequence[UUID] | None) -> int:
    """Mark notifications of a recipient as read, all without `ids`; return how many were unread."""
    chosen = None if ids is None else list(ids)
    cursor = await tx.run(UPDATE_READ, recipient, chosen, chosen, tx.now)
    return cursor.rowcount


async def notifications_of(tx: Tx, request_id: UUID) -> list[dict[str, Any]]:
    """Return the personal notifications of a request."""
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
