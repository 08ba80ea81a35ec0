"""What notify remembers of mail: each thread's title and ids, and what each answer answers."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chassis.messaging.transaction import Tx
from trunkline_contracts import MessageAdded, Opened, ReplySent, RequestFact, TitleChanged
from trunkline_contracts.ids import acknowledgement_id

FIRST, LATEST = 1, 19
"""Message ids of a thread that are kept: as many from its beginning, as many from its end."""
AUTOMATIC = frozenset({"rule", "timer"})
"""Who answers without a person."""

THREADS = (
    "SELECT request_id, title, ids, address FROM mail_threads"
    " WHERE request_id = ANY(%b::uuid[]) FOR UPDATE"
)
SAVE_THREAD = """INSERT INTO mail_threads (request_id, title, ids, address)
    VALUES (%s, %s, %s, %s)
    ON CONFLICT (request_id) DO UPDATE SET title = EXCLUDED.title, ids = EXCLUDED.ids"""
SAVE_LETTER = """INSERT INTO letters (message_id, subject, ids, automatic) VALUES (%s, %s, %s, %s)
    ON CONFLICT (message_id) DO NOTHING"""


@dataclass(slots=True)
class Thread:
    """A request's mails."""

    title: str
    ids: list[str] = field(default_factory=list)
    address: str | None = None
    """The customer's."""

    def add(self, id: str | None) -> None:
        """Another mail was written."""
        if id is not None and id not in self.ids:
            self.ids.append(id)
            if len(self.ids) > FIRST + LATEST:
                self.ids = [*self.ids[:FIRST], *self.ids[-LATEST:]]


AUTO = "Auto: "
"""How the subject of what a machine answers may begin (RFC 3834, 3.1.5)."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What an answer by mail says besides its text."""

    subject: str
    ids: tuple[str, ...]
    automatic: bool


def letter_of(row: dict[str, Any] | None) -> Letter | None:
    """Read a letter as the ledger gives it along."""
    return Letter(row["subject"], tuple(row["ids"]), row["automatic"]) if row else None


async def hear(tx: Tx, facts: Sequence[RequestFact], acknowledged: Set[UUID]) -> None:
    """Follow the threads of requests that came by mail, and write down what each answer answers.

    `acknowledged` are the requests whose first mail is answered at once, too.
    """
    ours = [fact for fact in facts if _concerns(fact)]
    if not ours:
        return
    cursor = await tx.run(THREADS, sorted({fact.request_id for fact in ours}))
    threads = {id: Thread(*told) for id, *told in await cursor.fetchall()}
    changed: set[UUID] = set()
    for fact in ours:
        if isinstance(fact, Opened):
            begun = Thread(fact.title or "", address=fact.contact.address)
            threads.setdefault(fact.request_id, begun)
        thread = threads.get(fact.request_id)
        if thread is not None:
            changed.add(fact.request_id)
            await _follow(tx, thread, fact)
            if isinstance(fact, Opened) and fact.request_id in acknowledged:
                await _answer(tx, thread, acknowledgement_id(fact.message.id), AUTO, automatic=True)
    for id in sorted(changed):
        await tx.run(SAVE_THREAD, id, threads[id].title, threads[id].ids, threads[id].address)


def _concerns(fact: RequestFact) -> bool:
    match fact:
        case Opened() | ReplySent():
            return fact.channel == "email"
        case MessageAdded():
            return (fact.message.external_id or "").startswith("<")
        case _:
            return isinstance(fact, TitleChanged)


async def _follow(tx: Tx, thread: Thread, fact: RequestFact) -> None:
    match fact:
        case Opened() | MessageAdded():
            thread.add(fact.message.external_id)
        case TitleChanged():
            thread.title = fact.to
        case ReplySent():
            await _answer(tx, thread, fact.message.id, automatic=fact.by in AUTOMATIC)
        case _:
            pass


async def _answer(tx: Tx, thread: Thread, id: UUID, prefix: str = "", *, automatic: bool) -> None:
    await tx.run(SAVE_LETTER, id, f"{prefix}{thread.title}", thread.ids, automatic)
    thread.add(str(id))
