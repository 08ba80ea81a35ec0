"""Which message ids were seen, where they belong, and who has a part there: kept by batches."""

from collections.abc import Sequence
from typing import LiteralString
from uuid import UUID

from chassis.tx import Tx
from ingest.threads import Named, Threads

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


async def load(tx: Tx, threads: Threads, keys: Sequence[UUID]) -> None:
    """Look up message ids."""
    for key, conversation, kind, contact in await (await tx.run(LOAD, keys)).fetchall():
        threads.known[key] = Named(conversation, kind, contact)


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
    if threads.joined:
        rows = sorted(threads.joined)
        await tx.run(JOIN, [talk for talk, _ in rows], [contact for _, contact in rows])
