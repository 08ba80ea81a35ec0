"""Which promises are broken, as sla tells and corrects it, for whoever looks for them."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Final, LiteralString, cast
from uuid import UUID

from chassis.messaging.transaction import Tx
from trunkline_contracts import RequestFact, TargetBreached, TargetsRestated

BROKEN: Final[LiteralString] = (
    "INSERT INTO breaches (request_id, clock, due_at)"
    " SELECT * FROM unnest(%b::uuid[], %b::text[], %b::timestamptz[]) ON CONFLICT DO NOTHING"
)
DISPROVED: Final[LiteralString] = (
    "DELETE FROM breaches b"
    " USING unnest(%b::uuid[], %b::text[], %b::timestamptz[]) AS r (request_id, clock, started_at)"
    " WHERE b.request_id = r.request_id AND b.clock = r.clock"
    " AND b.due_at >= coalesce(r.started_at, '-infinity')"
)
"""What an earlier clock of the same name broke stays broken: a later one begins after its end."""

Row = tuple[UUID, str, datetime | None]


async def note(tx: Tx, facts: Sequence[RequestFact]) -> None:
    """Remember what was broken, and forget what was not after all, in the order it was told."""
    for kind, told in groupby(facts, type):
        if kind is TargetsRestated:
            await _restate(tx, cast(list[TargetsRestated], list(told)))
        else:
            broken = cast(list[TargetBreached], list(told))
            await _run(tx, BROKEN, [(each.request_id, each.clock, each.due_at) for each in broken])


async def _restate(tx: Tx, facts: Sequence[TargetsRestated]) -> None:
    clocks = [(fact.request_id, clock) for fact in facts for clock in fact.targets]
    await _run(tx, DISPROVED, [(id_, clock.clock, clock.started_at) for id_, clock in clocks])
    broken = [(id_, clock) for id_, clock in clocks if clock.state == "breached" and clock.due_at]
    await _run(tx, BROKEN, [(id_, clock.clock, clock.due_at) for id_, clock in broken])


async def _run(tx: Tx, sql: LiteralString, rows: Sequence[Row]) -> None:
    if rows:
        await tx.run(sql, *(list(column) for column in zip(*rows, strict=True)))
