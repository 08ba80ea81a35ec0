"""The SQL of the send ledger: outgoing messages, their claims and their outcomes.

Messages are claimed by a lease on PostgreSQL's clock, and rows that another replica has locked are
skipped. The next message of a chat is claimed only when no earlier one is open, so that order holds
with any number of replicas. An outcome is recorded only while its lease is the row's, so that a
replica that was frozen changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from chassis.messaging.transaction import Tx
from chassis.postgres.columns import columns
from notify.domain.retry import NextStep
from notify.email.threads import ReplyHeaders, reply_headers_of

REPLY, ACKNOWLEDGEMENT = "reply", "acknowledgement"
"""The kinds of messages: a reply of the request, or the acknowledgement of a mail."""

INSERT_MESSAGES = """
    INSERT INTO sends (message_id, request_id, channel, account, chat, address, text, state,
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

# Accounts with open messages are found by skipping along the index from one account to the next.
# Claimed rows are updated by their ids: for a join, PostgreSQL cannot estimate their number, and
# reads the whole table.
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

SELECT_MESSAGES = """SELECT message_id, channel, account, state, attempts, platform_id, reason,
        created_at, settled_at, kind FROM sends WHERE request_id = %s ORDER BY turn LIMIT 500"""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to a customer that is to be recorded."""

    message_id: UUID
    request_id: UUID
    channel: str
    account: str
    chat: str
    address: str | None
    """The customer's address, when it is not the chat itself."""
    text: str | None
    state: str
    reason: str | None
    by: str
    traceparent: str | None
    kind: str = REPLY


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message claimed by this replica, to be attempted once."""

    message_id: UUID
    request_id: UUID
    channel: str
    account: str
    chat: str
    address: str | None
    text: str
    attempts: int
    age: float
    """Seconds since the message was recorded."""
    abandoned: bool
    """Whether the previous attempt was never settled, so that its outcome is unknown."""
    traceparent: str | None
    lease: UUID
    reply_headers: ReplyHeaders | None = None
    """Subject and message ids; only of mails."""
    kind: str = REPLY
    possible_duplicates: int = 0
    """Attempts after which the customer may have received the message."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of an attempt: the next step of the message, and of its account."""

    attempt: ClaimedMessage
    next: NextStep
    suspended_s: float | None = None
    """Seconds for which nothing can be sent through the account; None if it stays in use."""
    finished_at: float = 0.0
    """The end of the attempt on this replica's monotonic clock, in seconds."""

    def without_external_text(self) -> "AttemptResult":
        """Return the result without the platform's texts, but with the state."""
        plain = replace(self.next, platform_id=None, reason=None, chat=None)
        return replace(self, next=plain)


async def enqueue(tx: Tx, messages: Sequence[OutgoingMessage]) -> set[UUID]:
    """Record messages, and return the ids of those that are new."""
    if not messages:
        return set()
    rows = [
        (
            m.message_id,
            m.request_id,
            m.channel,
            m.account,
            m.chat,
            m.address,
            m.text,
            m.state,
            m.reason,
            m.by,
            m.traceparent,
            m.kind,
        )
        for m in messages
    ]
    return {row[0] for row in await (await tx.run(INSERT_MESSAGES, *columns(rows))).fetchall()}


async def claim(
    tx: Tx, max_attempts: int, under_way: Mapping[tuple[str, str], int], lease: float
) -> list[ClaimedMessage]:
    """Claim the messages that are due; other replicas may claim them again after `lease` seconds.

    Each account, a pair of channel and name, may have `max_attempts` attempts at a time; those
    `under_way` count.
    """
    busy = [(*account, number) for account, number in under_way.items() if number]
    parameters = columns(busy) if busy else [[], [], []]
    cursor = await tx.run(CLAIM_MESSAGES, max_attempts, *parameters, uuid4(), lease)
    rows: list[list[Any]] = [
        [*row[:12], reply_headers_of(row[12]), *row[13:]] for row in await cursor.fetchall()
    ]
    return [ClaimedMessage(*row) for row in rows]


async def settle(tx: Tx, results: Sequence[AttemptResult]) -> list[AttemptResult]:
    """Record results, and return those that took effect because their lease still held."""
    rows = [
        (
            r.attempt.message_id,
            r.attempt.lease,
            r.next.state,
            r.next.delay,
            r.next.platform_id,
            r.next.reason,
            r.next.chat,
            r.next.possible_duplicate,
        )
        for r in results
    ]
    held = {row[0] for row in await (await tx.run(SETTLE_MESSAGES, *columns(rows))).fetchall()}
    for channel, account, seconds, reason in sorted(
        (r.attempt.channel, r.attempt.account, r.suspended_s, r.next.reason or "")
        for r in results
        if r.suspended_s is not None
    ):
        await tx.run(SUSPEND_ACCOUNT, channel, account, seconds, reason)
    return [r for r in results if r.attempt.message_id in held]


async def messages_of(tx: Tx, request_id: UUID) -> list[dict[str, Any]]:
    """Return the messages of a request with their states."""
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
