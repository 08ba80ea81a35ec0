"""The breaches of requests, as sla publishes and restates them, for the list of requests."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Final, LiteralString, cast
from uuid import UUID

from chassis.messaging.transaction import Tx
from trunkline_contracts import RequestFact, TargetBreached, TargetsRestated

INSERT_BREACHES: Final[LiteralString] = (
    "INSERT INTO breaches (request_id, clock, due_at)"
    " SELECT * FROM unnest(%b::uuid[], %b::text[], %b::timestamptz[]) ON CONFLICT DO NOTHING"
)
DELETE_BREACHES: Final[LiteralString] = (
    "DELETE FROM breaches b"
    " USING unnest(%b::uuid[], %b::text[], %b::timestamptz[]) AS r (request_id, clock, started_at)"
    " WHERE b.request_id = r.request_id AND b.clock = r.clock"
    " AND b.due_at >= coalesce(r.started_at, '-infinity')"
)
"""Keeps breaches of earlier clocks of the same name, which end before a later one starts."""

Row = tuple[UUID, str, datetime | None]


async def record(tx: Tx, facts: Sequence[RequestFact]) -> None:
    """Record breaches and delete disproved ones, in the order of the facts."""
    for kind, group in groupby(facts, type):
        if kind is TargetsRestated:
            await _restate(tx, cast(list[TargetsRestated], list(group)))
        else:
            breaches = cast(list[TargetBreached], list(group))
            rows = [(fact.request_id, fact.clock, fact.due_at) for fact in breaches]
            await _run(tx, INSERT_BREACHES, rows)


async def _restate(tx: Tx, facts: Sequence[TargetsRestated]) -> None:
    clocks = [(fact.request_id, clock) for fact in facts for clock in fact.targets]
    await _run(tx, DELETE_BREACHES, [(id_, clock.clock, clock.started_at) for id_, clock in clocks])
    breached = [(id_, clock) for id_, clock in clocks if clock.state == "breached" and clock.due_at]
    await _run(tx, INSERT_BREACHES, [(id_, clock.clock, clock.due_at) for id_, clock in breached])


async def _run(tx: Tx, sql: LiteralString, rows: Sequence[Row]) -> None:
    if rows:
        await tx.run(sql, *(list(column) for column in zip(*rows, strict=True)))
