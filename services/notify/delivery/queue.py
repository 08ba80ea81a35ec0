"""The send ledger: what is meant to be sent, who attempts it, and what came of it.

Claiming is by lease on PostgreSQL's clock, rows locked by somebody else are skipped, and a chat's
next message is claimed only when nothing before it is open: order holds with any number of
replicas. An outcome counts only while its lease is the row's, so a replica that was frozen changes
nothing. Long: it holds every statement of a sending, in their order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from chassis.messaging.transaction import Tx
from notify.domain.retry import NextStep
from notify.email.threads import ReplyHeaders, reply_headers_of

REPLY, ACKNOWLEDGEMENT = "reply", "acknowledgement"
"""What is sent: an answer of the request's history, or that a mail was received."""

INSERT_MESSAGES = """INSERT INTO sends (message_id, request_id, channel, account, chat, address, text, state,
        next_at, reason, by_operator, traceparent, kind, settled_at)
    SELECT id, request_id, channel, account, chat, address, text, state,
        CASE WHEN state = 'intended' THEN now() END, reason, by_operator, traceparent, kind,
        CASE WHEN state <> 'intended' THEN now() END
    FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
            %b::text[], %b::text[], %b::text[], %b::text[], %b::text[]) WITH ORDINALITY AS u (id,
            request_id, channel, account, chat, address, text, state, reason, by_operator,
            traceparent, kind, n)
    ORDER BY n
    ON CONFLICT (message_id) DO NOTHING RETURNING message_id"""

# Accounts that have something open are found by skipping along the index from one to the next. What
# is claimed is updated by its ids, for nobody can guess how much that is: a join would read it all.
CLAIM_MESSAGES = """WITH RECURSIVE accounts AS (
        (SELECT channel, account FROM sends WHERE next_at IS NOT NULL
            ORDER BY channel, account LIMIT 1)
        UNION ALL
        SELECT n.channel, n.account FROM accounts a, LATERAL (
            SELECT s.channel, s.account FROM sends s
            WHERE s.next_at IS NOT NULL AND (s.channel, s.account) > (a.channel, a.account)
            ORDER BY s.channel, s.account LIMIT 1) n),
    rooms AS (
        SELECT a.channel, a.account, %s::integer - coalesce(b.under_way, 0) AS room
        FROM accounts a LEFT JOIN unnest(%b::text[], %b::text[], %b::integer[])
            AS b (channel, account, under_way) USING (channel, account)
        WHERE NOT EXISTS (SELECT 1 FROM exits x
            WHERE x.channel = a.channel AND x.account = a.account AND x.shut_until > now())),
    ready AS (
        SELECT r.message_id, r.state FROM rooms o, LATERAL (
            SELECT s.message_id, s.state FROM sends s
            WHERE s.channel = o.channel AND s.account = o.account AND s.next_at <= now()
              AND NOT EXISTS (SELECT 1 FROM sends e
                    WHERE e.channel = s.channel AND e.account = s.account
                        AND e.chat = s.chat AND e.turn < s.turn AND e.next_at IS NOT NULL)
            ORDER BY s.next_at LIMIT greatest(o.room, 0) FOR UPDATE OF s SKIP LOCKED) r)
    UPDATE sends s SET state = 'sending', lease = %s, attempts = s.attempts + 1,
        next_at = now() + %s * interval '1 second'
    WHERE s.message_id = ANY(ARRAY(SELECT message_id FROM ready))
    RETURNING s.message_id, s.request_id, s.channel, s.account, s.chat, s.address,
        coalesce(s.text, ''), s.attempts, extract(epoch FROM now() - s.created_at)::float8,
        (SELECT r.state = 'sending' FROM ready r WHERE r.message_id = s.message_id),
        s.traceparent, s.lease,
        (SELECT row_to_json(l) FROM letters l WHERE l.message_id = s.message_id), s.kind,
        s.doubts"""

SETTLE_MESSAGES = """UPDATE sends s SET state = o.state, lease = NULL, reason = o.reason,
        next_at = now() + o.delay * interval '1 second',
        platform_id = coalesce(o.platform_id, s.platform_id), chat = coalesce(o.chat, s.chat),
        text = CASE WHEN o.state = 'sent' THEN NULL ELSE s.text END,
        doubts = s.doubts + o.doubted::integer,
        settled_at = CASE WHEN o.delay IS NULL THEN now() END
    FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::float8[], %b::text[], %b::text[],
        %b::text[], %b::bool[]) AS o (id, lease, state, delay, platform_id, reason, chat, doubted)
    WHERE s.message_id = o.id AND s.lease = o.lease RETURNING s.message_id"""

SUSPEND_ACCOUNT = """INSERT INTO exits AS x (channel, account, shut_until, reason)
    VALUES (%s, %s, now() + %s * interval '1 second', %s)
    ON CONFLICT (channel, account) DO UPDATE
        SET shut_until = greatest(x.shut_until, EXCLUDED.shut_until), reason = EXCLUDED.reason"""

SELECT_MESSAGES = """SELECT message_id, channel, account, state, attempts, platform_id, reason, created_at,
        settled_at, kind FROM sends WHERE request_id = %s ORDER BY turn LIMIT 500"""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message somebody wants the customer to have."""

    message_id: UUID
    request_id: UUID
    channel: str
    account: str
    chat: str
    address: str | None
    """The customer, where that is not the chat itself."""
    text: str | None
    state: str
    reason: str | None
    by: str
    traceparent: str | None
    kind: str = REPLY


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message claimed for sending."""

    message_id: UUID
    request_id: UUID
    channel: str
    account: str
    chat: str
    address: str | None
    text: str
    attempts: int
    age: float
    abandoned: bool
    """The attempt before this one was never settled: its outcome is unknown."""
    traceparent: str | None
    lease: UUID
    reply_headers: ReplyHeaders | None = None
    """What it says besides its text, by mail."""
    kind: str = REPLY
    possible_duplicates: int = 0
    """How many copies of it there may be already."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What came of an attempt."""

    attempt: ClaimedMessage
    next: NextStep
    suspended_s: float | None = None
    """Seconds for which nothing can be sent through this account."""
    finished_at: float = 0.0
    """By the monotonic clock of whoever found it out."""

    def without_external_text(self) -> "AttemptResult":
        """Give it without what was told by others: that it was sent, or not, is kept."""
        plain = replace(self.next, platform_id=None, reason=None, chat=None)
        return replace(self, next=plain)


async def enqueue(tx: Tx, intents: Sequence[OutgoingMessage]) -> set[UUID]:
    """Write intents down; gives those that are new."""
    if not intents:
        return set()
    rows = [
        (
            i.message_id,
            i.request_id,
            i.channel,
            i.account,
            i.chat,
            i.address,
            i.text,
            i.state,
            i.reason,
            i.by,
            i.traceparent,
            i.kind,
        )
        for i in intents
    ]
    return {row[0] for row in await (await tx.run(INSERT_MESSAGES, *_columns(rows))).fetchall()}


async def claim(
    tx: Tx, at_once: int, under_way: Mapping[tuple[str, str], int], lease: float
) -> list[ClaimedMessage]:
    """Claim what may be sent now; after `lease` seconds somebody else may attempt it again.

    `at_once` is how many attempts an account may have, some of which are `under_way`.
    """
    busy = [(*account, number) for account, number in under_way.items() if number]
    columns = _columns(busy) if busy else [[], [], []]
    cursor = await tx.run(CLAIM_MESSAGES, at_once, *columns, uuid4(), lease)
    rows = await cursor.fetchall()
    told: list[list[Any]] = [[*row[:12], reply_headers_of(row[12]), *row[13:]] for row in rows]
    return [ClaimedMessage(*row) for row in told]


async def settle(tx: Tx, verdicts: Sequence[AttemptResult]) -> list[AttemptResult]:
    """Record outcomes; gives those that counted, because their lease still held."""
    rows = [
        (
            v.attempt.message_id,
            v.attempt.lease,
            v.next.state,
            v.next.delay,
            v.next.platform_id,
            v.next.reason,
            v.next.chat,
            v.next.possible_duplicate,
        )
        for v in verdicts
    ]
    held = {row[0] for row in await (await tx.run(SETTLE_MESSAGES, *_columns(rows))).fetchall()}
    for channel, account, seconds, reason in sorted(
        (v.attempt.channel, v.attempt.account, v.suspended_s, v.next.reason or "")
        for v in verdicts
        if v.suspended_s is not None
    ):
        await tx.run(SUSPEND_ACCOUNT, channel, account, seconds, reason)
    return [v for v in verdicts if v.attempt.message_id in held]


async def messages_of(tx: Tx, request_id: UUID) -> list[dict[str, Any]]:
    """Give what became of a request's replies."""
    names = (
        "id",
        "channel",
        "account",
        "state",
        "attempts",
        "platform_id",
        "reason",
        "at",
        "settled_at",
        "kind",
    )
    rows = await (await tx.run(SELECT_MESSAGES, request_id)).fetchall()
    return [{"what": "message", **dict(zip(names, row, strict=True))} for row in rows]


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
