"""SQL for conversations, contacts, requests and items: a whole batch at once, under its locks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, LiteralString
from uuid import UUID

import orjson

from chassis.messaging.transaction import Tx
from chassis.postgres.locks import lock_key
from ingest.domain.batch_entry import BatchEntry, FirstSeen, Outcome
from ingest.domain.intake_batch import ContactRecord, Conversation, Correction, IntakeBatch
from ingest.domain.items import RequestAttributes
from ingest.domain.message_keys import numbering_key
from ingest.domain.ticket_facts import Author
from ingest.envelope import repeated_id

LOCK: LiteralString = "SELECT count(pg_advisory_xact_lock(k)) FROM unnest(%b::bigint[]) AS k"

# The LIMITs keep the planner on the indexes, however small the tables were when it planned.
FIRST_SEEN: LiteralString = """
    SELECT message_id, digest, request_id FROM item i
    WHERE i.message_id = g.message AND i.first LIMIT 1"""
CONVERSATION: LiteralString = """
    SELECT conversation, channel, account, name, open_request, last_request, contact_id, by_machine
    FROM conversation c WHERE c.conversation = g.conversation LIMIT 1"""
CONTACT: LiteralString = """
    SELECT contact_id, channel, account, address, name, language, email, phone
    FROM contact c WHERE c.contact_id = g.contact LIMIT 1"""
HAS_PENDING: LiteralString = """
    (SELECT true FROM early_name w WHERE w.name = g.name ORDER BY w.inbound_id LIMIT 1)"""
BANS_VERSION: LiteralString = "SELECT version FROM ban_version WHERE id = 1 LIMIT 1"
ENTRIES: LiteralString = (
    "SELECT f.*, c.*, p.*," + HAS_PENDING + ", (" + BANS_VERSION + ")"  # noqa: S608 (literals)
    " FROM unnest(%b::uuid[], %b::uuid[], %b::uuid[], %b::uuid[])"
    " AS g (message, conversation, contact, name)"
    " LEFT JOIN LATERAL (" + FIRST_SEEN + ") f ON true"
    " LEFT JOIN LATERAL (" + CONVERSATION + ") c ON true"
    " LEFT JOIN LATERAL (" + CONTACT + ") p ON true"
)
FOR_KEYS: LiteralString = "SELECT x.* FROM unnest(%b::uuid[]) AS g "
FIRSTS: LiteralString = FOR_KEYS + "(message) CROSS JOIN LATERAL (" + FIRST_SEEN + ") x"
CONVERSATIONS: LiteralString = (
    FOR_KEYS + "(conversation) CROSS JOIN LATERAL (" + CONVERSATION + ") x"
)
CONTACTS: LiteralString = FOR_KEYS + "(contact) CROSS JOIN LATERAL (" + CONTACT + ") x"
REQUESTS: LiteralString = """
SELECT r.*, c.* FROM unnest(%b::uuid[]) AS g (id) CROSS JOIN LATERAL (
    SELECT request_id, conversation FROM request r WHERE r.request_id = g.id LIMIT 1) r
LEFT JOIN LATERAL (
    SELECT channel, account, name FROM conversation c
    WHERE c.conversation = r.conversation LIMIT 1) c ON true"""
AUTHORS: LiteralString = """
SELECT i.* FROM unnest(%b::uuid[]) AS g (id) CROSS JOIN LATERAL (
    SELECT message_id, contact_id, asked FROM item i
    WHERE i.message_id = g.id AND i.first LIMIT 1) i"""

# One statement and one round trip: parts without rows cost nothing.
SAVE: LiteralString = """
WITH cards AS (
    INSERT INTO contact AS c
    SELECT * FROM json_populate_recordset(NULL::contact, %s) ORDER BY 1
    ON CONFLICT (contact_id) DO UPDATE SET
        name = EXCLUDED.name, language = EXCLUDED.language,
        email = EXCLUDED.email, phone = EXCLUDED.phone
), talks AS (
    INSERT INTO conversation AS c
    SELECT * FROM json_populate_recordset(NULL::conversation, %s) ORDER BY 1
    ON CONFLICT (conversation) DO UPDATE SET
        open_request = EXCLUDED.open_request, last_request = EXCLUDED.last_request,
        contact_id = EXCLUDED.contact_id, by_machine = EXCLUDED.by_machine
), begun AS (
    INSERT INTO request SELECT * FROM json_populate_recordset(NULL::request, %s)
    ON CONFLICT DO NOTHING
), corrected AS (
    UPDATE item i SET outcome = v.outcome, request_id = v.request_id, threaded_by = v.threaded_by
    FROM json_populate_recordset(NULL::item, %s) v
    WHERE i.message_id = v.message_id AND i.first
)
INSERT INTO item AS i
SELECT v.inbound_id, v.n, p.stream_created::timestamptz, v.sequence, v.channel, v.account,
    v.received_at, v.outcome, v.first, v.message_id, v.external_id, v.digest, v.contact_id,
    v.request_id, v.reason, v.threaded_by, v.asked, v.chunks, v.platform, p.epoch
FROM json_to_recordset(%s) AS v (
    inbound_id uuid, n smallint, slot smallint, sequence bigint, channel text, account text,
    received_at timestamptz, outcome text, first boolean, message_id uuid, external_id text,
    digest text, contact_id uuid, request_id uuid, reason text, threaded_by text, asked json,
    chunks smallint, platform uuid)
JOIN reader_position p
    ON p.reader = CASE v.channel WHEN 'email' THEN 'mail' ELSE 'inbound' END AND p.slot = v.slot
ON CONFLICT (inbound_id, n) DO UPDATE SET
    outcome = EXCLUDED.outcome, first = EXCLUDED.first, message_id = EXCLUDED.message_id,
    external_id = EXCLUDED.external_id, digest = EXCLUDED.digest, contact_id = EXCLUDED.contact_id,
    request_id = EXCLUDED.request_id, reason = EXCLUDED.reason, threaded_by = EXCLUDED.threaded_by,
    asked = EXCLUDED.asked, platform = EXCLUDED.platform
WHERE i.outcome = 'parked'"""


# At another sequence, or at this one when INBOUND had other messages there.
REPEATED: LiteralString = """
SELECT v.sequence, v.n, (SELECT max(number) FROM inbound_epoch)
FROM json_populate_recordset(NULL::item, %s) v
JOIN item i ON i.inbound_id = v.inbound_id AND i.n = v.n
LEFT JOIN inbound_epoch e ON e.number = i.epoch
WHERE i.sequence <> v.sequence OR i.sequence > e.kept"""


async def lock(tx: Tx, keys: Iterable[UUID]) -> None:
    """Lock conversations and messages until the transaction ends; always before they are read.

    A row that does not exist yet cannot be locked. So the keys are locked, in one global order.
    """
    numbers = sorted({lock_key("key", f"ingest/{key}") for key in keys})
    await tx.run(LOCK, numbers)


async def load_entries(tx: Tx, batch: IntakeBatch, entries: Sequence[BatchEntry]) -> None:
    """Load the known messages, conversations and contacts of these entries in one round trip."""
    read = [entry for entry in entries if entry.item is not None]
    keys = (
        [entry.message_id for entry in read],
        [entry.conversation for entry in read],
        [entry.contact for entry in read],
        [entry.update_key for entry in read],
    )
    for row in await (await tx.run(ENTRIES, *keys)).fetchall():
        message_id, digest, request_id, *rest, has_pending, batch.bans_version = row
        batch.has_pending_updates = bool(batch.has_pending_updates or has_pending)
        if message_id is not None:
            batch.first_seen[message_id] = FirstSeen(digest, request_id)
        if rest[0] is not None:
            batch.conversations.setdefault(rest[0], Conversation(*rest[:8]))
        if rest[8] is not None:
            batch.contacts[rest[8]] = ContactRecord(*rest[8:])
    contacts = _contacts_of_anonymous(batch, read)
    if unknown := contacts - batch.contacts.keys():
        await load_contacts(tx, batch, unknown)
    reissued = {entry.reissued_id for entry in read if _differs(batch, entry) and entry.reissued_id}
    if reissued:
        await _load_first_seen(tx, batch, reissued)


def _contacts_of_anonymous(batch: IntakeBatch, entries: Iterable[BatchEntry]) -> set[UUID]:
    """Return the contacts of the conversations whose entries name no author."""
    anonymous = [entry for entry in entries if entry.contact is None]
    conversations = map(batch.conversation_of, anonymous)
    return {found.contact_id for found in conversations if found and found.contact_id}


def _differs(batch: IntakeBatch, entry: BatchEntry) -> bool:
    first = batch.first_seen.get(entry.message_id)
    return first is not None and entry.item is not None and first.digest != entry.item.digest


async def _load_first_seen(tx: Tx, batch: IntakeBatch, ids: Iterable[UUID]) -> None:
    """Load the first arrivals of messages that are known."""
    for message_id, digest, request_id in await (await tx.run(FIRSTS, list(ids))).fetchall():
        batch.first_seen[message_id] = FirstSeen(digest, request_id)


async def load_conversations(tx: Tx, batch: IntakeBatch, keys: Iterable[UUID]) -> None:
    """Load the conversations that exist under these keys."""
    for row in await (await tx.run(CONVERSATIONS, list(keys))).fetchall():
        batch.conversations[row[0]] = Conversation(*row)


async def load_contacts(tx: Tx, batch: IntakeBatch, ids: Iterable[UUID]) -> None:
    """Load the contacts that are known under these ids."""
    for row in await (await tx.run(CONTACTS, list(ids))).fetchall():
        batch.contacts[row[0]] = ContactRecord(*row)


async def conversations_of(
    tx: Tx, requests: Iterable[UUID]
) -> tuple[dict[UUID, UUID], dict[UUID, UUID]]:
    """Return the conversation of each request, and the numbering key of each.

    Neither ever changes, so no lock is needed.
    """
    rows = await (await tx.run(REQUESTS, list(requests))).fetchall()
    numbering = {
        id: key if name is None else numbering_key(channel, account, name)
        for id, key, channel, account, name in rows
    }
    return {id: key for id, key, *_ in rows}, numbering


async def authors_of(tx: Tx, messages: Iterable[UUID]) -> dict[UUID, Author]:
    """Return the author of each message, and the request attributes it came with."""
    rows = await (await tx.run(AUTHORS, list(messages))).fetchall()
    return {
        message_id: (contact, None if attributes is None else RequestAttributes(**attributes))
        for message_id, contact, attributes in rows
    }


async def save(tx: Tx, batch: IntakeBatch) -> None:
    """Write the outcomes of a batch, and the conversations and contacts it changed."""
    conversations = [
        batch.conversations[key] for key in batch.changed if key in batch.conversations
    ]
    contacts = [batch.contacts[key] for key in batch.changed if key in batch.contacts]
    rows = map(_item_row, reversed(batch.outcomes))  # of two with one id the first is kept
    items = {(row["inbound_id"], row["n"]): row for row in rows}
    written = await tx.run(
        SAVE,
        _json({"contact_id": contact.id, **_without_id(contact)} for contact in contacts),
        _json(map(_conversation_row, conversations)),
        _json({"request_id": id, "conversation": key} for id, key in batch.requests.items()),
        _json(map(_correction_row, batch.corrections)),
        _json(items.values()),
    )
    if written.rowcount < len(batch.outcomes):
        await _save_repeated(tx, batch)


async def _save_repeated(tx: Tx, batch: IntakeBatch) -> None:
    """Save deliveries that the broker stored a second time, each under a new id."""
    rows = [_item_row(outcome) for outcome in batch.outcomes]
    found = await (await tx.run(REPEATED, _json(rows))).fetchall()
    epochs = {(sequence, n): epoch or 0 for sequence, n, epoch in found}
    repeated = [row for row in rows if (row["sequence"], row["n"]) in epochs]
    for row in repeated:
        epoch = epochs[row["sequence"], row["n"]]
        row["inbound_id"] = repeated_id(row["inbound_id"], epoch, row["sequence"])
        row["first"] = False
    await tx.run(SAVE, "[]", "[]", "[]", "[]", _json(repeated))


def _json(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows)).decode()


def _without_id(contact: ContactRecord) -> dict[str, Any]:
    return {key: value for key, value in asdict(contact).items() if key != "id"}


def _conversation_row(conversation: Conversation) -> dict[str, Any]:
    return {
        "conversation": conversation.key,
        "channel": conversation.channel,
        "account": conversation.account,
        "name": conversation.name,
        "open_request": conversation.open_request,
        "last_request": conversation.last_request,
        "contact_id": conversation.contact_id,
        "by_machine": conversation.opened_by_machine,
    }


def _correction_row(correction: Correction) -> dict[str, Any]:
    return {
        "message_id": correction.message_id,
        "outcome": correction.kind,
        "request_id": correction.request_id,
        "threaded_by": correction.threaded_by,
    }


def _item_row(outcome: Outcome) -> dict[str, Any]:
    entry = outcome.entry
    item = entry.item
    attributes = outcome.attributes if outcome.first else None
    has_attributes = attributes is not None and attributes != RequestAttributes()
    return {
        "inbound_id": entry.inbound_id,
        "n": entry.n,
        "slot": entry.slot,
        "sequence": entry.sequence,
        "channel": entry.channel,
        "account": entry.account,
        "received_at": entry.received_at,
        "outcome": outcome.kind,
        "first": outcome.first,
        "message_id": entry.message_id if item else None,
        "external_id": item.external_id if item else None,
        "digest": item.digest if item else None,
        "contact_id": entry.contact,
        "request_id": outcome.request_id,
        "reason": outcome.reason,
        "threaded_by": outcome.threaded_by,
        "asked": asdict(attributes) if attributes is not None and has_attributes else None,
        "chunks": entry.chunks,
        "platform": entry.platform_key if outcome.first else None,
    }
