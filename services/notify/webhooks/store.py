"""The SQL of deliveries: recorded with the facts, selected when due, settled in batches.

An endpoint that wants order gets the facts of one key one after another: a delivery is selected
only when no earlier one of its key is pending. When one is retried later, the pending ones after it
are postponed with it, so that selecting stays cheap however many there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.messaging.transaction import Tx
from chassis.postgres.columns import columns
from notify.domain.webhooks import CHANNEL, WebhookStep
from notify.webhooks.endpoints import Endpoint

INSERT_DELIVERIES = """INSERT INTO deliveries
        (id, endpoint, type, key, sequence, request_id, body, traceparent, next_at)
    SELECT id, endpoint, type, key, sequence, request_id, body, traceparent,
        CASE WHEN ordered THEN greatest(now(), (SELECT max(b.next_at) FROM deliveries b
            WHERE b.endpoint = u.endpoint AND b.key = u.key AND b.next_at IS NOT NULL))
        ELSE now() END
    FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %s::int8[], %b::uuid[],
            %b::bytea[], %b::text[], %b::bool[]) WITH ORDINALITY AS u (id, endpoint, type, key,
            sequence, request_id, body, traceparent, ordered, n)
    ORDER BY n
    ON CONFLICT (id) DO NOTHING"""

SELECT_DUE = """
    SELECT d.id, d.endpoint, d.key, d.request_id, d.type, d.body, d.traceparent, d.attempts
    FROM unnest(%b::text[], %b::uuid[], %b::bool[], %s::int4[]) AS e (name, address, ordered, room)
    CROSS JOIN LATERAL (
        SELECT d.* FROM deliveries d
        WHERE d.endpoint = e.name AND d.next_at <= now() AND d.id <> ALL(%b::uuid[])
            AND (NOT e.ordered OR NOT EXISTS (SELECT 1 FROM deliveries b
                WHERE b.endpoint = d.endpoint AND b.key = d.key AND b.turn < d.turn
                    AND b.next_at IS NOT NULL))
        ORDER BY d.next_at, d.turn LIMIT e.room) d
    WHERE NOT EXISTS (SELECT 1 FROM endpoints w WHERE w.endpoint = e.name
        AND (w.paused_until > now() OR (w.disabled_at IS NOT NULL AND w.address = e.address)))"""

SETTLE_DELIVERIES = """UPDATE deliveries d
    SET state = o.state, attempts = d.attempts + 1, status = o.status,
        reason = o.reason, next_at = now() + o.delay * interval '1 second',
        settled_at = CASE WHEN o.delay IS NULL THEN now() END
    FROM unnest(%b::uuid[], %s::int4[], %b::text[], %b::float8[], %s::int4[], %b::text[])
        AS o (id, attempts, state, delay, status, reason)
    WHERE d.id = o.id AND d.attempts = o.attempts AND d.next_at IS NOT NULL RETURNING d.id"""

POSTPONE_FOLLOWING = """UPDATE deliveries f SET next_at = h.next_at FROM deliveries h
    WHERE h.id = ANY(%b::uuid[]) AND f.endpoint = h.endpoint AND f.key = h.key
        AND f.turn > h.turn AND f.next_at IS NOT NULL AND f.next_at < h.next_at"""

SUSPEND_ENDPOINT = """
    INSERT INTO endpoints AS w (endpoint, paused_until, disabled_at, address, reason)
    VALUES (%s, now() + %s::float8 * interval '1 second', CASE WHEN %s THEN now() END, %s, %s)
    ON CONFLICT (endpoint) DO UPDATE SET
        paused_until = greatest(w.paused_until, EXCLUDED.paused_until),
        disabled_at = CASE WHEN w.address = EXCLUDED.address
            THEN coalesce(w.disabled_at, EXCLUDED.disabled_at) ELSE EXCLUDED.disabled_at END,
        address = EXCLUDED.address, reason = EXCLUDED.reason"""

REACTIVATE_ENDPOINT = "DELETE FROM endpoints WHERE endpoint = %s"

REDRIVE_DELIVERIES = """UPDATE deliveries
    SET state = 'pending', next_at = now(), attempts = 0, status = NULL,
        reason = NULL, settled_at = NULL
    WHERE endpoint = %s AND (state = 'failed' OR NOT %s) AND turn >= %s
        AND (%s::uuid IS NULL OR (request_id = %s AND sequence >= %s))"""

SELECT_STATUS = """SELECT e.name, w.paused_until, w.disabled_at, w.reason,
        (SELECT count(*) FROM deliveries d WHERE d.endpoint = e.name AND d.next_at IS NOT NULL),
        (SELECT count(*) FROM deliveries d WHERE d.endpoint = e.name AND d.state = 'failed'),
        (SELECT min(d.created_at) FROM deliveries d
            WHERE d.endpoint = e.name AND d.next_at IS NOT NULL)
    FROM unnest(%b::text[], %b::uuid[]) AS e (name, address)
    LEFT JOIN endpoints w ON w.endpoint = e.name AND (w.paused_until > now()
        OR (w.disabled_at IS NOT NULL AND w.address = e.address))"""

SELECT_DELIVERIES = """SELECT id, endpoint, type, sequence, turn, state, attempts, status, reason,
        created_at, next_at, settled_at
    FROM deliveries WHERE request_id = %s ORDER BY turn LIMIT 500"""

DELETE_OLD = """DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries
    WHERE created_at < %s AND (next_at IS NULL OR endpoint <> ALL(%b::text[])
        OR endpoint IN (SELECT endpoint FROM endpoints WHERE disabled_at < %s)) LIMIT %s)"""
DELETE_BATCH = 1000
"""Deliveries that one statement deletes."""


@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """A delivery of one fact to one endpoint that is to be recorded."""

    id: UUID
    endpoint: str
    type: str
    key: str
    sequence: int
    request_id: UUID | None
    body: bytes
    traceparent: str | None
    ordered: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """A recorded delivery that is due."""

    id: UUID
    endpoint: str
    key: str
    request_id: UUID | None
    type: str
    body: bytes
    traceparent: str | None
    attempts: int


@dataclass(frozen=True, slots=True)
class SettledDelivery:
    """A delivery with its next step after an attempt."""

    delivery: Delivery
    endpoint: Endpoint
    next: WebhookStep


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """The state of an endpoint, and the numbers of its pending and failed deliveries."""

    paused_until: datetime | None
    disabled_at: datetime | None
    reason: str | None
    pending: int
    failed: int
    pending_since: datetime | None


async def insert(tx: Tx, deliveries: Sequence[PlannedDelivery]) -> None:
    """Record deliveries; those that are recorded already stay unchanged."""
    rows = [
        (d.id, d.endpoint, d.type, d.key, d.sequence, d.request_id, d.body, d.traceparent,
         d.ordered)
        for d in deliveries
    ]  # fmt: skip
    await tx.run(INSERT_DELIVERIES, *columns(rows))


async def select_due(
    tx: Tx, capacities: Sequence[tuple[Endpoint, int]], held: Sequence[UUID]
) -> list[Delivery]:
    """Return the due deliveries of each endpoint up to its capacity, without those held already."""
    rows = [(e.name, e.address, e.declared.ordered, capacity) for e, capacity in capacities]
    cursor = await tx.run(SELECT_DUE, *columns(rows), list(held), binary=True)
    return [Delivery(*row) for row in await cursor.fetchall()]


async def settle(tx: Tx, done: Sequence[SettledDelivery]) -> list[SettledDelivery]:
    """Record next steps, and return the deliveries that nobody else had settled."""
    rows = [
        (s.delivery.id, s.delivery.attempts, s.next.state, s.next.delay, s.next.status,
         s.next.reason)
        for s in done
    ]  # fmt: skip
    cursor = await tx.run(SETTLE_DELIVERIES, *columns(rows))
    settled = {row[0] for row in await cursor.fetchall()}
    retried = [
        s.delivery.id
        for s in done
        if s.next.delay is not None and s.endpoint.declared.ordered and s.delivery.id in settled
    ]
    if retried:
        await tx.run(POSTPONE_FOLLOWING, retried)
    await _suspend_endpoints(tx, done)
    return [s for s in done if s.delivery.id in settled]


async def _suspend_endpoints(tx: Tx, done: Sequence[SettledDelivery]) -> None:
    """Pause and disable the endpoints whose receivers asked for it."""
    suspensions = {
        (s.endpoint.name, s.next.pause or 0.0, s.next.gone, s.endpoint.address, s.next.reason)
        for s in done
        if s.next.pause is not None or s.next.gone
    }
    for name, pause, gone, address, reason in sorted(suspensions, key=lambda row: row[:3]):
        await tx.run(SUSPEND_ENDPOINT, name, pause, gone, address, reason)


async def redrive(
    tx: Tx, endpoint: str, *, failed: bool, position: int, request: tuple[UUID, int] | None
) -> int:
    """Make deliveries due again, activate the endpoint, and return the number of deliveries.

    `failed` selects failed deliveries only, `position` those from a position on, `request` those
    of a request from a sequence on.
    """
    request_id, sequence = request or (None, 0)
    await tx.run(REACTIVATE_ENDPOINT, endpoint)
    cursor = await tx.run(
        REDRIVE_DELIVERIES, endpoint, failed, position, request_id, request_id, sequence
    )
    return cursor.rowcount


async def status_of(tx: Tx, endpoints: Sequence[Endpoint]) -> dict[str, EndpointStatus]:
    """Return the status of each endpoint, by its name."""
    names, addresses = [e.name for e in endpoints], [e.address for e in endpoints]
    cursor = await tx.run(SELECT_STATUS, names, addresses)
    return {row[0]: EndpointStatus(*row[1:]) for row in await cursor.fetchall()}


async def deliveries_of(tx: Tx, request_id: UUID) -> list[dict[str, Any]]:
    """Return the deliveries of a request's facts."""
    names = (
        "id", "to", "kind", "sequence", "position", "state", "attempts", "status", "reason", "at",
        "next_at", "settled_at",
    )  # fmt: skip
    rows = await (await tx.run(SELECT_DELIVERIES, request_id)).fetchall()
    return [
        {"what": "webhook", "channel": CHANNEL, **dict(zip(names, row, strict=True))}
        for row in rows
    ]


async def delete_old(tx: Tx, before: datetime, endpoints: Sequence[str]) -> int:
    """Delete old deliveries, and return their number.

    Deleted are those that are settled, and those of endpoints that are disabled or not declared.
    """
    return (await tx.run(DELETE_OLD, before, list(endpoints), before, DELETE_BATCH)).rowcount
