"""Apply facts of the tickets service to conversations: opened, closed, returned and answered."""

from collections.abc import Iterable, Mapping
from typing import TypeGuard
from uuid import UUID

from ingest.domain.intake_batch import ContactRecord, Conversation, Correction, IntakeBatch
from ingest.domain.items import RequestAttributes
from ingest.domain.message_keys import message_key
from trunkline_contracts import Closed, DeliveryRecorded, MessageReturned, Opened, ReplySent
from trunkline_contracts.ids import conversation_key, conversation_name

TicketFact = Opened | Closed | MessageReturned | ReplySent | DeliveryRecorded
OwnMessageFact = ReplySent | DeliveryRecorded
Author = tuple[UUID | None, RequestAttributes | None]
"""The contact who wrote a message, and the request attributes it came with."""


def apply_facts(
    batch: IntakeBatch,
    facts: Iterable[TicketFact],
    conversations: Mapping[UUID, UUID],
    authors: Mapping[UUID, Author],
) -> list[TicketFact]:
    """Apply facts in order; return those whose request has no conversation."""
    return [
        fact
        for fact in facts
        if not _apply_fact(batch, fact, conversations.get(fact.request_id), authors)
    ]


def _apply_fact(
    batch: IntakeBatch, fact: TicketFact, key: UUID | None, authors: Mapping[UUID, Author]
) -> bool:
    """Apply one fact to the conversation with this key; return False if there is none."""
    if isinstance(fact, Opened):
        if is_opened_in_tickets(fact):
            register_external_request(batch, fact)
        return True
    conversation = batch.conversations.get(key) if key else None
    if conversation is None:
        return False
    match fact:
        case Closed():
            close_request(batch, conversation, fact.request_id)
        case ReplySent():
            record_reply(batch, conversation, fact)
        case MessageReturned():
            unknown = (conversation.contact_id, None)
            contact_id, attributes = authors.get(fact.message.id, unknown)
            author = batch.contacts.get(contact_id) if contact_id else None
            handle_returned(batch, conversation, fact, author, attributes)
    return True


def register_external_request(batch: IntakeBatch, opened: Opened) -> None:
    """Create the conversation and the contact of a request that was opened in tickets."""
    name = conversation_name_of(opened)
    address = opened.contact.address or name
    key = conversation_key_of(opened)
    conversation = batch.conversations.setdefault(
        key, Conversation(key, opened.channel, opened.account, name)
    )
    conversation.open_request = conversation.open_request or opened.request_id
    conversation.last_request = opened.request_id
    conversation.opened_by_machine = False
    conversation.contact_id = conversation.contact_id or opened.contact.id
    if opened.channel == "email":
        batch.threads.add_participants(key, [opened.contact.id])
    batch.requests[opened.request_id] = key
    if opened.contact.id not in batch.contacts:
        batch.save_contact(
            ContactRecord(
                opened.contact.id,
                opened.channel,
                opened.account,
                address,
                opened.contact.name,
                opened.contact.language,
            )
        )
    batch.changed.add(key)


def record_reply(batch: IntakeBatch, conversation: Conversation, reply: ReplySent) -> None:
    """Remember a reply of ours, so that answers to it find the conversation."""
    batch.threads.add_own_message(conversation.account, reply.message.id, conversation.key)


def close_request(batch: IntakeBatch, conversation: Conversation, request_id: UUID) -> None:
    """Close a request; the next message opens a follow-up."""
    if conversation.open_request == request_id:
        # A request that was opened in tickets meanwhile receives the messages from now on.
        later = conversation.last_request
        conversation.open_request = later if later != request_id else None
        batch.changed.add(conversation.key)
    elif conversation.last_request == request_id and conversation.open_request is not None:
        conversation.last_request = conversation.open_request
        batch.changed.add(conversation.key)


def handle_returned(
    batch: IntakeBatch,
    conversation: Conversation,
    returned: MessageReturned,
    author: ContactRecord | None,
    attributes: RequestAttributes | None,
) -> None:
    """Open a follow-up with a message that came after closing, or append it to an open one."""
    close_request(batch, conversation, returned.request_id)
    message = returned.message
    if conversation.open_request is not None:
        batch.append_message(conversation, message, "returned", cause=returned)
        batch.corrections.append(
            Correction(message.id, "appended", conversation.open_request, "returned")
        )
        return
    if message.automatic is not None and conversation.machine_already_answered:
        noted = Correction(message.id, "noted", returned.request_id, "returned")
        batch.corrections.append(noted)
        return
    conversation.last_request = conversation.last_request or returned.request_id
    contact = author or conversation.anonymous_contact()
    allowed, _ = batch.rules.keep_allowed(attributes)
    request_id = batch.open_request(
        conversation, contact.for_fact(), message, allowed, cause=returned
    )
    batch.corrections.append(Correction(message.id, "opened", request_id, "returned"))


def is_opened_in_tickets(fact: TicketFact) -> TypeGuard[Opened]:
    """Return whether a request was opened in tickets, so that ingest does not know it yet."""
    return isinstance(fact, Opened) and fact.origin == "tickets"


def conversation_name_of(opened: Opened) -> str:
    """Return the name of the conversation of a request that was opened in tickets."""
    return conversation_name(opened.request_id, opened.channel, opened.conversation, opened.contact)


def conversation_key_of(opened: Opened) -> UUID:
    """Return the key of the conversation of a request that was opened in tickets."""
    name = conversation_name_of(opened)
    return UUID(conversation_key(opened.channel, opened.account, name))


def may_change_conversation(fact: TicketFact) -> bool:
    """Return whether a fact may change a conversation; a reply by e-mail adds its message id."""
    if isinstance(fact, ReplySent):
        return fact.channel == "email"
    return not isinstance(fact, DeliveryRecorded)


def is_own_message(fact: TicketFact) -> TypeGuard[OwnMessageFact]:
    """Return whether a fact says that we wrote a message, or that one of ours was sent."""
    return isinstance(fact, ReplySent) or (
        isinstance(fact, DeliveryRecorded) and fact.state == "sent"
    )


def message_id_of(fact: OwnMessageFact) -> UUID:
    """Return the id of the message of ours a fact is about."""
    return fact.message.id if isinstance(fact, ReplySent) else fact.message_id


def platform_keys(
    facts: Iterable[OwnMessageFact], numbering: Mapping[UUID, UUID]
) -> dict[UUID, UUID]:
    """Return the key of each of our messages by its platform id.

    `numbering` holds the numbering key of each request's conversation.
    """
    return {
        fact.message_id: message_key(numbering[fact.request_id], fact.platform_id)
        for fact in facts
        if isinstance(fact, DeliveryRecorded)
        and fact.platform_id is not None
        and fact.request_id in numbering
    }
