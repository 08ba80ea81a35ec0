"""Read models of the HTTP API: operators, the queue, decisions, anomalies."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from routing.domain.model import OperatorProfile

Row = dict[str, Any]
QueuePosition = tuple[int, datetime, UUID]
"""Negative weight, creation time and id: the sort key of the queue."""

PACE_WINDOW = timedelta(minutes=30)
"""The time over which assignments are counted to estimate the wait."""

OPERATORS: LiteralString = """
SELECT id, status, status_since, lease_until, load, last_assigned_at, last_closed_at,
       (SELECT coalesce(jsonb_object_agg(channel, n), '{}') FROM (
           SELECT channel, sum(units) AS n FROM capacity WHERE operator = o.id GROUP BY channel
       ) c) AS channels
FROM operators o WHERE id = ANY(%s)
"""
QUEUE_PAGE: LiteralString = """
SELECT * FROM (
    SELECT request_id, request_group AS "group", topic, channel, weight, created_at, queued_at,
        avoid, epoch, row_number() OVER (
            PARTITION BY request_group ORDER BY weight DESC, created_at, request_id
        ) AS position
    FROM queue WHERE request_group = ANY(%s)
) q WHERE (-weight, created_at, request_id) > (%s, %s, %s)
ORDER BY weight DESC, created_at, request_id LIMIT %s
"""
QUEUED_REQUEST: LiteralString = """
SELECT request_id, request_group AS "group", topic, channel, weight, created_at, queued_at,
    avoid, epoch, (SELECT count(*) FROM queue b WHERE b.request_group = q.request_group
        AND (-b.weight, b.created_at, b.request_id) <= (-q.weight, q.created_at, q.request_id)
    ) AS position
FROM queue q WHERE request_id = %s
"""
ASSIGNED_BY_GROUP: LiteralString = """
SELECT request_group, count(*) FROM decisions
WHERE NOT waits AND request_group = ANY(%s) AND at > %s GROUP BY request_group
"""
OWNER: LiteralString = """
SELECT request_group AS "group", operator FROM capacity WHERE request_id = %(id)s
UNION ALL SELECT request_group, NULL FROM queue WHERE request_id = %(id)s
"""
DECISIONS: LiteralString = """
SELECT id, at, request_group AS "group", operator AS chosen, mode, by, method, epoch, workspace,
    considered, able, excluded, took_us
FROM decisions WHERE request_id = %s ORDER BY epoch, waits DESC LIMIT %s OFFSET %s
"""
FIGURES: LiteralString = """
SELECT count(*) AS decisions, count(*) FILTER (WHERE NOT waits) AS distributed,
    count(*) FILTER (WHERE waits) AS skipped, avg(took_us)::float / 1000 AS average_ms,
    (SELECT count(*) FROM anomalies WHERE at > %(since)s) AS anomalies
FROM decisions WHERE at > %(since)s
"""
ANOMALIES: LiteralString = """
SELECT id, at, kind, request_id, operator, detail FROM anomalies
WHERE at > %s AND id < %s ORDER BY id DESC LIMIT %s
"""


async def _rows(conn: AsyncConnection[Any], sql: LiteralString, *params: Any) -> list[Row]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql, params, prepare=True)
        return await cursor.fetchall()


async def operators(
    conn: AsyncConnection[Any],
    profiles: Collection[OperatorProfile],
    groups: Mapping[str, list[str]],
) -> list[Row]:
    """Return operators in the given order; offline until the operator sets their presence."""
    rows = await _rows(conn, OPERATORS, [profile.id for profile in profiles])
    by_id = {row["id"]: row for row in rows}
    return [_operator(profile, by_id.get(profile.id, {}), groups) for profile in profiles]


def _operator(profile: OperatorProfile, row: Row, groups: Mapping[str, list[str]]) -> Row:
    loads: dict[str, int] = row.get("channels", {})
    return {
        "id": profile.id,
        "name": profile.name,
        "status": row.get("status", "offline"),
        "status_since": row.get("status_since"),
        "lease_until": row.get("lease_until"),
        "load": row.get("load", 0),
        "limit": profile.limit,
        "channels": {
            channel: {"load": loads.get(channel, 0), "limit": profile.channels.get(channel)}
            for channel in sorted({*loads, *profile.channels})
        },
        "quota": profile.quota,
        "groups": groups.get(profile.id, []),
        "skills": dict(profile.skills),
        "languages": list(profile.languages),
        "last_assigned_at": row.get("last_assigned_at"),
        "last_closed_at": row.get("last_closed_at"),
    }


async def queue(
    conn: AsyncConnection[Any],
    groups: Collection[str],
    after: QueuePosition,
    limit: int,
    now: datetime,
) -> list[Row]:
    """Return the requests waiting in these groups, in the order of the queue."""
    items = await _rows(conn, QUEUE_PAGE, list(groups), *after, limit)
    return await _with_expected_wait(conn, items, now)


async def queued_request(conn: AsyncConnection[Any], request_id: UUID, now: datetime) -> Row | None:
    """Return one waiting request, or None."""
    items = await _rows(conn, QUEUED_REQUEST, request_id)
    return (await _with_expected_wait(conn, items, now))[0] if items else None


async def _with_expected_wait(
    conn: AsyncConnection[Any], items: list[Row], now: datetime
) -> list[Row]:
    """Add the expected wait in seconds, from the group's recent pace; None without assignments."""
    groups = list({item["group"] for item in items})
    cursor = await conn.execute(ASSIGNED_BY_GROUP, (groups, now - PACE_WINDOW), prepare=True)
    assigned = dict(await cursor.fetchall())
    for item in items:
        n = assigned.get(item["group"])
        item["expected_wait"] = (
            round(item["position"] * PACE_WINDOW.total_seconds() / n) if n else None
        )
    return items


async def owner(conn: AsyncConnection[Any], request_id: UUID) -> Row | None:
    """Return the group and the operator of a request that waits or is assigned, else None."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(OWNER, {"id": request_id}, prepare=True)
        return await cursor.fetchone()


async def decisions(
    conn: AsyncConnection[Any], request_id: UUID, limit: int, after: int
) -> list[Row]:
    """Return the decisions about a request, oldest first, leaving out the first `after`."""
    return await _rows(conn, DECISIONS, request_id, limit, after)


async def figures(conn: AsyncConnection[Any], since: datetime) -> Row:
    """Return the number of decisions and anomalies since then, and the average time of one."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(FIGURES, {"since": since}, prepare=True)
        return await cursor.fetchone() or {}


async def anomalies(
    conn: AsyncConnection[Any], since: datetime, before: int, limit: int
) -> list[Row]:
    """Return the anomalies since then with an id below `before`, newest first."""
    return await _rows(conn, ANOMALIES, since, before, limit)
