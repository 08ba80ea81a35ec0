"""E-mail threads: the title and message ids of each request, and the headers of each reply."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chassis.messaging.transaction import Tx
from trunkline_contracts import MessageAdded, Opened, ReplySent, RequestFact, TitleChanged
from trunkline_contracts.ids import acknowledgement_id

FIRST_IDS, LATEST_IDS = 1, 19
"""Message ids kept of a thread: the number from its beginning and the number from its end."""
AUTOMATIC_AUTHORS = frozenset({"rule", "timer"})
"""Authors of replies that no person wrote."""

SELECT_THREADS = (
    "SELECT request_id, title, ids, address FROM mail_threads"
    " WHERE request_id = ANY(%b::uuid[]) FOR UPDATE"
)
UPSERT_THREAD = """INSERT INTO mail_threads (request_id, title, ids, address)
    VALUES (%s, %s, %s, %s)
    ON CONFLICT (request_id) DO UPDATE SET title = EXCLUDED.title, ids = EXCLUDED.ids"""
INSERT_REPLY_HEADERS = """INSERT INTO letters (message_id, subject, ids, automatic)
    VALUES (%s, %s, %s, %s)
    ON CONFLICT (message_id) DO NOTHING"""


@dataclass(slots=True)
class Thread:
    """The thread of a request: its title, its message ids and the customer's address."""

    title: str
    ids: list[str] = field(default_factory=list)
    address: str | None = None

    def add(self, id: str | None) -> None:
        """Add a message id, and drop ids from the middle of a long thread."""
        if id is not None and id not in self.ids:
            self.ids.append(id)
            if len(self.ids) > FIRST_IDS + LATEST_IDS:
                self.ids = [*self.ids[:FIRST_IDS], *self.ids[-LATEST_IDS:]]


AUTO_SUBJECT_PREFIX = "Auto: "
"""The prefix of the subject of an automatic reply (RFC 3834, section 3.1.5)."""


@dataclass(frozen=True, slots=True)
class ReplyHeaders:
    """The headers of a reply by mail: its subject and the message ids it answers."""

    subject: str
    ids: tuple[str, ...]
    automatic: bool


def reply_headers_of(row: dict[str, Any] | None) -> ReplyHeaders | None:
    """Return the headers from a row of the table `letters`; None without a row."""
    return ReplyHeaders(row["subject"], tuple(row["ids"]), row["automatic"]) if row else None


async def apply(tx: Tx, facts: Sequence[RequestFact], acknowledged: Set[UUID]) -> None:
    """Update the threads of requests that came by mail, and save the headers of each reply.

    `acknowledged` are the requests whose first mail is acknowledged in this transaction.
    """
    relevant = [fact for fact in facts if _is_relevant(fact)]
    if not relevant:
        return
    cursor = await tx.run(SELECT_THREADS, sorted({fact.request_id for fact in relevant}))
    threads = {id: Thread(*row) for id, *row in await cursor.fetchall()}
    changed: set[UUID] = set()
    for fact in relevant:
        if isinstance(fact, Opened):
            new = Thread(fact.title or "", address=fact.contact.address)
            threads.setdefault(fact.request_id, new)
        thread = threads.get(fact.request_id)
        if thread is not None:
            changed.add(fact.request_id)
            await _apply_fact(tx, thread, fact)
            if isinstance(fact, Opened) and fact.request_id in acknowledged:
                id = acknowledgement_id(fact.message.id)
                await _add_reply(tx, thread, id, AUTO_SUBJECT_PREFIX, automatic=True)
    for id in sorted(changed):
        await tx.run(UPSERT_THREAD, id, threads[id].title, threads[id].ids, threads[id].address)


def _is_relevant(fact: RequestFact) -> bool:
    match fact:
        case Opened() | ReplySent():
            return fact.channel == "email"
        case MessageAdded():
            return (fact.message.external_id or "").startswith("<")
        case _:
            return isinstance(fact, TitleChanged)


async def _apply_fact(tx: Tx, thread: Thread, fact: RequestFact) -> None:
    match fact:
        case Opened() | MessageAdded():
            thread.add(fact.message.external_id)
        case TitleChanged():
            thread.title = fact.to
        case ReplySent():
            is_automatic = fact.by in AUTOMATIC_AUTHORS
            await _add_reply(tx, thread, fact.message.id, automatic=is_automatic)
        case _:
            pass


async def _add_reply(
    tx: Tx, thread: Thread, id: UUID, prefix: str = "", *, automatic: bool
) -> None:
    subject = f"{prefix}{thread.title}"
    await tx.run(INSERT_REPLY_HEADERS, id, subject, thread.ids, automatic)
    thread.add(str(id))
