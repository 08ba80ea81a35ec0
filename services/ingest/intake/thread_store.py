"""SQL for the message ids, mails and participants of conversations: a whole batch at once."""

from collections.abc import Sequence
from typing import LiteralString
from uuid import UUID

from chassis.messaging.transaction import Tx
from ingest.domain.threading import DuplicateMail, KnownMessageId, ThreadIndex

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
PARTICIPANTS: LiteralString = """
SELECT p.* FROM unnest(%b::uuid[]) AS g (id) CROSS JOIN LATERAL (
    SELECT conversation, contact_id FROM participant p
    WHERE p.conversation = g.id AND p.contact_id = ANY(%b::uuid[]) LIMIT 10000) p"""
SAVE_PARTICIPANTS: LiteralString = """
INSERT INTO participant SELECT * FROM unnest(%b::uuid[], %b::uuid[]) ORDER BY 1, 2
ON CONFLICT DO NOTHING"""


# A duplicate goes to the request of the first arrival, even after that was corrected.
MAILS: LiteralString = """
SELECT m.key, m.message_id, i.request_id, r.conversation FROM unnest(%b::uuid[]) AS g (key)
CROSS JOIN LATERAL (SELECT key, message_id FROM mail m WHERE m.key = g.key LIMIT 1) m
LEFT JOIN LATERAL (
    SELECT request_id FROM item i WHERE i.message_id = m.message_id AND i.first LIMIT 1) i ON true
LEFT JOIN LATERAL (
    SELECT conversation FROM request r WHERE r.request_id = i.request_id LIMIT 1) r ON true"""
SAVE_MAILS: LiteralString = """
INSERT INTO mail SELECT * FROM unnest(%b::uuid[], %b::uuid[]) ORDER BY 1 ON CONFLICT DO NOTHING"""


async def load_message_ids(tx: Tx, threads: ThreadIndex, keys: Sequence[UUID]) -> None:
    """Load the message ids that are known under these keys."""
    for key, conversation, kind, contact in await (await tx.run(LOAD, keys)).fetchall():
        threads.message_ids[key] = KnownMessageId(conversation, kind, contact)


async def load_mails(tx: Tx, threads: ThreadIndex, keys: Sequence[UUID]) -> None:
    """Load the first arrivals of mails that have arrived before."""
    for key, *mail in await (await tx.run(MAILS, keys)).fetchall():
        threads.mails[key] = DuplicateMail(*mail)


async def load_participants(
    tx: Tx, threads: ThreadIndex, conversations: Sequence[UUID], contacts: Sequence[UUID]
) -> None:
    """Load which of these contacts participate in which of these conversations."""
    rows = await (await tx.run(PARTICIPANTS, conversations, contacts)).fetchall()
    threads.participants |= {(conversation, contact) for conversation, contact in rows}


async def save(tx: Tx, threads: ThreadIndex) -> None:
    """Write new message ids, mails and participants."""
    new = {key: threads.message_ids[key] for key in threads.new_message_ids}
    if new:
        await tx.run(
            SAVE,
            list(new),
            [message_id.conversation for message_id in new.values()],
            [message_id.kind for message_id in new.values()],
            [message_id.contact for message_id in new.values()],
        )
    if threads.new_mails:
        keys = sorted(threads.new_mails)
        await tx.run(SAVE_MAILS, keys, [threads.mails[key].message_id for key in keys])
    if threads.new_participants:
        rows = sorted(threads.new_participants)
        conversations, contacts = map(list, zip(*rows, strict=True))
        await tx.run(SAVE_PARTICIPANTS, conversations, contacts)
