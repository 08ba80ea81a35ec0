"""What notify does with what it hears: rings bells, and writes down what customers are to get.

Long, as it hears every stream.
"""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from chassis.messaging.message import Incoming
from chassis.messaging.reader import UNHURRIED, Reader, read_fact
from chassis.messaging.transaction import Tx
from notify import collapsing, store
from notify.delivery import queue
from notify.delivery.queue import OutgoingMessage
from notify.domain.notifications import BELL, Notification, notifications
from notify.domain.recipients import CONSUMED_FACTS, NO_GROUP, Group
from notify.domain.request import Request, new_request
from notify.email import acknowledgements, suppressions, threads
from notify.transport.channels import initial_state
from notify.webhooks.planner import DeliveryPlanner
from trunkline_contracts import (
    BY_NAME,
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
from trunkline_contracts.ids import conversation_name

NOTIFYING_FACTS = (RequestOffered, TargetWarned, TargetBreached)
"""What is told of other streams' facts."""
CONSUMED_NAMES = frozenset(
    {fact.name() for fact in CONSUMED_FACTS} | {fact.name() for fact in NOTIFYING_FACTS}
)

GroupOf = Callable[[str | None, str], Group]
"""Returns a group with its operators; the topic's own where no group is known."""

NotifyPending = Callable[[int], None]
"""Told how many messages will be there to send once the transaction is committed."""


class FactHandlers:
    """Who hears of what."""

    def __init__(
        self,
        expect: NotifyPending,
        intake: DeliveryPlanner,
        group_of: GroupOf,
        text_of: acknowledgements.TextOf,
    ) -> None:
        self._notify_pending = expect
        self._intake = intake
        self._group_of = group_of
        self._text_of = text_of

    def parse(self, item: Incoming) -> Fact | None:
        """Read what somebody here acts on, or a webhook wants; nothing else is looked at."""
        ours = item.type in CONSUMED_NAMES or (
            item.type in BY_NAME and self._intake.may_be_wanted(item)
        )
        return read_fact(item) if ours else None

    async def on_ticket_facts(self, tx: Tx, heard: Sequence[Fact]) -> None:
        """Take in a batch of the requests' history. Hearing a fact twice changes nothing."""
        await self._tickets(
            tx, [f for f in heard if isinstance(f, RequestFact) and type(f) in CONSUMED_FACTS]
        )
        await self._intake.intend(tx, heard)

    async def _tickets(self, tx: Tx, facts: Sequence[RequestFact]) -> None:
        requests = await store.load(tx, (fact.request_id for fact in facts))
        changed: set[UUID] = set()
        told: list[Notification] = []
        replies: list[ReplySent] = []
        news: list[RequestFact] = []
        for fact in facts:
            if isinstance(fact, Opened) and fact.request_id not in requests:
                requests[fact.request_id] = new_request(fact)
                changed.add(fact.request_id)
                news.append(fact)
                continue
            request = requests.get(fact.request_id)
            if request is None or fact.sequence <= request.sequence:
                continue
            told += notifications(fact, request)
            request.apply(fact)
            changed.add(request.id)
            news.append(fact)
            if isinstance(fact, ReplySent):
                replies.append(fact)
        await store.save(tx, [requests[id_] for id_ in changed])
        refused = await suppressions.apply(tx, news)
        receipts = await acknowledgements.acknowledge(tx, news, self._text_of)
        await threads.apply(tx, news, {each.request_id for each in receipts})
        await self._ring(tx, told)
        self._notify_pending(len(await queue.enqueue(tx, receipts)))
        await self._intend(tx, replies, refused)

    async def on_other_facts(self, tx: Tx, heard: Sequence[Fact]) -> None:
        """Take in offers, warnings and breaches; they may come before the request itself."""
        facts = [f for f in heard if isinstance(f, RequestFact) and isinstance(f, NOTIFYING_FACTS)]
        requests = await store.load(tx, (fact.request_id for fact in facts))
        told: list[Notification] = []
        early: set[UUID] = set()
        for fact in facts:
            request: Request | None = requests.get(fact.request_id)
            if request is None:
                early.add(fact.request_id)
            elif not request.closed:
                told += notifications(fact, request, self._group_to_notify(fact, request))
        for other in heard:
            if isinstance(other, RequestFact) and other.request_id in early:
                tx.wait(other)
        await self._ring(tx, told)
        await self._intake.intend(tx, heard)

    def _group_to_notify(self, fact: Fact, request: Request) -> Group:
        """Return the group that is told of a promise while the request has no assignee."""
        if request.assignee is not None or isinstance(fact, RequestOffered):
            return NO_GROUP
        return self._group_of(request.team, request.topic)

    async def _ring(self, tx: Tx, told: Sequence[Notification]) -> None:
        """Ring bells; `notification_sent` is published for each new one, not for raised counts."""
        personal = [notice for notice in told if notice.group is None]
        new = await store.ring(tx, personal)
        new |= await collapsing.ring(tx, [notice for notice in told if notice.group is not None])
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

    async def _intend(
        self, tx: Tx, replies: Sequence[ReplySent], refused: Mapping[UUID, str]
    ) -> None:
        intents = {
            reply.message.id: (reply, outgoing_message(reply, refused.get(reply.message.id)))
            for reply in replies
        }
        new = await queue.enqueue(tx, [intent for _, intent in intents.values()])
        for id_, (reply, intent) in intents.items():
            if id_ in new and (fact := settled_fact(tx, intent)) is not None:
                tx.say(fact, cause=reply)
        waiting = sum(intents[id_][1].state == "intended" for id_ in new)
        if waiting:
            self._notify_pending(waiting)


def outgoing_message(reply: ReplySent, refused: str | None) -> OutgoingMessage:
    state, reason = initial_state(reply.channel) if refused is None else ("suppressed", refused)
    chat = conversation_name(reply.request_id, reply.channel, reply.conversation, reply.contact)
    if state == "intended" and reply.conversation is None and reply.contact.address is None:
        state, reason = "suppressed", "the customer has no address"
    return OutgoingMessage(
        reply.message.id,
        reply.request_id,
        reply.channel,
        reply.account,
        chat,
        reply.contact.answer_to or reply.contact.address,
        reply.message.text if state == "intended" else None,
        state,
        reason,
        reply.by,
        reply.traceparent,
    )


def settled_fact(tx: Tx, intent: OutgoingMessage) -> Fact | None:
    """Say at once what became of a reply that nobody has to carry."""
    now, about, id_ = tx.now, intent.request_id, intent.message_id
    if intent.state == "sent":
        return MessageSent(time=now, request_id=about, message_id=id_)
    if intent.state == "suppressed":
        return MessageFailed(time=now, request_id=about, message_id=id_, reason=intent.reason or "")
    return None


def readers(desk: FactHandlers) -> list[Reader]:
    """What notify hears."""
    return [
        Reader("TICKETS", desk.on_ticket_facts, parse=desk.parse, pace=UNHURRIED),
        Reader("ROUTING", desk.on_other_facts, parse=desk.parse),
        Reader("SLA", desk.on_other_facts, parse=desk.parse),
    ]
