"""The acknowledgement of receipt: who begins a request by mail is told at once that it arrived.

Off unless the account has a text for it. Never to machines, to lists or to whoever asks for
silence (RFC 3834, section 2; ingest looks for the signs), and seldom to anybody, so that no loop
goes on even where its other end cannot be told from a person.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import LiteralString
from uuid import UUID

from chassis.messaging.transaction import Tx
from notify.delivery.queue import ACKNOWLEDGEMENT, Intent
from trunkline_contracts import NotificationSuppressed, Opened, RequestFact
from trunkline_contracts.ids import acknowledgement_id, conversation_key

KIND = "acknowledged"
"""What the customer is told, as notifications name it."""
REST = timedelta(hours=24)
"""How long somebody who was told is told nothing more."""
MOST = 3
"""Acknowledgements in one conversation, ever."""

TOLD = "they were told within a day"
ENOUGH = f"their conversation has had {MOST}"

# Each waits for whoever decides about the same person, or conversation, at the same time.
OF_CONTACT: LiteralString = """INSERT INTO acknowledged_contacts AS a (contact_id, at)
    VALUES (%s, %s) ON CONFLICT (contact_id)
    DO UPDATE SET at = EXCLUDED.at WHERE a.at <= EXCLUDED.at - %s::interval"""
OF_CONVERSATION: LiteralString = """INSERT INTO acknowledged_conversations AS a
    (conversation, times) VALUES (%s, 1) ON CONFLICT (conversation)
    DO UPDATE SET times = a.times + 1 WHERE a.times < %s"""

TextOf = Callable[[str], str | None]
"""Gives what a mail account acknowledges with; None when it does not."""


async def hear(tx: Tx, facts: Sequence[RequestFact], text_of: TextOf) -> list[Intent]:
    """Give what is to be sent for requests that have just begun; say for which nothing is."""
    mails = [fact for fact in facts if isinstance(fact, Opened) and _by_mail(fact)]
    begun = [(fact, text) for fact in mails if (text := text_of(fact.account)) is not None]
    if not begun:
        return []
    refused = await _refused(tx, [fact for fact, _ in begun])
    intents = []
    for fact, text in begun:
        if (why := refused.get(fact.request_id)) is not None:
            tx.record(_suppressed(tx, fact, why), cause=fact)
        else:
            intents.append(_intent(fact, text))
    return intents


def _by_mail(fact: Opened) -> bool:
    return fact.channel == "email" and fact.origin == "ingest"


async def _refused(tx: Tx, begun: Sequence[Opened]) -> dict[UUID, str]:
    """Say for which requests the customer is told nothing, and why.

    In one order of people, and one of conversations, so that replicas wait for each other only.
    """
    refused = {
        fact.request_id: fact.message.no_auto_response
        for fact in begun
        if fact.message.no_auto_response is not None
    }
    for fact in sorted(begun, key=lambda fact: fact.contact.id):
        if fact.request_id not in refused:
            cursor = await tx.run(OF_CONTACT, fact.contact.id, tx.now, REST)
            if not cursor.rowcount:
                refused[fact.request_id] = TOLD
    for fact in sorted(begun, key=_conversation):
        if fact.request_id not in refused:
            cursor = await tx.run(OF_CONVERSATION, _conversation(fact), MOST)
            if not cursor.rowcount:
                refused[fact.request_id] = ENOUGH
    return refused


def _conversation(fact: Opened) -> UUID:
    name = fact.conversation or str(fact.request_id)
    return UUID(conversation_key(fact.channel, fact.account, name))


def _suppressed(tx: Tx, fact: Opened, why: str) -> NotificationSuppressed:
    return NotificationSuppressed(
        time=tx.now,
        request_id=fact.request_id,
        recipient=str(fact.contact.id),
        channel=fact.channel,
        kind=KIND,
        why=why,
        notification_id=acknowledgement_id(fact.message.id),
    )


def _intent(fact: Opened, text: str) -> Intent:
    return Intent(
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
