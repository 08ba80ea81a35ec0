"""What people see: operators, the queue, decisions, the audit. Read only; nothing here decides.

Long, as it lists what is shown.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from routing.domain.matching import Person

Row = dict[str, Any]
Place = tuple[int, datetime, UUID]

RECENTLY = timedelta(minutes=30)
"""The span from which the expected wait is reckoned."""

OPERATORS: LiteralString = """
SELECT id, status, status_since, lease_until, load, last_assigned_at, last_closed_at,
       (SELECT coalesce(jsonb_object_agg(channel, n), '{}') FROM (
           SELECT channel, sum(units) AS n FROM capacity WHERE operator = o.id GROUP BY channel
       ) c) AS channels
FROM operators o WHERE id = ANY(%s)
"""
QUEUE: LiteralString = """
SELECT * FROM (
    SELECT request_id, request_group AS "group", topic, channel, weight, created_at, queued_at,
        avoid, epoch, row_number() OVER (
            PARTITION BY request_group ORDER BY weight DESC, created_at, request_id
        ) AS position
    FROM queue WHERE request_group = ANY(%s)
) q WHERE (-weight, created_at, request_id) > (%s, %s, %s)
ORDER BY weight DESC, created_at, request_id LIMIT %s
"""
WAITING: LiteralString = """
SELECT request_id, request_group AS "group", topic, channel, weight, created_at, queued_at,
    avoid, epoch, (SELECT count(*) FROM queue b WHERE b.request_group = q.request_group
        AND (-b.weight, b.created_at, b.request_id) <= (-q.weight, q.created_at, q.request_id)
    ) AS position
FROM queue q WHERE request_id = %s
"""
PACE: LiteralString = """
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
    conn: AsyncConnection[Any], people: Collection[Person], groups: Mapping[str, list[str]]
) -> list[Row]:
    """Show operators, in the order given; one who never said anything is offline."""
    found = {row["id"]: row for row in await _rows(conn, OPERATORS, [p.id for p in people])}
    return [_operator(person, found.get(person.id, {}), groups) for person in people]


def _operator(person: Person, row: Row, groups: Mapping[str, list[str]]) -> Row:
    held: dict[str, int] = row.get("channels", {})
    return {
        "id": person.id,
        "name": person.name,
        "status": row.get("status", "offline"),
        "status_since": row.get("status_since"),
        "lease_until": row.get("lease_until"),
        "load": row.get("load", 0),
        "limit": person.limit,
        "channels": {
            channel: {"load": held.get(channel, 0), "limit": person.channels.get(channel)}
            for channel in sorted({*held, *person.channels})
        },
        "quota": person.quota,
        "groups": groups.get(person.id, []),
        "skills": dict(person.skills),
        "languages": list(person.languages),
        "last_assigned_at": row.get("last_assigned_at"),
        "last_closed_at": row.get("last_closed_at"),
    }


async def queue(
    conn: AsyncConnection[Any], groups: Collection[str], after: Place, limit: int, now: datetime
) -> list[Row]:
    """Show who waits in these groups, in the order they will be served."""
    items = await _rows(conn, QUEUE, list(groups), *after, limit)
    return await _expected(conn, items, now)


async def waiting(conn: AsyncConnection[Any], request_id: UUID, now: datetime) -> Row | None:
    """Show one that waits."""
    items = await _rows(conn, WAITING, request_id)
    return (await _expected(conn, items, now))[0] if items else None


async def _expected(conn: AsyncConnection[Any], items: list[Row], now: datetime) -> list[Row]:
    """Add how long it may take at the pace of the last while; nobody knows without one."""
    groups = list({item["group"] for item in items})
    cursor = await conn.execute(PACE, (groups, now - RECENTLY), prepare=True)
    pace = dict(await cursor.fetchall())
    for item in items:
        n = pace.get(item["group"])
        item["expected_wait"] = (
            round(item["position"] * RECENTLY.total_seconds() / n) if n else None
        )
    return items


async def owner(conn: AsyncConnection[Any], request_id: UUID) -> Row | None:
    """Tell which group a request is in, and who has it."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(OWNER, {"id": request_id}, prepare=True)
        return await cursor.fetchone()


async def decisions(
    conn: AsyncConnection[Any], request_id: UUID, limit: int, after: int
) -> list[Row]:
    """Show how a request came to whom, in order."""
    return await _rows(conn, DECISIONS, request_id, limit, after)


async def figures(conn: AsyncConnection[Any], since: datetime) -> Row:
    """Count what was decided since."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(FIGURES, {"since": since}, prepare=True)
        return await cursor.fetchone() or {}


async def anomalies(
    conn: AsyncConnection[Any], since: datetime, before: int, limit: int
) -> list[Row]:
    """List what the detector found, newest first."""
    return await _rows(conn, ANOMALIES, since, before, limit)
