"""What sla remembers: requests and their clocks, loaded and saved a batch at a time.

Loading locks the requests in the order of their ids, so a reader and a timer of a replica that was
frozen and came back never write over each other. Long: it holds every statement, and the rows they
make.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from chassis.messaging.transaction import Tx
from sla.domain.clocks import Clock, Measure, Request
from trunkline_contracts.fact import slot_of

REQUESTS = """SELECT request_id, policy, workspace, sequence, answered, paused, assignee, team,
        trace
    FROM requests WHERE request_id = ANY(%b::uuid[]) ORDER BY request_id FOR UPDATE"""

REQUEST = """SELECT request_id, policy, workspace, sequence, answered, paused, assignee, team,
        trace
    FROM requests WHERE request_id = %s"""

CLOCKS = """SELECT request_id, clock, target, started_at, since, due_at, spent, stopped_at,
        breached, cancelled, warned, wake_at
    FROM clocks WHERE request_id = ANY(%b::uuid[]) ORDER BY started_at, clock"""

WAKING = """SELECT request_id FROM clocks WHERE wake_at <= %s AND slot = ANY(%b::smallint[])
    ORDER BY wake_at LIMIT %s"""

SAVE_REQUESTS = """INSERT INTO requests
    (request_id, slot, policy, workspace, sequence, answered, paused, assignee, team, trace)
    SELECT * FROM unnest(%b::uuid[], %b::smallint[], %b::text[], %b::bigint[], %b::bigint[],
        %b::bool[], %b::bool[], %b::text[], %b::text[], %b::text[])
    ON CONFLICT (request_id) DO UPDATE SET sequence = EXCLUDED.sequence,
        answered = EXCLUDED.answered, paused = EXCLUDED.paused, assignee = EXCLUDED.assignee,
        team = EXCLUDED.team"""

SAVE_CLOCKS = """INSERT INTO clocks
    (request_id, slot, policy, clock, target, started_at, since, due_at, spent,
        stopped_at, breached, cancelled, warned, wake_at)
    SELECT * FROM unnest(%b::uuid[], %b::smallint[], %b::text[], %b::text[], %b::float8[],
        %b::timestamptz[], %b::timestamptz[], %b::timestamptz[], %b::float8[], %b::timestamptz[],
        %b::bool[], %b::bool[], %b::smallint[], %b::timestamptz[])
    ON CONFLICT (request_id, clock) DO UPDATE SET target = EXCLUDED.target,
        started_at = EXCLUDED.started_at, since = EXCLUDED.since, due_at = EXCLUDED.due_at,
        spent = EXCLUDED.spent, stopped_at = EXCLUDED.stopped_at, breached = EXCLUDED.breached,
        cancelled = EXCLUDED.cancelled, warned = EXCLUDED.warned, wake_at = EXCLUDED.wake_at"""

OVERDUE = """SELECT c.request_id, c.clock, c.target, c.started_at, c.since, c.due_at, c.spent,
        c.stopped_at, c.breached, c.cancelled, c.warned, c.wake_at, c.policy, r.workspace
    FROM clocks c JOIN requests r USING (request_id)
    WHERE c.breached AND c.stopped_at IS NULL AND (c.due_at, c.request_id, c.clock) > (%s, %s, %s)
        AND (%s OR r.assignee = %s OR r.team = ANY(%b::text[]))
    ORDER BY c.due_at, c.request_id, c.clock LIMIT %s"""


class Reading(NamedTuple):
    """What somebody may read: everything, or what is theirs and their groups'."""

    all: bool
    subject: str
    teams: list[str]


class Overdue(NamedTuple):
    """A broken promise still open."""

    request_id: UUID
    clock: Clock
    policy: str
    workspace: int


_values = attrgetter(*(field.name for field in fields(Clock)))
"""A clock's values, in the order of its fields; `astuple` would copy each."""

Place = tuple[datetime, UUID, str]
"""Where a page of the overdue ends."""


def clock_of(row: Sequence[Any]) -> Clock:
    """Read a clock from a row's columns, which stand in the order of its fields."""
    return Clock(Measure(row[0]), *row[1:11])


class Desk(NamedTuple):
    """The requests of a batch, and what their clocks were when loaded."""

    requests: dict[UUID, Request]
    before: dict[tuple[UUID, Measure], tuple[Any, ...]]


async def load(tx: Tx, ids: Iterable[UUID]) -> Desk:
    """Load and lock the requests of these ids, with their clocks."""
    wanted = sorted(set(ids))
    requests: dict[UUID, Request] = {}
    async for row in await tx.run(REQUESTS, wanted):
        requests[row[0]] = Request(*row)
    before: dict[tuple[UUID, Measure], tuple[Any, ...]] = {}
    if requests:
        async for row in await tx.run(CLOCKS, list(requests)):
            clock = clock_of(row[1:])
            requests[row[0]].clocks[clock.measure] = clock
            before[row[0], clock.measure] = _values(clock)
    return Desk(requests, before)


async def save(tx: Tx, desk: Desk) -> None:
    """Save the requests, and those of their clocks that changed."""
    if not desk.requests:
        return
    requests = [desk.requests[key] for key in sorted(desk.requests)]
    rows: list[tuple[Any, ...]] = [
        (
            r.id,
            slot_of(str(r.id)),
            r.policy,
            r.workspace,
            r.sequence,
            r.answered,
            r.paused,
            r.assignee,
            r.team,
            r.trace,
        )
        for r in requests
    ]
    await tx.run(SAVE_REQUESTS, *_columns(rows))
    rows = [
        (r.id, slot_of(str(r.id)), r.policy, measure.value, *values[1:])
        for r in requests
        for measure, clock in r.clocks.items()
        if (values := _values(clock)) != desk.before.get((r.id, measure))
    ]
    if rows:
        await tx.run(SAVE_CLOCKS, *_columns(rows))


async def waking(tx: Tx, certain: datetime, limit: int) -> list[UUID]:
    """Find the requests whose clocks have something to say by now, the longest due first."""
    slots = list(range(16)) if tx.slots is None else list(tx.slots)
    cursor = await tx.run(WAKING, certain, slots, limit)
    return [row[0] for row in await cursor.fetchall()]


async def one(tx: Tx, request_id: UUID) -> Request | None:
    """Read one request and its clocks, without locking it."""
    row = await (await tx.run(REQUEST, request_id)).fetchone()
    if row is None:
        return None
    request = Request(*row)
    async for clock in await tx.run(CLOCKS, [request_id]):
        request.clocks[Measure(clock[1])] = clock_of(clock[1:])
    return request


async def overdue(tx: Tx, after: Place, reader: Reading, limit: int) -> list[Overdue]:
    """List broken promises still open, the longest broken first."""
    cursor = await tx.run(OVERDUE, *after, reader.all, reader.subject, reader.teams, limit)
    return [
        Overdue(row[0], clock_of(row[1:12]), row[12], row[13]) for row in await cursor.fetchall()
    ]


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
