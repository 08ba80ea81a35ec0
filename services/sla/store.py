"""Requests and their clocks in PostgreSQL, loaded and saved a batch at a time.

Loading locks the requests in the order of their ids. So a reader and the timer of a replica that
was frozen and resumed never overwrite each other's changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from chassis.messaging.transaction import Tx
from chassis.postgres.columns import columns
from sla.domain.clocks import Clock, Measure, Request
from trunkline_contracts.fact import slot_of

SELECT_REQUESTS = """
    SELECT request_id, policy, workspace, sequence, answered, paused, assignee, team,
        trace
    FROM requests WHERE request_id = ANY(%b::uuid[]) ORDER BY request_id FOR UPDATE"""

SELECT_REQUEST = """
    SELECT request_id, policy, workspace, sequence, answered, paused, assignee, team,
        trace
    FROM requests WHERE request_id = %s"""

SELECT_CLOCKS = """
    SELECT request_id, clock, target, started_at, since, due_at, spent, stopped_at,
        breached, cancelled, warned, wake_at
    FROM clocks WHERE request_id = ANY(%b::uuid[]) ORDER BY started_at, clock"""

SELECT_DUE = """
    SELECT request_id FROM clocks WHERE wake_at <= %s AND slot = ANY(%b::smallint[])
    ORDER BY wake_at LIMIT %s"""

SAVE_REQUESTS = """
    INSERT INTO requests
    (request_id, slot, policy, workspace, sequence, answered, paused, assignee, team, trace)
    SELECT * FROM unnest(%b::uuid[], %b::smallint[], %b::text[], %b::bigint[], %b::bigint[],
        %b::bool[], %b::bool[], %b::text[], %b::text[], %b::text[])
    ON CONFLICT (request_id) DO UPDATE SET sequence = EXCLUDED.sequence,
        answered = EXCLUDED.answered, paused = EXCLUDED.paused, assignee = EXCLUDED.assignee,
        team = EXCLUDED.team"""

SAVE_CLOCKS = """
    INSERT INTO clocks
    (request_id, slot, policy, clock, target, started_at, since, due_at, spent,
        stopped_at, breached, cancelled, warned, wake_at)
    SELECT * FROM unnest(%b::uuid[], %b::smallint[], %b::text[], %b::text[], %b::float8[],
        %b::timestamptz[], %b::timestamptz[], %b::timestamptz[], %b::float8[], %b::timestamptz[],
        %b::bool[], %b::bool[], %b::smallint[], %b::timestamptz[])
    ON CONFLICT (request_id, clock) DO UPDATE SET target = EXCLUDED.target,
        started_at = EXCLUDED.started_at, since = EXCLUDED.since, due_at = EXCLUDED.due_at,
        spent = EXCLUDED.spent, stopped_at = EXCLUDED.stopped_at, breached = EXCLUDED.breached,
        cancelled = EXCLUDED.cancelled, warned = EXCLUDED.warned, wake_at = EXCLUDED.wake_at"""

SELECT_OVERDUE = """
    SELECT c.request_id, c.clock, c.target, c.started_at, c.since, c.due_at, c.spent,
        c.stopped_at, c.breached, c.cancelled, c.warned, c.wake_at, c.policy, r.workspace
    FROM clocks c JOIN requests r USING (request_id)
    WHERE c.breached AND c.stopped_at IS NULL AND (c.due_at, c.request_id, c.clock) > (%s, %s, %s)
        AND (%s OR r.assignee = %s OR r.team = ANY(%b::text[]))
    ORDER BY c.due_at, c.request_id, c.clock LIMIT %s"""


class ReadScope(NamedTuple):
    """The requests a caller may read: all, or their own and their groups'."""

    everything: bool
    subject: str
    groups: list[str]


class OverdueClock(NamedTuple):
    """A breached clock that still runs."""

    request_id: UUID
    clock: Clock
    policy: str
    workspace: int


_values = attrgetter(*(field.name for field in fields(Clock)))
"""Returns the values of a clock in the order of its fields; `astuple` would copy each."""

OverduePosition = tuple[datetime, UUID, str]
"""The position of an overdue clock in the list: deadline, request and measure."""


def clock_of(row: Sequence[Any]) -> Clock:
    """Return the clock of a row, whose columns have the order of the clock's fields."""
    return Clock(Measure(row[0]), *row[1:11])


class LoadedBatch(NamedTuple):
    """The requests of a batch, and the values of their clocks when loaded."""

    requests: dict[UUID, Request]
    before: dict[tuple[UUID, Measure], tuple[Any, ...]]


async def load(tx: Tx, ids: Iterable[UUID]) -> LoadedBatch:
    """Load and lock the requests of these ids, with their clocks."""
    request_ids = sorted(set(ids))
    requests: dict[UUID, Request] = {}
    async for row in await tx.run(SELECT_REQUESTS, request_ids):
        requests[row[0]] = Request(*row)
    before: dict[tuple[UUID, Measure], tuple[Any, ...]] = {}
    if requests:
        async for row in await tx.run(SELECT_CLOCKS, list(requests)):
            clock = clock_of(row[1:])
            requests[row[0]].clocks[clock.measure] = clock
            before[row[0], clock.measure] = _values(clock)
    return LoadedBatch(requests, before)


async def save(tx: Tx, batch: LoadedBatch) -> None:
    """Save the requests of a batch, and those of their clocks that changed."""
    if not batch.requests:
        return
    requests = [batch.requests[key] for key in sorted(batch.requests)]
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
    await tx.run(SAVE_REQUESTS, *columns(rows))
    rows = [
        (r.id, slot_of(str(r.id)), r.policy, measure.value, *values[1:])
        for r in requests
        for measure, clock in r.clocks.items()
        if (values := _values(clock)) != batch.before.get((r.id, measure))
    ]
    if rows:
        await tx.run(SAVE_CLOCKS, *columns(rows))


async def find_due(tx: Tx, certain: datetime, limit: int) -> list[UUID]:
    """Return the requests with a clock due until `certain`, longest due first."""
    slots = list(range(16)) if tx.slots is None else list(tx.slots)
    cursor = await tx.run(SELECT_DUE, certain, slots, limit)
    return [row[0] for row in await cursor.fetchall()]


async def find_request(tx: Tx, request_id: UUID) -> Request | None:
    """Return a request and its clocks without locking it, or None."""
    row = await (await tx.run(SELECT_REQUEST, request_id)).fetchone()
    if row is None:
        return None
    request = Request(*row)
    async for clock in await tx.run(SELECT_CLOCKS, [request_id]):
        request.clocks[Measure(clock[1])] = clock_of(clock[1:])
    return request


async def list_overdue(
    tx: Tx, after: OverduePosition, scope: ReadScope, limit: int
) -> list[OverdueClock]:
    """Return breached clocks that still run, longest overdue first, after a position."""
    cursor = await tx.run(
        SELECT_OVERDUE, *after, scope.everything, scope.subject, scope.groups, limit
    )
    return [
        OverdueClock(row[0], clock_of(row[1:12]), row[12], row[13])
        for row in await cursor.fetchall()
    ]
