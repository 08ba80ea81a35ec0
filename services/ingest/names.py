"""Which message ids were seen, and where those messages belong: read and written for a batch."""

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


async def load(tx: Tx, threads: Threads, keys: Sequence[UUID]) -> None:
    """Look up message ids."""
    for key, conversation, kind, contact in await (await tx.run(LOAD, keys)).fetchall():
        threads.known[key] = Named(conversation, kind, contact)


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
