"""Replies of operators: the message each becomes in the send ledger."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from chassis.messaging.transaction import Tx
from notify.delivery import queue
from notify.delivery.queue import OutgoingMessage
from notify.transport.channels import initial_state
from trunkline_contracts import Fact, MessageFailed, MessageSent, ReplySent
from trunkline_contracts.ids import conversation_name


async def enqueue_replies(tx: Tx, replies: Sequence[ReplySent], refused: Mapping[UUID, str]) -> int:
    """Record replies in the send ledger, and return how many have to be sent.

    `refused` holds the reason for each message that must not be sent. Publishes a fact for each
    reply that needs no attempt.
    """
    messages = {
        reply.message.id: (reply, _outgoing_message(reply, refused.get(reply.message.id)))
        for reply in replies
    }
    new = await queue.enqueue(tx, [message for _, message in messages.values()])
    for id_, (reply, message) in messages.items():
        if id_ in new and (fact := _settled_fact(tx, message)) is not None:
            tx.record(fact, cause=reply)
    return sum(messages[id_][1].state == "intended" for id_ in new)


def _outgoing_message(reply: ReplySent, refused: str | None) -> OutgoingMessage:
    """Return the message of a reply; `refused` is the reason not to send it."""
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


def _settled_fact(tx: Tx, message: OutgoingMessage) -> Fact | None:
    """Return the fact about a message that needs no attempt; None if it needs one."""
    now, request_id, id_, reason = tx.now, message.request_id, message.message_id, message.reason
    if message.state == "sent":
        return MessageSent(time=now, request_id=request_id, message_id=id_)
    if message.state == "suppressed":
        return MessageFailed(time=now, request_id=request_id, message_id=id_, reason=reason or "")
    return None
