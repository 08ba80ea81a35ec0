"""Acknowledgements: an automatic mail to a customer whose mail opened a request.

They are sent only for accounts that have a text for them. Machines, mailing lists and senders that
ask for no automatic response get none (RFC 3834, section 2; ingest detects them). A limit for each
contact and conversation ends mail loops with senders that are not recognised as machines.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import LiteralString
from uuid import UUID

from chassis.messaging.transaction import Tx
from notify.delivery.queue import ACKNOWLEDGEMENT, OutgoingMessage
from trunkline_contracts import NotificationSuppressed, Opened, RequestFact
from trunkline_contracts.ids import acknowledgement_id, conversation_key

KIND = "acknowledged"
"""The kind of notification that an acknowledgement is."""
CONTACT_INTERVAL = timedelta(hours=24)
"""The shortest time between two acknowledgements to one contact."""
MAX_PER_CONVERSATION = 3
"""Acknowledgements that one conversation gets in total."""

CONTACT_REASON = "they got one within a day"
CONVERSATION_REASON = f"their conversation has had {MAX_PER_CONVERSATION}"

# A concurrent transaction about the same contact or conversation waits for the row.
UPSERT_CONTACT: LiteralString = """INSERT INTO acknowledged_contacts AS a (contact_id, at)
    VALUES (%s, %s) ON CONFLICT (contact_id)
    DO UPDATE SET at = EXCLUDED.at WHERE a.at <= EXCLUDED.at - %s::interval"""
UPSERT_CONVERSATION: LiteralString = """INSERT INTO acknowledged_conversations AS a
    (conversation, times) VALUES (%s, 1) ON CONFLICT (conversation)
    DO UPDATE SET times = a.times + 1 WHERE a.times < %s"""

TextOf = Callable[[str], str | None]
"""Returns the acknowledgement text of a mail account; None when it sends none."""


async def acknowledge(
    tx: Tx, facts: Sequence[RequestFact], text_of: TextOf
) -> list[OutgoingMessage]:
    """Return the acknowledgements of new requests; publish a fact for each one suppressed."""
    mails = [fact for fact in facts if isinstance(fact, Opened) and _is_by_mail(fact)]
    opened = [(fact, text) for fact in mails if (text := text_of(fact.account)) is not None]
    if not opened:
        return []
    refused = await _refusals(tx, [fact for fact, _ in opened])
    messages = []
    for fact, text in opened:
        if (reason := refused.get(fact.request_id)) is not None:
            tx.record(_suppressed(tx, fact, reason), cause=fact)
        else:
            messages.append(_acknowledgement(fact, text))
    return messages


def _is_by_mail(fact: Opened) -> bool:
    return fact.channel == "email" and fact.origin == "ingest"


async def _refusals(tx: Tx, opened: Sequence[Opened]) -> dict[UUID, str]:
    """Return the reason for each request that gets no acknowledgement.

    Contacts, then conversations, are processed in sorted order so that replicas do not deadlock.
    """
    refused = {
        fact.request_id: fact.message.no_auto_response
        for fact in opened
        if fact.message.no_auto_response is not None
    }
    for fact in sorted(opened, key=lambda fact: fact.contact.id):
        if fact.request_id not in refused:
            cursor = await tx.run(UPSERT_CONTACT, fact.contact.id, tx.now, CONTACT_INTERVAL)
            if not cursor.rowcount:
                refused[fact.request_id] = CONTACT_REASON
    for fact in sorted(opened, key=_conversation):
        if fact.request_id not in refused:
            cursor = await tx.run(UPSERT_CONVERSATION, _conversation(fact), MAX_PER_CONVERSATION)
            if not cursor.rowcount:
                refused[fact.request_id] = CONVERSATION_REASON
    return refused


def _conversation(fact: Opened) -> UUID:
    name = fact.conversation or str(fact.request_id)
    return UUID(conversation_key(fact.channel, fact.account, name))


def _suppressed(tx: Tx, fact: Opened, reason: str) -> NotificationSuppressed:
    return NotificationSuppressed(
        time=tx.now,
        request_id=fact.request_id,
        recipient=str(fact.contact.id),
        channel=fact.channel,
        kind=KIND,
        why=reason,
        notification_id=acknowledgement_id(fact.message.id),
    )


def _acknowledgement(fact: Opened, text: str) -> OutgoingMessage:
    return OutgoingMessage(
        acknowledgement_id(fact.message.id),
        fact.request_id,
        fact.channel,
        fact.account,
        fact.conversation or "",
        fact.contact.address,
        text,
        "intended",
        None,
        "rule",
        fact.traceparent,
        ACKNOWLEDGEMENT,
    )
