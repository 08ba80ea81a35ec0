"""What notify does with what it hears: rings bells, and writes down what customers are to get."""

from collections.abc import Callable, Sequence
from uuid import UUID

from chassis.reader import UNHURRIED, Reader
from chassis.tx import Tx
from notify import ledger, store
from notify.channels import intent_of
from notify.domain import BELL, HEARD, Notice, Request, notices, opened
from notify.ledger import Intent
from trunkline_contracts import (
    Fact,
    MessageFailed,
    MessageSent,
    NotificationSent,
    Opened,
    ReplySent,
    RequestFact,
    RequestOffered,
    TargetBreached,
    TargetWarned,
)

Expect = Callable[[int], None]
"""Told how many messages will be there to send once the transaction is committed."""


class Desk:
    """Who hears of what."""

    def __init__(self, expect: Expect) -> None:
        self._expect = expect

    async def tickets(self, tx: Tx, facts: Sequence[RequestFact]) -> None:
        """Take in a batch of the requests' history. Hearing a fact twice changes nothing."""
        requests = await store.load(tx, (fact.request_id for fact in facts))
        changed: set[UUID] = set()
        told: list[Notice] = []
        replies: list[ReplySent] = []
        for fact in facts:
            if isinstance(fact, Opened) and fact.request_id not in requests:
                requests[fact.request_id] = opened(fact)
                changed.add(fact.request_id)
                continue
            request = requests.get(fact.request_id)
            if request is None or fact.sequence <= request.sequence:
                continue
            told += notices(fact, request)
            request.fold(fact)
            changed.add(request.id)
            if isinstance(fact, ReplySent):
                replies.append(fact)
        await store.save(tx, [requests[id_] for id_ in changed])
        await self._ring(tx, told)
        await self._intend(tx, replies)

    async def others(self, tx: Tx, facts: Sequence[RequestFact]) -> None:
        """Take in offers, warnings and breaches; they may come before the request itself."""
        requests = await store.load(tx, (fact.request_id for fact in facts))
        told: list[Notice] = []
        for fact in facts:
            request: Request | None = requests.get(fact.request_id)
            if request is None:
                tx.wait(fact)
            elif not request.closed:
                told += notices(fact, request)
        await self._ring(tx, told)

    async def _ring(self, tx: Tx, told: Sequence[Notice]) -> None:
        new = await store.ring(tx, told)
        for notice in told:
            if notice.id in new:
                sent = NotificationSent(
                    time=tx.now,
                    request_id=notice.request_id,
                    notification_id=notice.id,
                    recipient=notice.recipient,
                    channel=BELL,
                    kind=notice.kind,
                )
                tx.say(sent, cause=notice.fact)

    async def _intend(self, tx: Tx, replies: Sequence[ReplySent]) -> None:
        intents = {reply.message.id: (reply, _intent(reply)) for reply in replies}
        new = await ledger.intend(tx, [intent for _, intent in intents.values()])
        for id_, (reply, intent) in intents.items():
            if id_ in new and (fact := _settled(tx, intent)) is not None:
                tx.say(fact, cause=reply)
        waiting = sum(intents[id_][1].state == "intended" for id_ in new)
        if waiting:
            self._expect(waiting)


def _intent(reply: ReplySent) -> Intent:
    state, reason = intent_of(reply.channel)
    chat = reply.conversation or reply.contact.address
    if state == "intended" and chat is None:
        state, reason = "suppressed", "the customer has no address"
    return Intent(
        reply.message.id,
        reply.request_id,
        reply.channel,
        reply.account,
        chat or "",
        reply.contact.address,
        reply.message.text if state == "intended" else None,
        state,
        reason,
        reply.by,
        reply.traceparent,
    )


def _settled(tx: Tx, intent: Intent) -> Fact | None:
    """Say at once what became of a reply that nobody has to carry."""
    now, about, id_ = tx.now, intent.request_id, intent.message_id
    if intent.state == "sent":
        return MessageSent(time=now, request_id=about, message_id=id_)
    if intent.state == "suppressed":
        return MessageFailed(time=now, request_id=about, message_id=id_, reason=intent.reason or "")
    return None


def readers(desk: Desk) -> list[Reader]:
    """What notify hears."""
    return [
        Reader("TICKETS", desk.tickets, hears=HEARD, pace=UNHURRIED),
        Reader("ROUTING", desk.others, hears=frozenset({RequestOffered})),
        Reader("SLA", desk.others, hears=frozenset({TargetWarned, TargetBreached})),
    ]
