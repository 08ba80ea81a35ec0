"""What routing remembers. Everything is read and written in sets, under the service's lock.

Longer than most rooms: it holds every statement of the deciding transaction, in their order.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import orjson

from chassis.messaging.transaction import Tx
from routing.domain.matching import NEVER, Decision, Line, Operator, Person, Request, Status
from routing.domain.queue_changes import GONE, Book, Held, State

STATUSES = {status.value: status for status in Status}
Explained = tuple[Decision, str, str | None]

DECIDING_BY: LiteralString = "SELECT workspace FROM deciding_by"
DECIDE_BY: LiteralString = "UPDATE deciding_by SET workspace = %s"
LIMITS: LiteralString = """
INSERT INTO operators AS o (id, limit_now)
SELECT * FROM unnest(%b::text[], %b::int[])
ON CONFLICT (id) DO UPDATE SET limit_now = EXCLUDED.limit_now, load_at_change = o.load
WHERE o.limit_now <> EXCLUDED.limit_now
"""
TOUCHED: LiteralString = """
SELECT 'waiting', request_id, request_group, topic, channel, weight, created_at, epoch,
       avoid, trace, NULL::text, NULL::timestamptz, NULL::text
FROM queue WHERE request_id = ANY(%(ids)b)
UNION ALL
SELECT 'held', request_id, request_group, topic, channel, weight, created_at, epoch, '', trace,
       operator, since, mode
FROM capacity WHERE request_id = ANY(%(ids)b)
UNION ALL
SELECT 'gone', request_id, '', '', '', 0, at, 0, '', NULL, NULL, NULL, NULL
FROM tombstones WHERE request_id = ANY(%(ids)b)
"""
OPERATORS: LiteralString = (
    "SELECT id, status, load, last_assigned_at, last_closed_at FROM operators WHERE id = ANY(%b)"
)
CHANNEL_LOADS: LiteralString = (
    "SELECT operator, channel, sum(units)::int FROM capacity WHERE operator = ANY(%b)"
    " GROUP BY operator, channel"
)
LINES: LiteralString = (
    "SELECT request_group, topic, channel, avoid, weight, count(*)::int FROM queue"
    " WHERE request_group = ANY(%b) GROUP BY request_group, topic, channel, avoid, weight"
)
FRONT: LiteralString = """
SELECT q.request_id, q.request_group, q.topic, q.channel, q.weight, q.created_at, q.epoch,
       q.avoid, q.trace
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::int[])
    AS l (g, topic, channel, avoid, room)
CROSS JOIN LATERAL (
    SELECT * FROM queue
    WHERE request_group = l.g AND queue.topic = l.topic AND queue.channel = l.channel
        AND queue.avoid = l.avoid
    ORDER BY weight DESC, created_at, request_id LIMIT l.room
) q
"""
QUEUE: LiteralString = """
INSERT INTO queue (request_id, request_group, topic, channel, weight, created_at, epoch, avoid,
                   trace, queued_at)
SELECT *, %s FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::int[],
                         %b::timestamptz[], %b::int[], %b::text[], %b::text[])
ON CONFLICT (request_id) DO UPDATE SET request_group = EXCLUDED.request_group,
    topic = EXCLUDED.topic, weight = EXCLUDED.weight, epoch = EXCLUDED.epoch, avoid = EXCLUDED.avoid
"""
UNQUEUE: LiteralString = "DELETE FROM queue WHERE request_id = ANY(%b)"
HOLD: LiteralString = """
INSERT INTO capacity (request_id, request_group, topic, channel, weight, created_at, epoch, trace,
                      operator, mode, since)
SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::int[], %b::timestamptz[],
                     %b::int[], %b::text[], %b::text[], %b::text[], %b::timestamptz[])
ON CONFLICT (request_id) DO UPDATE SET request_group = EXCLUDED.request_group,
    topic = EXCLUDED.topic, weight = EXCLUDED.weight, epoch = EXCLUDED.epoch,
    operator = EXCLUDED.operator, mode = EXCLUDED.mode, since = EXCLUDED.since
"""
LET_GO: LiteralString = "DELETE FROM capacity WHERE request_id = ANY(%b)"
BURY: LiteralString = (
    "INSERT INTO tombstones (request_id, at) SELECT id, %s FROM unnest(%b::uuid[]) id"
    " ON CONFLICT DO NOTHING"
)
LOADS: LiteralString = """
UPDATE operators o SET load = o.load + v.change,
    last_assigned_at = greatest(o.last_assigned_at, v.assigned_at),
    last_closed_at = greatest(o.last_closed_at, v.closed_at)
FROM unnest(%b::text[], %b::int[], %b::timestamptz[], %b::timestamptz[])
    AS v (id, change, assigned_at, closed_at)
WHERE o.id = v.id
"""
EXPLAIN: LiteralString = """
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
PRESENCE: LiteralString = "SELECT status, lease_until FROM operators WHERE id = %s"
APPEAR: LiteralString = """
UPDATE operators SET status_since = CASE WHEN status = %s THEN status_since ELSE %s END,
    status = %s, lease_until = %s
WHERE id = %s
"""
LAPSED: LiteralString = (
    "SELECT id, status FROM operators WHERE lease_until <= %s AND status <> 'offline' ORDER BY id"
)
MOVED: LiteralString = """
SELECT q.request_id, q.topic FROM queue q
WHERE q.request_group = ANY(%b::text[])
   OR (q.topic, q.request_group) IN (SELECT * FROM unnest(%b::text[], %b::text[]))
"""
FORGIVE: LiteralString = "UPDATE queue SET avoid = '' WHERE avoid = %s"
HELD_BY: LiteralString = "SELECT request_id FROM capacity WHERE operator = %s ORDER BY request_id"
STRAYED: LiteralString = """
SELECT o.id, o.load, coalesce(sum(c.units), 0)::int
FROM operators o LEFT JOIN capacity c ON c.operator = o.id
GROUP BY o.id, o.load HAVING o.load <> coalesce(sum(c.units), 0)
"""
TWICE: LiteralString = """
SELECT request_id FROM queue JOIN capacity USING (request_id)
UNION ALL SELECT request_id FROM queue JOIN tombstones USING (request_id)
UNION ALL SELECT request_id FROM capacity JOIN tombstones USING (request_id)
"""
ANOMALY: LiteralString = (
    "INSERT INTO anomalies (at, kind, request_id, operator, detail) VALUES (%s, %s, %s, %s, %s)"
)


async def deciding_by(tx: Tx) -> int:
    """Give the workspace version the last decision was taken by."""
    row = await (await tx.run(DECIDING_BY)).fetchone()
    return int(row[0]) if row else 0


async def decide_by(tx: Tx, version: int, people: Collection[Person]) -> None:
    """Take a version's limits over; a lowered one leaves the load as it is."""
    await tx.run(LIMITS, [p.id for p in people], [p.limit for p in people])
    await tx.run(DECIDE_BY, version)


async def touched(tx: Tx, ids: Iterable[UUID]) -> dict[UUID, State]:
    """Find requests wherever they are: waiting, held or gone."""
    wanted = list(set(ids))
    if not wanted:
        return {}
    cursor = await tx.conn.execute(TOUCHED, {"ids": wanted}, prepare=True)
    return {row[1]: _state(row) for row in await cursor.fetchall()}


def _state(row: tuple[Any, ...]) -> State:
    if row[0] == "gone":
        return GONE
    request = _request(row[1:10])
    return request if row[0] == "waiting" else Held(request, row[10], row[11], row[12])


def _request(row: Sequence[Any]) -> Request:
    id_, group, topic, channel, weight, created_at, epoch, avoid, trace = row
    return Request(id_, group, topic, channel, weight, created_at, epoch, avoid or None, trace)


async def operators(
    tx: Tx, people: Mapping[str, Person], ids: Collection[str]
) -> dict[str, Operator]:
    """Find operators as they are now. One the workspace does not have cannot be given anything."""
    if not ids:
        return {}
    names = list(ids)
    found: dict[str, Operator] = {}
    for id_, status, load, assigned, closed in await (await tx.run(OPERATORS, names)).fetchall():
        if (person := people.get(id_)) is not None:
            found[id_] = Operator(
                person, STATUSES[status], load, {}, assigned or NEVER, closed or NEVER
            )
    limited = [id_ for id_, op in found.items() if op.person.channels and op.load]
    if limited:
        for id_, channel, load in await (await tx.run(CHANNEL_LOADS, limited)).fetchall():
            found[id_].channel_load[channel] = load
    return found


async def lines(tx: Tx, groups: Collection[str]) -> dict[Line, dict[int, int]]:
    """Count who waits in each line of these groups, by weight."""
    found: dict[Line, dict[int, int]] = {}
    for group, topic, channel, avoid, weight, n in await (
        await tx.run(LINES, list(groups))
    ).fetchall():
        found.setdefault((group, topic, channel, avoid or None), {})[weight] = n
    return found


async def front(tx: Tx, room: Mapping[Line, int]) -> list[Request]:
    """Give as many from the front of each line as there is room for."""
    if not room:
        return []
    columns = [list(column) for column in zip(*room, strict=True)]
    columns[3] = [avoid or "" for avoid in columns[3]]
    rows = await (await tx.run(FRONT, *columns, list(room.values()))).fetchall()
    return [_request(row) for row in rows]


async def save(tx: Tx, book: Book, at: datetime, workspace: int, took_us: int) -> None:
    """Write the difference between how things were found and how they are left."""
    async with tx.conn.pipeline():
        await _save_places(tx, book, at)
        if book.released or book.taken:
            await tx.run(LOADS, *_loads(book, at))
        decisions: list[Explained] = [(d, "wait", None) for d in book.waits]
        decisions += [(taken.decision, taken.mode, taken.by) for taken in book.taken]
        if decisions:
            await tx.run(EXPLAIN, at, workspace, took_us, *_explained(decisions))


async def _save_places(tx: Tx, book: Book, at: datetime) -> None:
    changed = {id_: new for id_, new in book.now.items() if book.before.get(id_) != new}
    was = {id_: book.before.get(id_) for id_ in changed}
    unqueued = [
        i for i, new in changed.items() if type(was[i]) is Request and type(new) is not Request
    ]
    let_go = [i for i, new in changed.items() if type(was[i]) is Held and type(new) is not Held]
    waiting = [new for new in changed.values() if isinstance(new, Request)]
    held = [new for new in changed.values() if isinstance(new, Held)]
    gone = [id_ for id_, new in changed.items() if new is GONE]
    if unqueued:
        await tx.run(UNQUEUE, unqueued)
    if let_go:
        await tx.run(LET_GO, let_go)
    if waiting:
        await tx.run(QUEUE, at, *_columns(waiting))
    if held:
        requests = _columns([h.request for h in held])
        del requests[7]  # who handed it back is of no interest to who has it
        await tx.run(
            HOLD, *requests, [h.operator for h in held], [h.mode for h in held],
            [h.since for h in held],
        )  # fmt: skip
    if gone:
        await tx.run(BURY, at, gone)


def _columns(requests: Sequence[Request]) -> list[list[Any]]:
    rows = [
        (r.id, r.group, r.topic, r.channel, r.weight, r.created_at, r.epoch, r.avoid or "", r.trace)
        for r in requests
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _loads(book: Book, at: datetime) -> list[list[Any]]:
    changes: dict[str, list[Any]] = {}
    for release in book.released:
        row = changes.setdefault(release.held.operator, [0, None, None])
        row[0] -= 1
        row[2] = max(filter(None, (row[2], release.closed_at)), default=None)
    for n, taken in enumerate(book.taken, 1):
        row = changes.setdefault(taken.operator, [0, None, None])
        row[0] += 1
        row[1] = at + timedelta(microseconds=n)  # whose turn it was first is remembered
    names = sorted(changes)
    return [names, *([changes[name][n] for name in names] for n in range(3))]


def _explained(decisions: Sequence[Explained]) -> list[list[Any]]:
    rows = [
        (
            d.request.id, d.epoch, d.operator is None, d.id, d.request.group, d.operator, mode, by,
            d.method, orjson.dumps(d.considered).decode(), d.able,
            orjson.dumps(d.excluded).decode(),
        )
        for d, mode, by in decisions
    ]  # fmt: skip
    return [list(column) for column in zip(*rows, strict=True)]


async def presence(tx: Tx, operator: str) -> Status:
    """Tell what an operator said last; who never said anything is offline."""
    row = await (await tx.run(PRESENCE, operator)).fetchone()
    return Status(row[0]) if row else Status.OFFLINE


async def appear(
    tx: Tx, operator: str, status: Status, at: datetime, lease_until: datetime | None
) -> None:
    """Write down what an operator says of themselves."""
    await tx.run(APPEAR, status.value, at, status.value, lease_until, operator)


async def lapsed(tx: Tx, at: datetime) -> list[tuple[str, Status]]:
    """Find whose lease on being present has run out."""
    return [(id_, Status(s)) for id_, s in await (await tx.run(LAPSED, at)).fetchall()]


async def moved(
    tx: Tx, topics: Mapping[str, str], groups: Collection[str]
) -> list[tuple[UUID, str]]:
    """Find who waits for these topics where they were answered until now, or in these groups."""
    rows = await tx.run(MOVED, list(groups), list(topics), list(topics.values()))
    return [(id_, topic) for id_, topic in await rows.fetchall()]


async def forgive(tx: Tx, operator: str) -> None:
    """Let an operator be given again what they handed back."""
    await tx.run(FORGIVE, operator)


async def held_by(tx: Tx, operator: str) -> list[UUID]:
    """Find what an operator has."""
    return [id_ for (id_,) in await (await tx.run(HELD_BY, operator)).fetchall()]


async def strayed(tx: Tx) -> list[tuple[str, int, int]]:
    """Find operators whose load is not the sum of what they hold. There are none."""
    return [(o, load, held) for o, load, held in await (await tx.run(STRAYED)).fetchall()]


async def twice(tx: Tx) -> list[UUID]:
    """Find requests that are in two places at once. There are none."""
    return [id_ for (id_,) in await (await tx.run(TWICE)).fetchall()]


async def note_anomaly(
    tx: Tx,
    at: datetime,
    kind: str,
    request_id: UUID | None,
    operator: str | None,
    detail: dict[str, Any],
) -> None:
    """Write down what should not have been found."""
    await tx.run(ANOMALY, at, kind, request_id, operator, orjson.dumps(detail).decode())
