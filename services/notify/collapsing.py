"""Bells that collect: what a group is told of its waiting requests, one bell while it is unread.

A bell is found by operator, group and kind. The first fact rings it; each further one raises its
count and makes it the newest, at the cost of one row, however many there are. Marked as read it
collects no more, and the next fact rings a new one.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from chassis.messaging.transaction import Tx
from notify.domain.notifications import BELL, Notification, notification_id
from notify.store import columns

SELECT_APPLIED = """SELECT fact_id FROM group_notices WHERE fact_id = ANY(%b::uuid[])"""

# In one order, so that replicas which raise the same bells wait for each other and never crosswise.
UPSERT_BELLS = """INSERT INTO notifications AS n
        (id, recipient, kind, team, request_id, text, at, count)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::uuid[], %b::text[],
        %b::timestamptz[], %b::bigint[]) AS u (id, recipient, kind, team, request_id, text, at, n)
    ORDER BY recipient, kind, team
    ON CONFLICT (recipient, kind, team) WHERE read_at IS NULL AND team IS NOT NULL
    DO UPDATE SET position = EXCLUDED.position, request_id = EXCLUDED.request_id,
        text = EXCLUDED.text, at = greatest(n.at, EXCLUDED.at), count = n.count + EXCLUDED.count
    RETURNING id, recipient, kind, team"""

# recipients and bells travel as one text per row: unnest would flatten an array of arrays
INSERT_GROUP_NOTICES = """INSERT INTO group_notices (fact_id, request_id, kind, at, recipients, bells)
    SELECT fact, request, kind, at, string_to_array(recipients, ' '),
        string_to_array(bells, ' ')::uuid[]
    FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::timestamptz[], %b::text[], %b::text[])
        AS u (fact, request, kind, at, recipients, bells)"""

SELECT_GROUP_NOTICES = """SELECT fact_id, kind, at, recipients, bells FROM group_notices
    WHERE request_id = %s ORDER BY at LIMIT 100"""

BellKey = tuple[str, str, str | None]
"""A bell that collects: recipient, kind, group."""


async def ring(tx: Tx, told: Sequence[Notification]) -> set[UUID]:
    """Ring or raise the bells of group members; returns the ids of the new ones."""
    if not told:
        return set()
    cursor = await tx.run(SELECT_APPLIED, list({notice.fact.id for notice in told}))
    heard = {row[0] for row in await cursor.fetchall()}
    fresh = [notice for notice in told if notice.fact.id not in heard]
    bells = await _upsert_bells(tx, fresh)
    await _insert_group_notices(tx, fresh, bells)
    return set(bells.values()) & {notice.id for notice in fresh}


async def _upsert_bells(tx: Tx, fresh: Iterable[Notification]) -> dict[BellKey, UUID]:
    """Count notices into their bells; returns the id of each bell."""
    found: dict[BellKey, list[Notification]] = {}
    for notice in fresh:
        found.setdefault(_key(notice), []).append(notice)
    rows = [
        (each[0].id, *key, each[-1].request_id, each[-1].text, _newest(each), len(each))
        for key, each in found.items()
    ]
    if not rows:
        return {}
    cursor = await tx.run(UPSERT_BELLS, *columns(rows))
    return {(recipient, kind, team): id_ for id_, recipient, kind, team in await cursor.fetchall()}


async def _insert_group_notices(
    tx: Tx, fresh: Iterable[Notification], bells: dict[BellKey, UUID]
) -> None:
    """Keep for each fact who was told by which bell; subjects hold no blanks."""
    by_fact: dict[UUID, list[Notification]] = {}
    for notice in fresh:
        by_fact.setdefault(notice.fact.id, []).append(notice)
    rows = [
        (
            fact_id,
            each[0].request_id,
            each[0].kind,
            each[0].fact.time,
            " ".join(notice.recipient for notice in each),
            " ".join(str(bells[_key(notice)]) for notice in each),
        )
        for fact_id, each in by_fact.items()
    ]
    if rows:
        await tx.run(INSERT_GROUP_NOTICES, *columns(rows))


def _key(notice: Notification) -> BellKey:
    return notice.recipient, notice.kind, notice.group


def _newest(each: Sequence[Notification]) -> Any:
    return max(notice.fact.time for notice in each)


async def group_notifications_of(tx: Tx, request_id: UUID) -> list[dict[str, Any]]:
    """Return who was told of a waiting request as one of its group, and by which bell.

    `sent` rang the bell; `collapsed` raised the count of one that was unread.
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
