"""Which mails and message ids were seen, where they belong, who has a part: kept by batches."""

from collections.abc import Sequence
from typing import LiteralString
from uuid import UUID

from chassis.messaging.transaction import Tx
from ingest.domain.threading import Copy, Named, Threads

LOAD: LiteralString = """
SELECT n.* FROM unnest(%b::uuid[]) AS g (key) CROSS JOIN LATERAL (
    SELECT key, conversation, kind, contact_id FROM named n WHERE n.key = g.key LIMIT 1) n"""

SAVE: LiteralString = """
INSERT INTO named AS n
SELECT * FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::uuid[]) ORDER BY 1
ON CONFLICT (key) DO UPDATE SET conversation = EXCLUDED.conversation, kind = EXCLUDED.kind,
    contact_id = EXCLUDED.contact_id
WHERE n.kind = 'mentioned' AND EXCLUDED.kind <> 'mentioned'"""

# The LIMIT keeps the planner on the index, and is more than a conversation can have.
PARTS: LiteralString = """
SELECT p.* FROM unnest(%b::uuid[]) AS g (id) CROSS JOIN LATERAL (
    SELECT conversation, contact_id FROM participant p
    WHERE p.conversation = g.id AND p.contact_id = ANY(%b::uuid[]) LIMIT 10000) p"""
JOIN: LiteralString = """
INSERT INTO participant SELECT * FROM unnest(%b::uuid[], %b::uuid[]) ORDER BY 1, 2
ON CONFLICT DO NOTHING"""


# A copy goes where the first went, also when that was corrected.
COPIES: LiteralString = """
SELECT m.key, m.message_id, i.request_id, r.conversation FROM unnest(%b::uuid[]) AS g (key)
CROSS JOIN LATERAL (SELECT key, message_id FROM mail m WHERE m.key = g.key LIMIT 1) m
LEFT JOIN LATERAL (
    SELECT request_id FROM item i WHERE i.message_id = m.message_id AND i.first LIMIT 1) i ON true
LEFT JOIN LATERAL (
    SELECT conversation FROM request r WHERE r.request_id = i.request_id LIMIT 1) r ON true"""
ARRIVE: LiteralString = """
INSERT INTO mail SELECT * FROM unnest(%b::uuid[], %b::uuid[]) ORDER BY 1 ON CONFLICT DO NOTHING"""


async def load(tx: Tx, threads: Threads, keys: Sequence[UUID]) -> None:
    """Look up message ids."""
    for key, conversation, kind, contact in await (await tx.run(LOAD, keys)).fetchall():
        threads.known[key] = Named(conversation, kind, contact)


async def load_copies(tx: Tx, threads: Threads, keys: Sequence[UUID]) -> None:
    """Look up which of these mails have arrived already."""
    for key, *told in await (await tx.run(COPIES, keys)).fetchall():
        threads.copies[key] = Copy(*told)


async def load_parts(
    tx: Tx, threads: Threads, conversations: Sequence[UUID], contacts: Sequence[UUID]
) -> None:
    """Look up which of these people have a part in which of these conversations."""
    rows = await (await tx.run(PARTS, conversations, contacts)).fetchall()
    threads.parts |= {(conversation, contact) for conversation, contact in rows}


async def save(tx: Tx, threads: Threads) -> None:
    """Remember those that are new."""
    new = {key: threads.known[key] for key in threads.learnt}
    if new:
        await tx.run(
            SAVE,
            list(new),
            [each.conversation for each in new.values()],
            [each.kind for each in new.values()],
            [each.contact for each in new.values()],
        )
    if threads.arrived:
        keys = sorted(threads.arrived)
        await tx.run(ARRIVE, keys, [threads.copies[key].message_id for key in keys])
    if threads.joined:
        rows = sorted(threads.joined)
        await tx.run(JOIN, [talk for talk, _ in rows], [contact for _, contact in rows])
