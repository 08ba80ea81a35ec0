"""Decide what items become: one effect per message, one open request per conversation."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final
from uuid import UUID

from ingest.domain.batch_entry import (
    BatchEntry,
    FirstSeen,
    Outcome,
    message_from,
    ordering_key,
    trace_fields,
)
from ingest.domain.field_rules import with_known_language
from ingest.domain.intake_batch import ContactRecord, Conversation, IntakeBatch
from ingest.domain.items import InboundItem, Person, ThreadingHeaders
from ingest.domain.message_keys import UPDATE_KINDS
from ingest.domain.message_updates import PendingUpdate
from ingest.domain.threading import DuplicateMail, ThreadMatch
from trunkline_contracts import ContactChanged
from trunkline_contracts.ids import acknowledgement_id, contact_id, conversation_key
from trunkline_contracts.parts import Contact

ANONYMOUS_CHANNELS: Final = frozenset({"telephony"})
"""Channels whose later messages may not name their author."""
MACHINE_ANSWERED_AGAIN: Final = "a machine answered again, after the request it opened was closed"


def process(batch: IntakeBatch, entries: Iterable[BatchEntry]) -> None:
    """Decide the outcome of every entry, in the order in which the items were sent."""
    for entry in sorted(entries, key=ordering_key):
        batch.outcomes.append(_process_item(batch, entry))


def _process_item(batch: IntakeBatch, entry: BatchEntry) -> Outcome:
    item = entry.item
    if item is None:
        return _reject(batch, entry, entry.refusal or "it cannot be understood")
    first = batch.first_seen.get(entry.message_id)
    flag = None
    if first is not None and first.digest != item.digest and entry.reissued_id is not None:
        flag = f"the platform's id {item.external_id} was used before for another message"
        entry.message_id = entry.reissued_id
        first = batch.first_seen.get(entry.message_id)
    if first is not None and first.digest != item.digest:
        return _reject(batch, entry, "the key was used before with another body", first)
    if first is not None:
        return Outcome(entry, "duplicate", request_id=first.request_id)
    outcome = Outcome(entry, "noted", first=True, reason=item.reason or flag)
    if _is_banned(batch, entry, item):
        _reject_banned(batch, entry, outcome)
        _record_call_contact(batch, entry, item)
    elif item.kind == "message":
        _accept_message(batch, entry, item, outcome)
    elif item.kind in UPDATE_KINDS:
        batch.updates.accept(entry, item, outcome)
    batch.first_seen.setdefault(entry.message_id, FirstSeen(item.digest, outcome.request_id))
    return outcome


def promote_edits(batch: IntakeBatch, updates: Iterable[PendingUpdate]) -> None:
    """Accept edits as messages when their message is missing: they contain its whole text.

    Other updates of the same message then follow the first edit.
    """
    for update in sorted(updates, key=lambda update: ordering_key(update.entry)):
        entry, outcome = update.entry, update.outcome
        if update.stored and not batch.updates.expire(update):
            continue
        if entry.item is None or batch.updates.apply(entry, entry.item, outcome):
            continue
        item = entry.as_message()
        if item is None:
            continue
        if _is_banned(batch, entry, item):
            _reject_banned(batch, entry, outcome)
            continue
        outcome.reason = f"an edit: {outcome.reason}"
        _accept_message(batch, entry, item, outcome)


def _reject(
    batch: IntakeBatch, entry: BatchEntry, reason: str, first: FirstSeen | None = None
) -> Outcome:
    batch.record_rejection(entry, reason)
    request_id = first.request_id if first else None
    return Outcome(entry, "rejected", request_id=request_id, reason=reason)


def _reject_banned(batch: IntakeBatch, entry: BatchEntry, outcome: Outcome) -> None:
    outcome.kind, outcome.reason = "rejected", "banned"
    batch.record_rejection(entry, "banned")


def _is_banned(batch: IntakeBatch, entry: BatchEntry, item: InboundItem) -> bool:
    """Return whether the author is banned; if none is named, the conversation's contact."""
    if item.person is not None:
        return batch.bans.matches(entry.contact, entry.channel, item.person)
    contact = batch.contact_of(batch.conversation_of(entry))
    return (
        item.kind == "message"
        and contact is not None
        and batch.bans.matches(contact.id, entry.channel, contact.person())
    )


def _record_call_contact(batch: IntakeBatch, entry: BatchEntry, item: InboundItem) -> None:
    """Keep the contact of a rejected call: later events of the call may not name it."""
    if item.person is None or entry.channel not in ANONYMOUS_CHANNELS or entry.conversation is None:
        return
    person, _ = with_known_language(item.person)
    contact = _merged_contact(batch, entry, person)
    if contact.id not in batch.contacts:
        batch.save_contact(contact)
    conversation = _open_conversation(batch, entry, item, contact)
    if conversation.contact_id == contact_id(
        conversation.channel, conversation.account, conversation.name
    ):
        conversation.contact_id = contact.id  # it was anonymous until now
    batch.changed.add(conversation.key)


def _accept_message(
    batch: IntakeBatch, entry: BatchEntry, item: InboundItem, outcome: Outcome
) -> None:
    """Append a new message to its conversation's open request, or open one."""
    match = _find_conversation(batch, entry, item)
    if (reason := _no_message_reason(batch, item, match)) is not None:
        answered = match.returned_from or match.answers_own or UUID(int=0)
        conversation = batch.conversations.get(answered)
        outcome.request_id = conversation.last_request if conversation else None
        outcome.reason = reason
        _record_mail(batch, entry, outcome, conversation)
        return
    if match.duplicate is not None:
        _link_duplicate(entry, outcome, match.duplicate)
        return
    contact, doubts = _resolve_author(batch, entry, item)
    conversation = _open_conversation(batch, entry, item, contact)
    outcome.attributes, refused = batch.allowed_attributes(item.asked)
    opens = conversation.open_request is None
    flags = _flags(item, outcome, [*match.flags, *item.flags, *doubts, *(refused if opens else ())])
    message = message_from(entry, item, entry.message_id, flags)
    rule = match.best.rule if match.best else None
    if conversation.open_request is not None:
        outcome.kind, outcome.request_id = "appended", conversation.open_request
        outcome.threaded_by = rule or "conversation"
        trace = trace_fields(entry)
        batch.append_message(conversation, message, outcome.threaded_by, trace=trace)
    else:
        outcome.kind = "opened"
        is_new = conversation.last_request is None
        outcome.threaded_by = "new" if is_new else rule or "follow_up"
        recipient = _recipient(batch, conversation, contact, item)
        outcome.request_id = batch.open_request(
            conversation, recipient, message, outcome.attributes, trace=trace_fields(entry)
        )
        if item.thread is not None and item.thread.acknowledged:
            # Answers to the acknowledgement belong to this conversation, too.
            acknowledgement = acknowledgement_id(message.id)
            batch.threads.add_own_message(conversation.account, acknowledgement, conversation.key)
    _record_mail(batch, entry, outcome, conversation)
    batch.updates.add_message(entry.update_key, message.id, outcome.request_id)


def _flags(item: InboundItem, outcome: Outcome, flags: list[str]) -> list[str]:
    """Return the flags of a message without repetition, and put them into the outcome's reason."""
    if outcome.reason is not None and outcome.reason != item.reason:
        flags.insert(0, outcome.reason)
    flags = list(dict.fromkeys(flags))
    outcome.reason = "; ".join(filter(None, (item.reason, *flags))) or None
    return flags


def _record_mail(
    batch: IntakeBatch, entry: BatchEntry, outcome: Outcome, conversation: Conversation | None
) -> None:
    """Register a mail, which may arrive in another mailbox, too."""
    if entry.mail_key is not None:
        key = conversation.key if conversation else None
        mail = DuplicateMail(entry.message_id, outcome.request_id, key)
        batch.threads.add_mail(entry.mail_key, mail)


def _link_duplicate(entry: BatchEntry, outcome: Outcome, mail: DuplicateMail) -> None:
    """Refer a mail that arrived in another mailbox before to its first arrival."""
    outcome.kind, outcome.first, outcome.request_id = "duplicate", False, mail.request_id
    outcome.reason = f"also received at {entry.account}"
    entry.message_id = mail.message_id


def _recipient(
    batch: IntakeBatch, conversation: Conversation, contact: ContactRecord, item: InboundItem
) -> Contact:
    """Return the contact of a new request; its reply address becomes a participant."""
    answer_to = item.thread.answer_to if item.thread is not None else None
    if answer_to is not None:
        account = (conversation.channel, conversation.account)
        batch.threads.add_participants(conversation.key, [contact_id(*account, answer_to)])
    return contact.for_fact(answer_to)


def _find_conversation(batch: IntakeBatch, entry: BatchEntry, item: InboundItem) -> ThreadMatch:
    """Find the conversation by the message ids a mail names, and remember those ids."""
    if item.thread is None or entry.conversation is None:
        return ThreadMatch()
    thread = item.thread
    match = _search_mailboxes(batch, entry, thread, item.person)
    if _no_message_reason(batch, item, match) is not None:
        return match
    match = match.with_duplicate(
        batch.threads.mails.get(entry.mail_key) if entry.mail_key else None
    )
    if match.duplicate is not None and match.duplicate.conversation is None:
        return match
    if match.best is not None:
        entry.conversation = match.best.conversation
    batch.threads.add_received(entry.account, thread, entry.conversation, entry.contact)
    account = (entry.channel, entry.account)
    recipients = [contact_id(*account, address) for address in thread.to]
    participants = filter(None, (entry.contact, *recipients))
    batch.threads.add_participants(entry.conversation, participants)
    return match


def _no_message_reason(batch: IntakeBatch, item: InboundItem, match: ThreadMatch) -> str | None:
    """Return why an item is not a person's message: an automatic answer, or our own mail."""
    if match.returned_from is not None:
        return "a message of ours came back"
    if match.answers_own is None or item.automatic is None:
        return None
    if item.auto_reply is not None:
        return f"an automatic answer to ours: {item.auto_reply}"
    conversation = batch.conversations.get(match.answers_own)
    if conversation is None or not conversation.machine_already_answered:
        return None
    return f"{MACHINE_ANSWERED_AGAIN}: {item.automatic}"


def _search_mailboxes(
    batch: IntakeBatch, entry: BatchEntry, thread: ThreadingHeaders, person: Person | None
) -> ThreadMatch:
    """Search the mailbox the mail arrived in, then the others it was addressed to."""
    existing = batch.conversations
    match = batch.threads.find(entry.account, thread, entry.contact, existing)
    if person is None:
        return match
    for mailbox in thread.beside:
        contact = contact_id(entry.channel, mailbox.account, person.address)
        if match.is_known or batch.bans.matches(contact, entry.channel, person):
            continue
        addressed = replace(thread, tag=mailbox.tag, signed=mailbox.signed)
        other = batch.threads.find(mailbox.account, addressed, contact, existing)
        match = other if other.is_known else match
    return match


def _open_conversation(
    batch: IntakeBatch, entry: BatchEntry, item: InboundItem, contact: ContactRecord
) -> Conversation:
    """Return the item's conversation; create it if it does not exist."""
    key = entry.conversation or UUID(
        conversation_key(entry.channel, entry.account, item.conversation)
    )
    conversation = batch.conversations.get(key)
    if conversation is None:
        conversation = Conversation(key, entry.channel, entry.account, item.conversation)
        batch.conversations[key] = conversation
    conversation.contact_id = conversation.contact_id or contact.id
    return conversation


def _resolve_author(
    batch: IntakeBatch, entry: BatchEntry, item: InboundItem
) -> tuple[ContactRecord, list[str]]:
    """Return the author, else the conversation's contact, and flags about the author."""
    conversation = batch.conversation_of(entry)
    if item.person is None and conversation is not None:
        return batch.contact_of(conversation) or conversation.anonymous_contact(), []
    person, doubts = with_known_language(item.person or Person(item.conversation))
    return _update_contact(batch, entry, person), doubts


def _update_contact(batch: IntakeBatch, entry: BatchEntry, person: Person) -> ContactRecord:
    """Save the author's contact, and record the fact if a known one has changed.

    An author whose identity is in doubt changes nothing.
    """
    contact = _merged_contact(batch, entry, person)
    previous = batch.contacts.get(contact.id)
    thread = entry.item.thread if entry.item is not None else None
    if previous is not None and thread is not None and thread.doubt is not None:
        return previous
    if contact != previous:
        batch.save_contact(contact)
        if previous is not None:
            changed = ContactChanged(
                time=batch.now,
                contact_id=contact.id,
                contact=contact.for_fact(),
                **trace_fields(entry),
            )
            batch.facts.append((changed, None))
    return contact


def _merged_contact(batch: IntakeBatch, entry: BatchEntry, person: Person) -> ContactRecord:
    """Return the author's contact; what the platform leaves out keeps its known value."""
    id = entry.contact or contact_id(entry.channel, entry.account, person.address)
    previous = batch.contacts.get(id)
    return ContactRecord(
        id,
        entry.channel,
        entry.account,
        person.address,
        person.name or (previous.name if previous else None),
        person.language or (previous.language if previous else None),
        person.email or (previous.email if previous else None),
        person.phone or (previous.phone if previous else None),
    )
