"""SQL for message updates: the messages they refer to and the pending ones, a batch at once."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import orjson
from pydantic import TypeAdapter

from chassis.messaging.transaction import Tx
from ingest.domain.batch_entry import BatchEntry, Outcome
from ingest.domain.items import InboundItem
from ingest.domain.message_keys import UPDATE_KINDS
from ingest.domain.message_updates import (
    EXPIRED,
    MAX_PENDING_TIME,
    MAX_PENDING_UPDATES,
    PENDING,
    MessageReference,
    MessageUpdates,
    PendingUpdate,
)
from ingest.domain.ticket_facts import OwnMessageFact, message_id_of

ITEM_ADAPTER: TypeAdapter[InboundItem] = TypeAdapter(InboundItem)

# The LIMITs keep the planner on the indexes, however small the tables were when it planned.
CUSTOMER_MESSAGES: LiteralString = """
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
OWN: LiteralString = (
    "SELECT o.* FROM unnest(%b::uuid[]) AS g (key) CROSS JOIN LATERAL ((SELECT"  # noqa: S608 (literals)
    + COLUMNS
    + " FROM outgoing o WHERE o.message_id = g.key LIMIT 1) UNION ALL (SELECT"
    + COLUMNS
    + " FROM outgoing o WHERE o.platform = g.key LIMIT 1)) o"
)
# Messages whose state is as far already are left out.
OWN_UNTIL: LiteralString = (
    "SELECT o.* FROM unnest(%b::uuid[], %b::timestamptz[], %b::text[])"  # noqa: S608 (literals)
    " AS g (key, until, state) CROSS JOIN LATERAL (SELECT"
    + COLUMNS
    + " FROM outgoing o WHERE o.conversation = g.key AND o.written_at <= g.until"
    " AND (o.state IS NULL OR o.state = 'sent' OR (o.state = 'delivered' AND g.state = 'read'))"
    " ORDER BY o.written_at DESC LIMIT 500) o"
)
# All of them: what is left out is never looked for again. MAX_PENDING_UPDATES is below the LIMIT.
PENDING_UPDATES: LiteralString = """
SELECT DISTINCT ON (w.inbound_id, w.n) e.* FROM unnest(%b::uuid[]) AS g (name)
CROSS JOIN LATERAL (
    SELECT inbound_id, n FROM early_name w
    WHERE w.name = g.name ORDER BY w.inbound_id LIMIT 20000) w
CROSS JOIN LATERAL (
    SELECT inbound_id::text, n, channel, account, received_at, traceparent, item
    FROM early e WHERE e.inbound_id = w.inbound_id AND e.n = w.n LIMIT 1) e"""
POOL_SIZES: LiteralString = """
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

EXPIRED_EDITS: LiteralString = """
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


async def load(
    tx: Tx, updates: MessageUpdates, entries: Sequence[BatchEntry], *, pending: bool
) -> None:
    """Load the messages that updates among the entries refer to, and the `pending` updates."""
    if pending:
        await _load_pending(tx, updates, list({entry.update_key for entry in entries}))
    new = [entry for entry in entries if entry.item and entry.item.kind in UPDATE_KINDS]
    if new:
        await _load_references(tx, updates, new)


async def _load_references(tx: Tx, updates: MessageUpdates, entries: Sequence[BatchEntry]) -> None:
    """Load the messages, of customers and our own, that these updates refer to."""
    keys = list({key for entry in entries for key in entry.target_keys})
    if keys:
        rows = await (await tx.run(CUSTOMER_MESSAGES, keys)).fetchall()
        for key, message_id, request_id in rows:
            updates.references.setdefault(key, MessageReference(message_id, request_id))
        _add_own(updates, await (await tx.run(OWN, keys)).fetchall())
    until = [(entry.conversation, *receipt) for entry in entries if (receipt := _until(entry))]
    if until:
        columns = map(list, zip(*until, strict=True))
        _add_own(updates, await (await tx.run(OWN_UNTIL, *columns)).fetchall())


def _until(entry: BatchEntry) -> tuple[datetime, str] | None:
    """Return the time and the state of a receipt of everything sent until then."""
    item = entry.item
    if item is None or item.kind != "receipt" or item.until is None or entry.target_keys:
        return None
    return item.until, item.state or "delivered"


def _add_own(updates: MessageUpdates, rows: Iterable[tuple[Any, ...]]) -> None:
    for row in rows:
        message = updates.own.setdefault(row[0], MessageReference(*row))
        updates.references[message.id] = message
        if message.platform_key is not None:
            updates.references[message.platform_key] = message


async def _load_pending(tx: Tx, updates: MessageUpdates, keys: Sequence[UUID]) -> None:
    for row in await (await tx.run(PENDING_UPDATES, keys)).fetchall():
        entry = _entry(*row)
        outcome = Outcome(entry, "noted", first=True, reason=PENDING)
        updates.add_pending(PendingUpdate(entry, outcome, stored=True))


def _entry(
    inbound_id: str,
    n: int,
    channel: str,
    account: str,
    received_at: datetime,
    traceparent: str,
    stored: Any,
) -> BatchEntry:
    item = ITEM_ADAPTER.validate_python(stored)
    return BatchEntry(inbound_id, n, channel, account, received_at, item, traceparent=traceparent)


async def load_for_own(
    tx: Tx,
    updates: MessageUpdates,
    facts: Sequence[OwnMessageFact],
    conversations: Mapping[UUID, UUID],
    platform_keys: Mapping[UUID, UUID],
) -> None:
    """Load the updates that wait for messages of our own, and the messages they refer to."""
    ids = list(map(message_id_of, facts))
    loaded = {conversations[fact.request_id] for fact in facts if fact.request_id in conversations}
    await _load_pending(tx, updates, [*loaded, *ids, *platform_keys.values()])
    if updates.pending:
        _add_own(updates, await (await tx.run(OWN, ids)).fetchall())
        await _load_references(tx, updates, [update.entry for update in updates.pending.values()])


async def evict_over_limit(tx: Tx, updates: MessageUpdates) -> list[PendingUpdate]:
    """Remove and return the new pending updates of accounts that have too many."""
    new = [update.entry for update in updates.pending.values() if not update.stored]
    if not new:
        return []
    accounts = {(entry.channel, entry.account) for entry in new}
    rows = await (await tx.run(POOL_SIZES, *map(list, zip(*accounts, strict=True)))).fetchall()
    sizes = {(channel, account, receipts): count for channel, account, receipts, count in rows}
    return updates.evict_over_limit(sizes, MAX_PENDING_UPDATES)


async def save(tx: Tx, updates: MessageUpdates) -> None:
    """Write new pending updates, settled ones, and the state of our own messages."""
    own = [_own_row(updates.own[id]) for id in updates.changed]
    pending = [update.entry for update in updates.pending.values() if not update.stored]
    settled = _json(_settled_row(outcome) for outcome in updates.settled)
    if own or pending or updates.settled:
        rows = map(_pending_row, pending)
        keys = (row for entry in pending for row in _key_rows(entry))
        await tx.run(SAVE, _json(own), _json(rows), _json(keys), settled, settled)


async def expired_edits(tx: Tx) -> list[BatchEntry]:
    """Return up to 100 edits that have waited too long, the oldest first."""
    expired_at = tx.now - MAX_PENDING_TIME
    found = await tx.conn.execute(EXPIRED_EDITS, (expired_at,), prepare=False)
    return [_entry(*row) for row in await found.fetchall()]


async def load_unresolved(
    tx: Tx, updates: MessageUpdates, entries: Sequence[BatchEntry]
) -> list[PendingUpdate]:
    """Apply the updates whose message is known by now; return those of the entries that wait."""
    await _load_pending(tx, updates, [key for entry in entries for key in entry.pending_keys])
    await _load_references(tx, updates, [update.entry for update in updates.pending.values()])
    updates.resolve_pending()
    keys = [(entry.inbound_id, entry.n) for entry in entries]
    return [updates.pending[key] for key in keys if key in updates.pending]


async def expire(tx: Tx) -> None:
    """Note updates that have waited too long; edits are promoted to messages instead."""
    # Planned each time: a plan made for a small table is bad for a large one.
    await tx.conn.execute(EXPIRE, (tx.now - MAX_PENDING_TIME, EXPIRED), prepare=False)


def _json(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows)).decode()


def _own_row(message: MessageReference) -> dict[str, Any]:
    return {
        "message_id": message.id,
        "request_id": message.request_id,
        "conversation": message.conversation,
        "platform": message.platform_key,
        "written_at": message.written_at,
        "sent_at": message.sent_at,
        "state": message.state,
    }


def _pending_row(entry: BatchEntry) -> dict[str, Any]:
    item = entry.item
    stored = ITEM_ADAPTER.dump_python(item, mode="json", exclude_defaults=True) if item else None
    return {
        "inbound_id": entry.inbound_id,
        "n": entry.n,
        "channel": entry.channel,
        "account": entry.account,
        "received_at": entry.received_at,
        "traceparent": entry.traceparent,
        "item": stored,
    }


def _key_rows(entry: BatchEntry) -> Iterable[dict[str, Any]]:
    for key in dict.fromkeys(entry.pending_keys):
        yield {"inbound_id": entry.inbound_id, "n": entry.n, "name": key}


def _settled_row(outcome: Outcome) -> dict[str, Any]:
    return {
        "inbound_id": outcome.entry.inbound_id,
        "n": outcome.entry.n,
        "request_id": outcome.request_id,
        "reason": outcome.reason,
        "outcome": outcome.kind,
        "threaded_by": outcome.threaded_by,
        "platform": outcome.entry.platform_key,
    }
