"""What remarks are about, and those that wait for it: read and written for a batch at once.

Longer than other files: what is looked up, what is written, and their SQL, side by side.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import orjson
from pydantic import TypeAdapter

from chassis.messaging.transaction import Tx
from ingest.domain.inbound_item import Arrival, Outcome
from ingest.domain.items import Item
from ingest.domain.message_updates import Remarks, Waiting
from ingest.domain.references import PATIENCE, REMARKS, ROOM, TOO_LATE, WAITS, Known, name_in
from trunkline_contracts import DeliveryRecorded, ReplySent

ITEM: TypeAdapter[Item] = TypeAdapter(Item)

# The LIMITs keep the planner on the indexes, however small the tables were when it looked.
CUSTOMERS: LiteralString = """
SELECT g.key, i.message_id, i.request_id FROM unnest(%b::uuid[]) AS g (key)
CROSS JOIN LATERAL ((
    SELECT message_id, request_id, received_at FROM item i
    WHERE i.message_id = g.key AND i.first AND i.platform IS NULL
        AND i.outcome IN ('opened', 'appended') LIMIT 1
) UNION ALL (
    SELECT message_id, request_id, received_at FROM item i
    WHERE i.platform = g.key AND i.outcome IN ('opened', 'appended')
    ORDER BY i.received_at DESC LIMIT 1)) i"""
COLUMNS: LiteralString = """
    o.message_id, o.request_id, true, o.conversation, o.platform, o.written_at, o.sent_at,
    o.state"""
OURS: LiteralString = (
    "SELECT o.* FROM unnest(%b::uuid[]) AS g (key) CROSS JOIN LATERAL ((SELECT"  # noqa: S608 (literals)
    + COLUMNS
    + " FROM outgoing o WHERE o.message_id = g.key LIMIT 1) UNION ALL (SELECT"
    + COLUMNS
    + " FROM outgoing o WHERE o.platform = g.key LIMIT 1)) o"
)
# What had come as far before is not looked at again.
UNTIL: LiteralString = (
    "SELECT o.* FROM unnest(%b::uuid[], %b::timestamptz[], %b::text[])"  # noqa: S608 (literals)
    " AS g (key, until, state) CROSS JOIN LATERAL (SELECT"
    + COLUMNS
    + " FROM outgoing o WHERE o.conversation = g.key AND o.written_at <= g.until"
    " AND (o.state IS NULL OR o.state = 'sent' OR (o.state = 'delivered' AND g.state = 'read'))"
    " ORDER BY o.written_at DESC LIMIT 500) o"
)
# All of them, for what is left out is not looked for again: there is ROOM for fewer than the LIMIT.
EARLY: LiteralString = """
SELECT DISTINCT ON (w.inbound_id, w.n) e.* FROM unnest(%b::uuid[]) AS g (name)
CROSS JOIN LATERAL (
    SELECT inbound_id, n FROM early_name w
    WHERE w.name = g.name ORDER BY w.inbound_id LIMIT 20000) w
CROSS JOIN LATERAL (
    SELECT inbound_id::text, n, channel, account, received_at, traceparent, item
    FROM early e WHERE e.inbound_id = w.inbound_id AND e.n = w.n LIMIT 1) e"""
COUNTS: LiteralString = """
SELECT channel, account, item ->> 'kind' = 'receipt', count(*) FROM early e
WHERE (channel, account) IN (SELECT * FROM unnest(%b::text[], %b::text[])) GROUP BY 1, 2, 3"""

SAVE: LiteralString = """
WITH ours AS (
    INSERT INTO outgoing AS o SELECT * FROM json_populate_recordset(NULL::outgoing, %s) ORDER BY 1
    ON CONFLICT (message_id) DO UPDATE SET
        platform = coalesce(EXCLUDED.platform, o.platform),
        written_at = coalesce(o.written_at, EXCLUDED.written_at),
        sent_at = coalesce(o.sent_at, EXCLUDED.sent_at),
        state = CASE WHEN EXCLUDED.state IS NULL THEN o.state
            WHEN EXCLUDED.state = 'sent' AND o.state IN ('delivered', 'read') THEN o.state
            ELSE EXCLUDED.state END
), waits AS (
    INSERT INTO early SELECT * FROM json_populate_recordset(NULL::early, %s) ON CONFLICT DO NOTHING
), names AS (
    INSERT INTO early_name SELECT * FROM json_populate_recordset(NULL::early_name, %s)
    ON CONFLICT DO NOTHING
), found AS (
    DELETE FROM early e USING json_populate_recordset(NULL::item, %s) v
    WHERE e.inbound_id = v.inbound_id AND e.n = v.n
)
UPDATE item i SET request_id = v.request_id, reason = v.reason, outcome = v.outcome,
    threaded_by = v.threaded_by, platform = v.platform
FROM json_populate_recordset(NULL::item, %s) v WHERE i.inbound_id = v.inbound_id AND i.n = v.n"""

EDITS: LiteralString = """
SELECT inbound_id::text, n, channel, account, received_at, traceparent, item FROM early
WHERE received_at < %s AND item ->> 'kind' = 'edited' ORDER BY received_at LIMIT 100"""
EXPIRE: LiteralString = """
WITH gone AS (
    DELETE FROM early WHERE (inbound_id, n) IN (
        SELECT inbound_id, n FROM early WHERE received_at < %s AND item ->> 'kind' <> 'edited'
        ORDER BY received_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
    RETURNING inbound_id, n
)
UPDATE item i SET reason = %s FROM gone g
WHERE i.inbound_id = g.inbound_id AND i.n = g.n AND i.request_id IS NULL"""


async def look_up(tx: Tx, into: Remarks, arrivals: Sequence[Arrival], *, waits: bool) -> None:
    """Load what remarks among these arrivals are about, and what waits for the others, if any."""
    if waits:
        await _load_early(tx, into, list({arrival.name for arrival in arrivals}))
    remarks = [each for each in arrivals if each.item and each.item.kind in REMARKS]
    if remarks:
        await _load_known(tx, into, remarks)


async def _load_known(tx: Tx, into: Remarks, remarks: Sequence[Arrival]) -> None:
    keys = list({key for each in remarks for key in each.about})
    if keys:
        for key, message_id, request_id in await (await tx.run(CUSTOMERS, keys)).fetchall():
            into.known.setdefault(key, Known(message_id, request_id))
        _put(into, await (await tx.run(OURS, keys)).fetchall())
    until = [(each.conversation, *told) for each in remarks if (told := _until(each))]
    if until:
        _put(into, await (await tx.run(UNTIL, *map(list, zip(*until, strict=True)))).fetchall())


def _until(arrival: Arrival) -> tuple[datetime, str] | None:
    item = arrival.item
    if item is None or item.kind != "receipt" or item.until is None or arrival.about:
        return None
    return item.until, item.state or "delivered"


def _put(into: Remarks, rows: Iterable[tuple[Any, ...]]) -> None:
    for row in rows:
        known = into.ours.setdefault(row[0], Known(*row))
        into.known[known.id] = known
        if known.platform is not None:
            into.known[known.platform] = known


async def _load_early(tx: Tx, into: Remarks, names: Sequence[UUID]) -> None:
    for row in await (await tx.run(EARLY, names)).fetchall():
        arrival = _arrival(*row)
        outcome = Outcome(arrival, "noted", first=True, reason=WAITS)
        into.wait(Waiting(arrival, outcome, stored=True))


def _arrival(
    inbound_id: str, n: int, channel: str, account: str, at: datetime, parent: str, told: Any
) -> Arrival:
    item = ITEM.validate_python(told)
    return Arrival(inbound_id, n, channel, account, at, item, traceparent=parent)


def names_of(
    facts: Sequence[ReplySent | DeliveryRecorded], counted: Mapping[UUID, UUID]
) -> dict[UUID, UUID]:
    """Give the platform's names of messages of ours; `counted`: by request, in what it counts."""
    return {
        each.message_id: name_in(counted[each.request_id], each.platform_id)
        for each in facts
        if isinstance(each, DeliveryRecorded)
        and each.platform_id is not None
        and each.request_id in counted
    }


async def follow(
    tx: Tx,
    into: Remarks,
    facts: Sequence[ReplySent | DeliveryRecorded],
    conversations: Mapping[UUID, UUID],
    names: Mapping[UUID, UUID],
) -> None:
    """Remember what we wrote and what is on its way, and pass on what waited for that."""
    ids = [each.message.id if isinstance(each, ReplySent) else each.message_id for each in facts]
    talks = {conversations[each.request_id] for each in facts if each.request_id in conversations}
    await _load_early(tx, into, [*talks, *ids, *names.values()])
    if into.early:
        _put(into, await (await tx.run(OURS, ids)).fetchall())
        await _load_known(tx, into, [each.arrival for each in into.early.values()])
    for fact in facts:
        talk = conversations.get(fact.request_id)
        if talk is None:
            continue
        if isinstance(fact, ReplySent):
            into.wrote(talk, fact)
        else:
            into.sent(talk, fact, names.get(fact.message_id))
    into.catch_up()
    await save(tx, into)


async def make_room(tx: Tx, remarks: Remarks) -> list[Waiting]:
    """Let no account fill the table; gives what must not wait."""
    new = [each.arrival for each in remarks.early.values() if not each.stored]
    if not new:
        return []
    accounts = {(each.channel, each.account) for each in new}
    rows = await (await tx.run(COUNTS, *map(list, zip(*accounts, strict=True)))).fetchall()
    taken = {(channel, account, receipt): count for channel, account, receipt, count in rows}
    return remarks.no_room(taken, ROOM)


async def save(tx: Tx, remarks: Remarks) -> None:
    """Write what waits, what waits no more, and how far messages of ours have come."""
    ours = [_ours_row(remarks.ours[id]) for id in remarks.reported]
    waits = [each.arrival for each in remarks.early.values() if not each.stored]
    found = _json(_found_row(each) for each in remarks.caught_up)
    if ours or waits or remarks.caught_up:
        new, names = map(_early_row, waits), (row for each in waits for row in _name_rows(each))
        await tx.run(SAVE, _json(ours), _json(new), _json(names), found, found)


async def edits(tx: Tx) -> list[Arrival]:
    """Give edits that have waited too long, the oldest first; not all at once."""
    found = await tx.conn.execute(EDITS, (tx.now - PATIENCE,), prepare=False)
    return [_arrival(*row) for row in await found.fetchall()]


async def look_again(tx: Tx, into: Remarks, arrivals: Sequence[Arrival]) -> list[Waiting]:
    """Pass on what is known by now, and give those of these remarks that wait still."""
    await _load_early(tx, into, [name for each in arrivals for name in each.waits_for])
    await _load_known(tx, into, [each.arrival for each in into.early.values()])
    into.catch_up()
    keys = [(each.inbound_id, each.n) for each in arrivals]
    return [into.early[key] for key in keys if key in into.early]


async def expire(tx: Tx) -> None:
    """Note, with the reason, what has waited too long; edits say more than a note can."""
    # Planned each time: what was right for a small table is not for a large one.
    await tx.conn.execute(EXPIRE, (tx.now - PATIENCE, TOO_LATE), prepare=False)


def _json(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows)).decode()


def _ours_row(known: Known) -> dict[str, Any]:
    return {
        "message_id": known.id,
        "request_id": known.request_id,
        "conversation": known.conversation,
        "platform": known.platform,
        "written_at": known.written_at,
        "sent_at": known.sent_at,
        "state": known.state,
    }


def _early_row(arrival: Arrival) -> dict[str, Any]:
    return {
        "inbound_id": arrival.inbound_id,
        "n": arrival.n,
        "channel": arrival.channel,
        "account": arrival.account,
        "received_at": arrival.received_at,
        "traceparent": arrival.traceparent,
        "item": ITEM.dump_python(arrival.item, mode="json", exclude_defaults=True)
        if arrival.item
        else None,
    }


def _name_rows(arrival: Arrival) -> Iterable[dict[str, Any]]:
    for name in dict.fromkeys(arrival.waits_for):
        yield {"inbound_id": arrival.inbound_id, "n": arrival.n, "name": name}


def _found_row(outcome: Outcome) -> dict[str, Any]:
    return {
        "inbound_id": outcome.arrival.inbound_id,
        "n": outcome.arrival.n,
        "request_id": outcome.request_id,
        "reason": outcome.reason,
        "outcome": outcome.word,
        "threaded_by": outcome.threaded_by,
        "platform": outcome.arrival.platform,
    }
