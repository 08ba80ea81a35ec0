"""Bell entries of skill groups: one unread entry for each operator, group and kind.

The first fact about a waiting request creates the entry. Every further fact raises its count and
makes it the newest, so that many facts cost one row. Once the entry is read, the next fact creates
a new one.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.messaging.transaction import Tx
from chassis.postgres.columns import columns
from notify.domain.notifications import BELL, Notification, notification_id

SELECT_APPLIED = """SELECT fact_id FROM group_notices WHERE fact_id = ANY(%b::uuid[])"""

# Rows are inserted in sorted order, so that replicas which raise the same entries never deadlock.
UPSERT_BELLS = """INSERT INTO notifications AS n
        (id, recipient, kind, team, request_id, text, at, count)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::uuid[], %b::text[],
        %b::timestamptz[], %b::bigint[]) AS u (id, recipient, kind, team, request_id, text, at, n)
    ORDER BY recipient, kind, team
    ON CONFLICT (recipient, kind, team) WHERE read_at IS NULL AND team IS NOT NULL
    DO UPDATE SET position = EXCLUDED.position, request_id = EXCLUDED.request_id,
        text = EXCLUDED.text, at = greatest(n.at, EXCLUDED.at), count = n.count + EXCLUDED.count
    RETURNING id, recipient, kind, team"""

# Recipients and bells are passed as one text for each row: unnest flattens an array of arrays.
INSERT_GROUP_NOTICES = """INSERT INTO group_notices
        (fact_id, request_id, kind, at, recipients, bells)
    SELECT fact, request, kind, at, string_to_array(recipients, ' '),
        string_to_array(bells, ' ')::uuid[]
    FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::timestamptz[], %b::text[], %b::text[])
        AS u (fact, request, kind, at, recipients, bells)"""

SELECT_GROUP_NOTICES = """SELECT fact_id, kind, at, recipients, bells FROM group_notices
    WHERE request_id = %s ORDER BY at LIMIT 100"""

EntryKey = tuple[str, str, str | None]
"""The key of an unread entry: recipient, kind and group."""


async def insert(tx: Tx, notifications: Sequence[Notification]) -> set[UUID]:
    """Create or raise the entries of group members, and return the ids of the new ones."""
    if not notifications:
        return set()
    cursor = await tx.run(SELECT_APPLIED, list({each.fact.id for each in notifications}))
    applied = {row[0] for row in await cursor.fetchall()}
    new = [each for each in notifications if each.fact.id not in applied]
    entries = await _upsert_bells(tx, new)
    await _insert_group_notices(tx, new, entries)
    return set(entries.values()) & {each.id for each in new}


async def _upsert_bells(tx: Tx, notifications: Iterable[Notification]) -> dict[EntryKey, UUID]:
    """Count notifications into their entries, and return the id of each entry."""
    by_key: dict[EntryKey, list[Notification]] = {}
    for notification in notifications:
        by_key.setdefault(_key(notification), []).append(notification)
    rows = [
        (each[0].id, *key, each[-1].request_id, each[-1].text, _latest_time(each), len(each))
        for key, each in by_key.items()
    ]
    if not rows:
        return {}
    cursor = await tx.run(UPSERT_BELLS, *columns(rows))
    return {(recipient, kind, team): id_ for id_, recipient, kind, team in await cursor.fetchall()}


async def _insert_group_notices(
    tx: Tx, notifications: Iterable[Notification], entries: dict[EntryKey, UUID]
) -> None:
    """Save the recipients of each fact and their entries, joined by spaces.

    No subject contains a space.
    """
    by_fact: dict[UUID, list[Notification]] = {}
    for notification in notifications:
        by_fact.setdefault(notification.fact.id, []).append(notification)
    rows = [
        (
            fact_id,
            each[0].request_id,
            each[0].kind,
            each[0].fact.time,
            " ".join(notification.recipient for notification in each),
            " ".join(str(entries[_key(notification)]) for notification in each),
        )
        for fact_id, each in by_fact.items()
    ]
    if rows:
        await tx.run(INSERT_GROUP_NOTICES, *columns(rows))


def _key(notification: Notification) -> EntryKey:
    return notification.recipient, notification.kind, notification.group


def _latest_time(notifications: Sequence[Notification]) -> datetime:
    return max(each.fact.time for each in notifications)


async def group_notifications_of(tx: Tx, request_id: UUID) -> list[dict[str, Any]]:
    """Return the notifications of a request that went to members of its group.

    The state `sent` means that the notification created the entry, `collapsed` that it raised the
    count of an unread one.
    """
    rows = await (await tx.run(SELECT_GROUP_NOTICES, request_id)).fetchall()
    return [
        {
            "what": "notification",
            "id": bell,
            "channel": BELL,
            "to": to,
            "kind": kind,
            "state": "sent" if bell == notification_id(fact_id, to, BELL, kind) else "collapsed",
            "at": at,
        }
        for fact_id, kind, at, recipients, bells in rows
        for to, bell in zip(recipients, bells, strict=True)
    ]
