"""The state of requests: who is notified of each."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from chassis.messaging.transaction import Tx
from chassis.postgres.columns import columns
from notify.domain.request import Request

SELECT_REQUESTS = """SELECT request_id, type, topic, sequence, assignee, watchers, closed, team
    FROM requests WHERE request_id = ANY(%b::uuid[])"""

# Watchers are passed as one text for each row, because unnest flattens an array of arrays.
UPSERT_REQUESTS = """INSERT INTO requests
    (request_id, type, topic, sequence, assignee, watchers, closed, team)
    SELECT id, type, topic, sequence, assignee, string_to_array(watchers, ' '), closed, team
    FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::bigint[], %b::text[], %b::text[],
        %b::bool[], %b::text[]) AS u (id, type, topic, sequence, assignee, watchers, closed, team)
    ON CONFLICT (request_id) DO UPDATE SET topic = EXCLUDED.topic, sequence = EXCLUDED.sequence,
        assignee = EXCLUDED.assignee, watchers = EXCLUDED.watchers, closed = EXCLUDED.closed,
        team = EXCLUDED.team"""


async def load(tx: Tx, ids: Iterable[UUID]) -> dict[UUID, Request]:
    """Return the requests that exist, by id."""
    cursor = await tx.run(SELECT_REQUESTS, sorted(set(ids)))
    return {row[0]: Request(*row) for row in await cursor.fetchall()}


async def save(tx: Tx, requests: Sequence[Request]) -> None:
    """Save requests; watchers are joined by a space, which no subject contains."""
    if not requests:
        return
    rows = [
        (r.id, r.type, r.topic, r.sequence, r.assignee, " ".join(r.watchers), r.closed, r.team)
        for r in sorted(requests, key=lambda r: r.id)
    ]
    await tx.run(UPSERT_REQUESTS, *columns(rows))
