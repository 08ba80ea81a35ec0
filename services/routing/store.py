"""The SQL of the deciding transaction. It reads and writes in sets, under the service's lock."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import orjson

from chassis.messaging.transaction import Tx
from routing.domain.decisions import Decision
from routing.domain.model import (
    NEVER,
    CandidateKey,
    Operator,
    OperatorProfile,
    Request,
    Status,
)
from routing.domain.queue_changes import ENDED, Assignment, QueueChanges, RequestState

STATUSES = {status.value: status for status in Status}
DecisionRow = tuple[Decision, str, str | None]
"""A decision, its mode, and the person who claimed."""

SELECT_WORKSPACE: LiteralString = "SELECT workspace FROM deciding_by"
UPDATE_WORKSPACE: LiteralString = "UPDATE deciding_by SET workspace = %s"
UPSERT_LIMITS: LiteralString = """
INSERT INTO operators AS o (id, limit_now)
SELECT * FROM unnest(%b::text[], %b::int[])
ON CONFLICT (id) DO UPDATE SET limit_now = EXCLUDED.limit_now, load_at_change = o.load
WHERE o.limit_now <> EXCLUDED.limit_now
"""
SELECT_STATES: LiteralString = """
SELECT 'waiting', request_id, request_group, topic, channel, weight, created_at, epoch,
       avoid, trace, NULL::text, NULL::timestamptz, NULL::text
FROM queue WHERE request_id = ANY(%(ids)b)
UNION ALL
SELECT 'assigned', request_id, request_group, topic, channel, weight, created_at, epoch, '', trace,
       operator, since, mode
FROM capacity WHERE request_id = ANY(%(ids)b)
UNION ALL
SELECT 'ended', request_id, '', '', '', 0, at, 0, '', NULL, NULL, NULL, NULL
FROM tombstones WHERE request_id = ANY(%(ids)b)
"""
SELECT_OPERATORS: LiteralString = (
    "SELECT id, status, load, last_assigned_at, last_closed_at FROM operators WHERE id = ANY(%b)"
)
SELECT_CHANNEL_LOADS: LiteralString = (
    "SELECT operator, channel, sum(units)::int FROM capacity WHERE operator = ANY(%b)"
    " GROUP BY operator, channel"
)
COUNT_WAITING: LiteralString = (
    "SELECT request_group, topic, channel, avoid, weight, count(*)::int FROM queue"
    " WHERE request_group = ANY(%b) GROUP BY request_group, topic, channel, avoid, weight"
)
SELECT_HEAD: LiteralString = """
SELECT q.request_id, q.request_group, q.topic, q.channel, q.weight, q.created_at, q.epoch,
       q.avoid, q.trace
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::int[])
    AS l (g, topic, channel, avoid, capacity)
CROSS JOIN LATERAL (
    SELECT * FROM queue
    WHERE request_group = l.g AND queue.topic = l.topic AND queue.channel = l.channel
        AND queue.avoid = l.avoid
    ORDER BY weight DESC, created_at, request_id LIMIT l.capacity
) q
"""
UPSERT_QUEUE: LiteralString = """
INSERT INTO queue (request_id, request_group, topic, channel, weight, created_at, epoch, avoid,
                   trace, queued_at)
SELECT *, %s FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::int[],
                         %b::timestamptz[], %b::int[], %b::text[], %b::text[])
ON CONFLICT (request_id) DO UPDATE SET request_group = EXCLUDED.request_group,
    topic = EXCLUDED.topic, weight = EXCLUDED.weight, epoch = EXCLUDED.epoch, avoid = EXCLUDED.avoid
"""
DELETE_QUEUE: LiteralString = "DELETE FROM queue WHERE request_id = ANY(%b)"
UPSERT_CAPACITY: LiteralString = """
INSERT INTO capacity (request_id, request_group, topic, channel, weight, created_at, epoch, trace,
                      operator, mode, since)
SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::int[], %b::timestamptz[],
                     %b::int[], %b::text[], %b::text[], %b::text[], %b::timestamptz[])
ON CONFLICT (request_id) DO UPDATE SET request_group = EXCLUDED.request_group,
    topic = EXCLUDED.topic, weight = EXCLUDED.weight, epoch = EXCLUDED.epoch,
    operator = EXCLUDED.operator, mode = EXCLUDED.mode, since = EXCLUDED.since
"""
DELETE_CAPACITY: LiteralString = "DELETE FROM capacity WHERE request_id = ANY(%b)"
INSERT_TOMBSTONES: LiteralString = (
    "INSERT INTO tombstones (request_id, at) SELECT id, %s FROM unnest(%b::uuid[]) id"
    " ON CONFLICT DO NOTHING"
)
UPDATE_LOADS: LiteralString = """
UPDATE operators o SET load = o.load + v.change,
    last_assigned_at = greatest(o.last_assigned_at, v.assigned_at),
    last_closed_at = greatest(o.last_closed_at, v.closed_at)
FROM unnest(%b::text[], %b::int[], %b::timestamptz[], %b::timestamptz[])
    AS v (id, change, assigned_at, closed_at)
WHERE o.id = v.id
"""
INSERT_DECISIONS: LiteralString = """
INSERT INTO decisions (request_id, epoch, waits, id, at, request_group, operator, mode, by, method,
                       workspace, considered, able, excluded, took_us)
SELECT v.request_id, v.epoch, v.waits, v.id, %s, v.request_group, v.operator, v.mode, v.by,
       v.method, %s, v.considered::jsonb, v.able, v.excluded::jsonb, %s
FROM unnest(%b::uuid[], %b::int[], %b::bool[], %b::uuid[], %b::text[], %b::text[], %b::text[],
            %b::text[], %b::text[], %b::text[], %b::int[], %b::text[])
    AS v (request_id, epoch, waits, id, request_group, operator, mode, by, method, considered, able,
          excluded)
ON CONFLICT (request_id, epoch, waits) DO UPDATE SET id = EXCLUDED.id, at = EXCLUDED.at,
    request_group = EXCLUDED.request_group, workspace = EXCLUDED.workspace, able = EXCLUDED.able,
    considered = EXCLUDED.considered, excluded = EXCLUDED.excluded, took_us = EXCLUDED.took_us
"""
SELECT_STATUS: LiteralString = "SELECT status FROM operators WHERE id = %s"
UPDATE_PRESENCE: LiteralString = """
UPDATE operators SET status_since = CASE WHEN status = %s THEN status_since ELSE %s END,
    status = %s, lease_until = %s
WHERE id = %s
"""
SELECT_EXPIRED_LEASES: LiteralString = (
    "SELECT id FROM operators WHERE lease_until <= %s AND status <> 'offline' ORDER BY id"
)
SELECT_REGROUPED: LiteralString = """
SELECT q.request_id, q.topic FROM queue q
WHERE q.request_group = ANY(%b::text[])
   OR (q.topic, q.request_group) IN (SELECT * FROM unnest(%b::text[], %b::text[]))
"""
CLEAR_HANDBACK: LiteralString = "UPDATE queue SET avoid = '' WHERE avoid = %s"
SELECT_ASSIGNED_TO: LiteralString = (
    "SELECT request_id FROM capacity WHERE operator = %s ORDER BY request_id"
)
SELECT_LOAD_MISMATCHES: LiteralString = """
SELECT o.id, o.load, coalesce(sum(c.units), 0)::int
FROM operators o LEFT JOIN capacity c ON c.operator = o.id
GROUP BY o.id, o.load HAVING o.load <> coalesce(sum(c.units), 0)
"""
SELECT_DOUBLE_PLACED: LiteralString = """
SELECT request_id FROM queue JOIN capacity USING (request_id)
UNION ALL SELECT request_id FROM queue JOIN tombstones USING (request_id)
UNION ALL SELECT request_id FROM capacity JOIN tombstones USING (request_id)
"""
INSERT_ANOMALY: LiteralString = (
    "INSERT INTO anomalies (at, kind, request_id, operator, detail) VALUES (%s, %s, %s, %s, %s)"
)


async def applied_workspace(tx: Tx) -> int:
    """Return the workspace version that the last decision followed, or 0."""
    row = await (await tx.run(SELECT_WORKSPACE)).fetchone()
    return int(row[0]) if row else 0


async def apply_workspace(tx: Tx, version: int, profiles: Collection[OperatorProfile]) -> None:
    """Save a version and its operators' limits; a lowered limit leaves the load as it is."""
    await tx.run(UPSERT_LIMITS, [p.id for p in profiles], [p.limit for p in profiles])
    await tx.run(UPDATE_WORKSPACE, version)


async def load_states(tx: Tx, ids: Iterable[UUID]) -> dict[UUID, RequestState]:
    """Return the states of requests; an unknown request has none."""
    request_ids = list(set(ids))
    if not request_ids:
        return {}
    cursor = await tx.conn.execute(SELECT_STATES, {"ids": request_ids}, prepare=True)
    return {row[1]: _state(row) for row in await cursor.fetchall()}


def _state(row: tuple[Any, ...]) -> RequestState:
    if row[0] == "ended":
        return ENDED
    request = _request(row[1:10])
    return request if row[0] == "waiting" else Assignment(request, row[10], row[11], row[12])


def _request(row: Sequence[Any]) -> Request:
    id_, group, topic, channel, weight, created_at, epoch, avoid, trace = row
    return Request(id_, group, topic, channel, weight, created_at, epoch, avoid or None, trace)


async def load_operators(
    tx: Tx, profiles: Mapping[str, OperatorProfile], ids: Collection[str]
) -> dict[str, Operator]:
    """Return operators with presence and load; those without a profile are left out.

    Loads per channel are read only where the profile limits channels.
    """
    if not ids:
        return {}
    names = list(ids)
    operators: dict[str, Operator] = {}
    for id_, status, load, assigned, closed in await (
        await tx.run(SELECT_OPERATORS, names)
    ).fetchall():
        if (profile := profiles.get(id_)) is not None:
            operators[id_] = Operator(
                profile, STATUSES[status], load, {}, assigned or NEVER, closed or NEVER
            )
    limited = [id_ for id_, op in operators.items() if op.profile.channels and op.load]
    if limited:
        for id_, channel, load in await (await tx.run(SELECT_CHANNEL_LOADS, limited)).fetchall():
            operators[id_].channel_load[channel] = load
    return operators


async def count_waiting(tx: Tx, groups: Collection[str]) -> dict[CandidateKey, dict[int, int]]:
    """Count the waiting requests of these groups by candidate key and weight."""
    counts: dict[CandidateKey, dict[int, int]] = {}
    for group, topic, channel, avoid, weight, n in await (
        await tx.run(COUNT_WAITING, list(groups))
    ).fetchall():
        counts.setdefault((group, topic, channel, avoid or None), {})[weight] = n
    return counts


async def head_of_queue(tx: Tx, limits: Mapping[CandidateKey, int]) -> list[Request]:
    """Return the first requests of each candidate key, up to its limit."""
    if not limits:
        return []
    columns = [list(column) for column in zip(*limits, strict=True)]
    columns[3] = [avoid or "" for avoid in columns[3]]
    rows = await (await tx.run(SELECT_HEAD, *columns, list(limits.values()))).fetchall()
    return [_request(row) for row in rows]


async def save(tx: Tx, changes: QueueChanges, at: datetime, workspace: int, took_us: int) -> None:
    """Write the differences between the loaded and the changed states, and the decisions."""
    async with tx.conn.pipeline():
        await _save_states(tx, changes, at)
        if changes.released or changes.assigned:
            await tx.run(UPDATE_LOADS, *_load_changes(changes, at))
        decisions: list[DecisionRow] = [(d, "wait", None) for d in changes.waits]
        decisions += [(a.decision, a.mode, a.by) for a in changes.assigned]
        if decisions:
            columns = _decision_columns(decisions)
            await tx.run(INSERT_DECISIONS, at, workspace, took_us, *columns)


async def _save_states(tx: Tx, changes: QueueChanges, at: datetime) -> None:
    changed = {id_: new for id_, new in changes.after.items() if changes.before.get(id_) != new}
    was = {id_: changes.before.get(id_) for id_ in changed}
    unqueued = [
        i for i, new in changed.items() if type(was[i]) is Request and type(new) is not Request
    ]
    released = [
        i for i, new in changed.items()
        if type(was[i]) is Assignment and type(new) is not Assignment
    ]  # fmt: skip
    waiting = [new for new in changed.values() if isinstance(new, Request)]
    assigned = [new for new in changed.values() if isinstance(new, Assignment)]
    ended = [id_ for id_, new in changed.items() if new is ENDED]
    if unqueued:
        await tx.run(DELETE_QUEUE, unqueued)
    if released:
        await tx.run(DELETE_CAPACITY, released)
    if waiting:
        await tx.run(UPSERT_QUEUE, at, *_request_columns(waiting))
    if assigned:
        requests = _request_columns([a.request for a in assigned])
        del requests[7]  # `avoid`: an assigned request has none
        await tx.run(
            UPSERT_CAPACITY, *requests, [a.operator for a in assigned], [a.mode for a in assigned],
            [a.since for a in assigned],
        )  # fmt: skip
    if ended:
        await tx.run(INSERT_TOMBSTONES, at, ended)


def _request_columns(requests: Sequence[Request]) -> list[list[Any]]:
    rows = [
        (r.id, r.group, r.topic, r.channel, r.weight, r.created_at, r.epoch, r.avoid or "", r.trace)
        for r in requests
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _load_changes(changes: QueueChanges, at: datetime) -> list[list[Any]]:
    rows: dict[str, list[Any]] = {}
    for released in changes.released:
        row = rows.setdefault(released.assignment.operator, [0, None, None])
        row[0] -= 1
        row[2] = max(filter(None, (row[2], released.closed_at)), default=None)
    for n, assigned in enumerate(changes.assigned, 1):
        row = rows.setdefault(assigned.operator, [0, None, None])
        row[0] += 1
        row[1] = at + timedelta(microseconds=n)  # keeps the order of assignments of one instant
    names = sorted(rows)
    return [names, *([rows[name][n] for name in names] for n in range(3))]


def _decision_columns(decisions: Sequence[DecisionRow]) -> list[list[Any]]:
    rows = [
        (
            d.request.id, d.epoch, d.operator is None, d.id, d.request.group, d.operator, mode, by,
            d.method, orjson.dumps(d.considered).decode(), d.able,
            orjson.dumps(d.excluded).decode(),
        )
        for d, mode, by in decisions
    ]  # fmt: skip
    return [list(column) for column in zip(*rows, strict=True)]


async def load_status(tx: Tx, operator: str) -> Status:
    """Return an operator's presence; offline until the operator sets it."""
    row = await (await tx.run(SELECT_STATUS, operator)).fetchone()
    return Status(row[0]) if row else Status.OFFLINE


async def save_presence(
    tx: Tx, operator: str, status: Status, at: datetime, lease_until: datetime | None
) -> None:
    """Save an operator's presence and its lease; None means no lease."""
    await tx.run(UPDATE_PRESENCE, status.value, at, status.value, lease_until, operator)


async def expired_leases(tx: Tx, at: datetime) -> list[str]:
    """Return the operators whose presence lease has expired, sorted."""
    return [id_ for (id_,) in await (await tx.run(SELECT_EXPIRED_LEASES, at)).fetchall()]


async def find_regrouped(
    tx: Tx, topics: Mapping[str, str], groups: Collection[str]
) -> list[tuple[UUID, str]]:
    """Return waiting requests, with topics, that must move to another group.

    They have one of `topics` and wait in its old group, which is the value; or they wait in one of
    the retired `groups`.
    """
    rows = await tx.run(SELECT_REGROUPED, list(groups), list(topics), list(topics.values()))
    return [(id_, topic) for id_, topic in await rows.fetchall()]


async def clear_handback(tx: Tx, operator: str) -> None:
    """Clear the operator's hand-backs, so they are eligible again."""
    await tx.run(CLEAR_HANDBACK, operator)


async def assigned_to(tx: Tx, operator: str) -> list[UUID]:
    """Return the requests assigned to an operator, sorted."""
    return [id_ for (id_,) in await (await tx.run(SELECT_ASSIGNED_TO, operator)).fetchall()]


async def load_mismatches(tx: Tx) -> list[tuple[str, int, int]]:
    """Return operators whose load differs from the sum of their requests, with both figures."""
    rows = await (await tx.run(SELECT_LOAD_MISMATCHES)).fetchall()
    return [(operator, load, held) for operator, load, held in rows]


async def double_placed(tx: Tx) -> list[UUID]:
    """Return requests that are in two of the tables queue, capacity and tombstones."""
    return [id_ for (id_,) in await (await tx.run(SELECT_DOUBLE_PLACED)).fetchall()]


async def record_anomaly(
    tx: Tx,
    at: datetime,
    kind: str,
    request_id: UUID | None,
    operator: str | None,
    detail: dict[str, Any],
) -> None:
    """Insert an anomaly that the audit found."""
    await tx.run(INSERT_ANOMALY, at, kind, request_id, operator, orjson.dumps(detail).decode())
