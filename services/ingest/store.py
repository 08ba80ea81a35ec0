"""What ingest remembers: read and written for a whole batch at once, under its locks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, LiteralString
from uuid import UUID

import orjson

from chassis.locks import lock_key
from chassis.tx import Tx
from ingest.adapters.item import Asked
from ingest.domain import Arrival, Book, Card, Conversation, First, Outcome

LOCK: LiteralString = "SELECT count(pg_advisory_xact_lock(k)) FROM unnest(%s::bigint[]) AS k"

# The LIMITs keep the planner on the indexes, however small the tables were when it looked.
FIRSTS: LiteralString = """
SELECT f.* FROM unnest(%s::uuid[]) AS g (message_id) CROSS JOIN LATERAL (
    SELECT message_id, digest, request_id FROM item i
    WHERE i.message_id = g.message_id AND i.first LIMIT 1) f"""
CONVERSATIONS: LiteralString = """
SELECT c.* FROM unnest(%s::uuid[]) AS g (key) CROSS JOIN LATERAL (
    SELECT conversation, channel, account, name, open_request, last_request, contact_id
    FROM conversation c WHERE c.conversation = g.key LIMIT 1) c"""
CONTACTS: LiteralString = """
SELECT c.* FROM unnest(%s::uuid[]) AS g (id) CROSS JOIN LATERAL (
    SELECT contact_id, channel, account, address, name, language, email, phone
    FROM contact c WHERE c.contact_id = g.id LIMIT 1) c"""
REQUESTS: LiteralString = """
SELECT r.* FROM unnest(%s::uuid[]) AS g (id) CROSS JOIN LATERAL (
    SELECT request_id, conversation FROM request r WHERE r.request_id = g.id LIMIT 1) r"""
AUTHORS: LiteralString = """
SELECT i.* FROM unnest(%s::uuid[]) AS g (id) CROSS JOIN LATERAL (
    SELECT message_id, contact_id, asked FROM item i
    WHERE i.message_id = g.id AND i.first LIMIT 1) i"""

# One statement, so one round trip: parts without rows cost nothing.
SAVE: LiteralString = """
WITH cards AS (
    INSERT INTO contact AS c
    SELECT * FROM json_populate_recordset(NULL::contact, %(cards)s) ORDER BY 1
    ON CONFLICT (contact_id) DO UPDATE SET
        name = EXCLUDED.name, language = EXCLUDED.language,
        email = EXCLUDED.email, phone = EXCLUDED.phone
), talks AS (
    INSERT INTO conversation AS c
    SELECT * FROM json_populate_recordset(NULL::conversation, %(talks)s) ORDER BY 1
    ON CONFLICT (conversation) DO UPDATE SET
        open_request = EXCLUDED.open_request, last_request = EXCLUDED.last_request,
        contact_id = EXCLUDED.contact_id
), begun AS (
    INSERT INTO request SELECT * FROM json_populate_recordset(NULL::request, %(requests)s)
    ON CONFLICT DO NOTHING
), corrected AS (
    UPDATE item i SET outcome = v.outcome, request_id = v.request_id, threaded_by = v.threaded_by
    FROM json_populate_recordset(NULL::item, %(corrections)s) v
    WHERE i.message_id = v.message_id AND i.first
)
INSERT INTO item AS i
SELECT v.inbound_id, v.n, p.stream_created::timestamptz, v.sequence, v.channel, v.account,
    v.received_at, v.outcome, v.first, v.message_id, v.external_id, v.digest, v.contact_id,
    v.request_id, v.reason, v.threaded_by, v.asked
FROM json_to_recordset(%(items)s) AS v (
    inbound_id uuid, n smallint, slot smallint, sequence bigint, channel text, account text,
    received_at timestamptz, outcome text, first boolean, message_id uuid, external_id text,
    digest text, contact_id uuid, request_id uuid, reason text, threaded_by text, asked json)
JOIN reader_position p ON p.reader = 'inbound' AND p.slot = v.slot
ON CONFLICT (inbound_id, n) DO UPDATE SET
    outcome = EXCLUDED.outcome, first = EXCLUDED.first, message_id = EXCLUDED.message_id,
    external_id = EXCLUDED.external_id, digest = EXCLUDED.digest, contact_id = EXCLUDED.contact_id,
    request_id = EXCLUDED.request_id, reason = EXCLUDED.reason, threaded_by = EXCLUDED.threaded_by,
    asked = EXCLUDED.asked
WHERE i.outcome = 'parked'"""


async def lock(tx: Tx, keys: Iterable[UUID]) -> None:
    """Hold conversations and messages until the transaction ends; always before they are read.

    A row that is not there yet cannot be locked, so their keys are, in one order for all.
    """
    numbers = sorted({lock_key("key", f"ingest/{key}") for key in keys})
    await tx.run(LOCK, numbers)


async def look_up(tx: Tx, book: Book, arrivals: Sequence[Arrival]) -> None:
    """Put what is known of these arrivals into the book."""
    await load_firsts(tx, book, {arrival.message_id for arrival in arrivals})
    await load_talks(tx, book, {a.conversation for a in arrivals if a.conversation})
    await load_cards(tx, book, {a.contact for a in arrivals if a.contact})
    again = {a.again for a in arrivals if a.message_id in book.firsts and a.again}
    if again:
        await load_firsts(tx, book, again)


async def load_firsts(tx: Tx, book: Book, ids: Iterable[UUID]) -> None:
    """Messages that came before."""
    for message_id, digest, request_id in await (await tx.run(FIRSTS, list(ids))).fetchall():
        book.firsts[message_id] = First(digest, request_id)


async def load_talks(tx: Tx, book: Book, keys: Iterable[UUID]) -> None:
    """Conversations that exist."""
    for row in await (await tx.run(CONVERSATIONS, list(keys))).fetchall():
        book.conversations[row[0]] = Conversation(*row)


async def load_cards(tx: Tx, book: Book, ids: Iterable[UUID]) -> None:
    """Contacts that are known."""
    for row in await (await tx.run(CONTACTS, list(ids))).fetchall():
        book.contacts[row[0]] = Card(*row)


async def conversations_of(tx: Tx, requests: Iterable[UUID]) -> dict[UUID, UUID]:
    """Say which conversation each request belongs to; that never changes."""
    rows = await (await tx.run(REQUESTS, list(requests))).fetchall()
    return dict(rows)


async def authors_of(
    tx: Tx, messages: Iterable[UUID]
) -> dict[UUID, tuple[UUID | None, Asked | None]]:
    """Say who wrote these messages, and what they asked for."""
    rows = await (await tx.run(AUTHORS, list(messages))).fetchall()
    return {
        message_id: (contact, None if asked is None else Asked(**asked))
        for message_id, contact, asked in rows
    }


async def save(tx: Tx, book: Book) -> None:
    """Write what the book decided."""
    talks = [book.conversations[key] for key in book.changed if key in book.conversations]
    cards = [book.contacts[key] for key in book.changed if key in book.contacts]
    await tx.conn.execute(
        SAVE,
        {
            "cards": _json({"contact_id": c.id, **_without_id(c)} for c in cards),
            "talks": _json(_talk_row(talk) for talk in talks),
            "requests": _json(
                {"request_id": r, "conversation": c} for r, c in book.requests.items()
            ),
            "corrections": _json(
                {
                    "message_id": c.message_id,
                    "outcome": c.word,
                    "request_id": c.request_id,
                    "threaded_by": c.threaded_by,
                }
                for c in book.corrections
            ),
            "items": _json(_item_row(outcome) for outcome in book.outcomes),
        },
        prepare=True,
    )


def _json(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows)).decode()


def _without_id(card: Card) -> dict[str, Any]:
    return {key: value for key, value in asdict(card).items() if key != "id"}


def _talk_row(talk: Conversation) -> dict[str, Any]:
    return {
        "conversation": talk.key,
        "channel": talk.channel,
        "account": talk.account,
        "name": talk.name,
        "open_request": talk.open,
        "last_request": talk.last,
        "contact_id": talk.contact,
    }


def _item_row(outcome: Outcome) -> dict[str, Any]:
    arrival = outcome.arrival
    item = arrival.item
    asked = item.asked if item and outcome.first else None
    return {
        "inbound_id": arrival.inbound_id,
        "n": arrival.n,
        "slot": arrival.slot,
        "sequence": arrival.sequence,
        "channel": arrival.channel,
        "account": arrival.account,
        "received_at": arrival.received_at,
        "outcome": outcome.word,
        "first": outcome.first,
        "message_id": arrival.message_id if item else None,
        "external_id": item.external_id if item else None,
        "digest": item.digest if item else None,
        "contact_id": arrival.contact,
        "request_id": outcome.request_id,
        "reason": outcome.reason,
        "threaded_by": outcome.threaded_by,
        "asked": asdict(asked) if asked and asked != Asked() else None,
    }
