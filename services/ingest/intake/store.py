"""What ingest remembers: read and written for a whole batch at once, under its locks.

Long: it holds every statement of that transaction, in their order.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, LiteralString
from uuid import UUID

import orjson

from chassis.messaging.transaction import Tx
from chassis.postgres.locks import lock_key
from ingest.domain.inbound_item import Arrival, First, Outcome
from ingest.domain.intake_batch import Book, Card, Conversation
from ingest.domain.items import Asked
from ingest.domain.references import counted_in
from ingest.gateway.envelope import again_id

LOCK: LiteralString = "SELECT count(pg_advisory_xact_lock(k)) FROM unnest(%b::bigint[]) AS k"

# The LIMITs keep the planner on the indexes, however small the tables were when it looked.
FIRST: LiteralString = """
    SELECT message_id, digest, request_id FROM item i
    WHERE i.message_id = g.message AND i.first LIMIT 1"""
CONVERSATION: LiteralString = """
    SELECT conversation, channel, account, name, open_request, last_request, contact_id, by_machine
    FROM conversation c WHERE c.conversation = g.conversation LIMIT 1"""
CONTACT: LiteralString = """
    SELECT contact_id, channel, account, address, name, language, email, phone
    FROM contact c WHERE c.contact_id = g.contact LIMIT 1"""
WAITED: LiteralString = """
    (SELECT true FROM early_name w WHERE w.name = g.name ORDER BY w.inbound_id LIMIT 1)"""
BANS: LiteralString = "SELECT version FROM ban_version WHERE id = 1 LIMIT 1"
KNOWN: LiteralString = (
    "SELECT f.*, c.*, p.*," + WAITED + ", (" + BANS + ")"  # noqa: S608 (literals)
    " FROM unnest(%b::uuid[], %b::uuid[], %b::uuid[], %b::uuid[])"
    " AS g (message, conversation, contact, name)"
    " LEFT JOIN LATERAL (" + FIRST + ") f ON true"
    " LEFT JOIN LATERAL (" + CONVERSATION + ") c ON true"
    " LEFT JOIN LATERAL (" + CONTACT + ") p ON true"
)
EACH: LiteralString = "SELECT x.* FROM unnest(%b::uuid[]) AS g "
FIRSTS: LiteralString = EACH + "(message) CROSS JOIN LATERAL (" + FIRST + ") x"
CONVERSATIONS: LiteralString = EACH + "(conversation) CROSS JOIN LATERAL (" + CONVERSATION + ") x"
CONTACTS: LiteralString = EACH + "(contact) CROSS JOIN LATERAL (" + CONTACT + ") x"
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

# One statement, so one round trip: parts without rows cost nothing.
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


# At another sequence, or at this one when INBOUND still had other messages.
REPEATED: LiteralString = """
SELECT v.sequence, v.n, (SELECT max(number) FROM inbound_epoch)
FROM json_populate_recordset(NULL::item, %s) v
JOIN item i ON i.inbound_id = v.inbound_id AND i.n = v.n
LEFT JOIN inbound_epoch e ON e.number = i.epoch
WHERE i.sequence <> v.sequence OR i.sequence > e.kept"""


async def lock(tx: Tx, keys: Iterable[UUID]) -> None:
    """Hold conversations and messages until the transaction ends; always before they are read.

    A row that is not there yet cannot be locked, so their keys are, in one order for all.
    """
    numbers = sorted({lock_key("key", f"ingest/{key}") for key in keys})
    await tx.run(LOCK, numbers)


async def look_up(tx: Tx, book: Book, arrivals: Sequence[Arrival]) -> None:
    """Put what is known of these arrivals into the book, in one round trip."""
    read = [arrival for arrival in arrivals if arrival.item is not None]
    wanted = (
        [a.message_id for a in read],
        [a.conversation for a in read],
        [a.contact for a in read],
        [a.name for a in read],
    )
    for row in await (await tx.run(KNOWN, *wanted)).fetchall():
        message_id, digest, request_id, *rest, early, book.bans_seen = row
        book.waited_for = bool(book.waited_for or early)
        if message_id is not None:
            book.firsts[message_id] = First(digest, request_id)
        if rest[0] is not None:
            book.conversations.setdefault(rest[0], Conversation(*rest[:8]))
        if rest[8] is not None:
            book.contacts[rest[8]] = Card(*rest[8:])
    silent = {talk.contact for talk in _talks_of_silent(book, read) if talk.contact}
    if unknown := silent - book.contacts.keys():
        await load_cards(tx, book, unknown)
    again = {arrival.again for arrival in read if _differs(book, arrival) and arrival.again}
    if again:
        await load_firsts(tx, book, again)


def _talks_of_silent(book: Book, arrivals: Sequence[Arrival]) -> Iterator[Conversation]:
    """Give the conversations of arrivals that do not say who wrote."""
    for arrival in arrivals:
        if arrival.contact is None and arrival.conversation in book.conversations:
            yield book.conversations[arrival.conversation]


def _differs(book: Book, arrival: Arrival) -> bool:
    first = book.firsts.get(arrival.message_id)
    return first is not None and arrival.item is not None and first.digest != arrival.item.digest


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


async def conversations_of(
    tx: Tx, requests: Iterable[UUID]
) -> tuple[dict[UUID, UUID], dict[UUID, UUID]]:
    """Say to which conversation each request belongs, and in what its messages are numbered.

    That never changes.
    """
    rows = await (await tx.run(REQUESTS, list(requests))).fetchall()
    counted = {
        id: key if name is None else counted_in(channel, account, name)
        for id, key, channel, account, name in rows
    }
    return {id: key for id, key, *_ in rows}, counted


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
    corrections = (
        {
            "message_id": each.message_id,
            "outcome": each.word,
            "request_id": each.request_id,
            "threaded_by": each.threaded_by,
        }
        for each in book.corrections
    )
    rows = map(_item_row, reversed(book.outcomes))  # of two of one id the first stays
    items = {(row["inbound_id"], row["n"]): row for row in rows}
    written = await tx.run(
        SAVE,
        _json({"contact_id": card.id, **_without_id(card)} for card in cards),
        _json(_talk_row(talk) for talk in talks),
        _json({"request_id": id, "conversation": key} for id, key in book.requests.items()),
        _json(corrections),
        _json(items.values()),
    )
    if written.rowcount < len(book.outcomes):
        await _save_repeated(tx, book)


async def _save_repeated(tx: Tx, book: Book) -> None:
    """What the broker took a second time is a delivery of its own: in the books, under a new id."""
    rows = [_item_row(outcome) for outcome in book.outcomes]
    found = await (await tx.run(REPEATED, _json(rows))).fetchall()
    again = {(sequence, n): epoch or 0 for sequence, n, epoch in found}
    repeated = [row for row in rows if (row["sequence"], row["n"]) in again]
    for row in repeated:
        epoch = again[row["sequence"], row["n"]]
        row["inbound_id"] = again_id(row["inbound_id"], epoch, row["sequence"])
        row["first"] = False
    await tx.run(SAVE, "[]", "[]", "[]", "[]", _json(repeated))


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
        "by_machine": talk.by_machine,
    }


def _item_row(outcome: Outcome) -> dict[str, Any]:
    arrival = outcome.arrival
    item = arrival.item
    asked = outcome.asked if outcome.first else None
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
        "chunks": arrival.chunks,
        "platform": arrival.platform if outcome.first else None,
    }
