"""Load everything a decision needs in one call, and save what was decided in one call.

The SQL is in the stores beside this one: conversations and items, message ids, aliases, updates.
Every load locks before it reads, and always in this order: aliases, mailboxes and mails, then
messages and conversations.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid5

from chassis.messaging.transaction import Tx
from ingest.bans.store import BanCache
from ingest.domain import ticket_facts
from ingest.domain.batch_entry import BatchEntry
from ingest.domain.field_rules import Rules
from ingest.domain.intake_batch import IntakeBatch
from ingest.domain.items import ThreadingHeaders
from ingest.domain.message_keys import numbering_key
from ingest.domain.message_updates import MessageUpdates, PendingUpdate
from ingest.domain.threading import message_id_keys
from ingest.domain.ticket_facts import Author, OwnMessageFact, TicketFact
from ingest.intake import alias_store, conversation_store, message_update_store, thread_store
from trunkline_contracts import Fact, MessageReturned, Opened
from trunkline_contracts.fact import NAMESPACE


async def load(tx: Tx, entries: Sequence[BatchEntry], rules: Rules, bans: BanCache) -> IntakeBatch:
    """Lock and load what is known of these entries: messages, conversations, contacts and bans."""
    batch = IntakeBatch(rules, tx.now)
    await alias_store.resolve_addresses(tx, entries)
    threads = await _load_threads(tx, batch, entries)
    await conversation_store.lock(tx, [*_lock_keys(entries), *threads])
    if threads:
        await conversation_store.load_conversations(tx, batch, threads)
    await conversation_store.load_entries(tx, batch, entries)
    batch.bans = await bans.at(tx.conn, batch.bans_version)
    pending = batch.has_pending_updates
    await message_update_store.load(tx, batch.updates, entries, pending=pending)
    return batch


async def load_expired_edits(
    tx: Tx, rules: Rules, bans: BanCache
) -> tuple[IntakeBatch, list[PendingUpdate]] | None:
    """Lock and load edits that have waited too long; None if there are none.

    Returns the batch, and the edits that still wait once those of known messages are applied.
    """
    entries = await message_update_store.expired_edits(tx)
    if not entries:
        return None
    batch = IntakeBatch(rules, tx.now)
    await conversation_store.lock(tx, _lock_keys(entries))
    await conversation_store.load_entries(tx, batch, entries)
    batch.bans = await bans.at(tx.conn, batch.bans_version)
    return batch, await message_update_store.load_unresolved(tx, batch.updates, entries)


async def evict_over_limit(tx: Tx, batch: IntakeBatch) -> list[PendingUpdate]:
    """Remove the new pending updates of accounts that have too many, and return them."""
    return await message_update_store.evict_over_limit(tx, batch.updates)


async def save(tx: Tx, batch: IntakeBatch) -> None:
    """Write what was decided on a batch, and record its facts."""
    if batch.outcomes or batch.corrections or batch.requests or batch.changed:
        await conversation_store.save(tx, batch)
    await message_update_store.save(tx, batch.updates)
    await thread_store.save(tx, batch.threads)
    _record(tx, batch.facts)


@dataclass(slots=True)
class LoadedFacts:
    """Facts of tickets, with the state they are applied to."""

    batch: IntakeBatch
    request_facts: Sequence[TicketFact]
    """Facts that may change a conversation."""
    message_facts: Sequence[OwnMessageFact]
    """Facts about messages of our own."""
    conversations: dict[UUID, UUID]
    """The conversation of each request."""
    platform_keys: dict[UUID, UUID]
    """The key of each message of our own by its platform id."""
    authors: dict[UUID, Author] = field(default_factory=dict)


async def load_ticket_facts(
    tx: Tx, facts: Sequence[TicketFact], rules: Rules
) -> LoadedFacts | None:
    """Lock and load the conversations that facts of tickets are about; None if there are none."""
    own = [fact for fact in facts if ticket_facts.is_own_message(fact)]
    changing = [fact for fact in facts if ticket_facts.may_change_conversation(fact)]
    requests = {fact.request_id for fact in (*changing, *own)}
    conversations, numbering = await conversation_store.conversations_of(tx, requests)
    for fact in filter(ticket_facts.is_opened_in_tickets, changing):
        name = ticket_facts.conversation_name_of(fact)
        conversations[fact.request_id] = ticket_facts.conversation_key_of(fact)
        numbering[fact.request_id] = numbering_key(fact.channel, fact.account, name)
    if not conversations:
        return None
    keys = ticket_facts.platform_keys(own, numbering)
    messages = map(ticket_facts.message_id_of, own)
    await conversation_store.lock(tx, [*conversations.values(), *messages, *keys.values()])
    loaded = LoadedFacts(IntakeBatch(rules, tx.now), changing, own, conversations, keys)
    if changing:
        await _load_conversations(tx, loaded)
    return loaded


async def _load_conversations(tx: Tx, loaded: LoadedFacts) -> None:
    batch, facts, by_request = loaded.batch, loaded.request_facts, loaded.conversations
    keys = {by_request[fact.request_id] for fact in facts if fact.request_id in by_request}
    await conversation_store.load_conversations(tx, batch, keys)
    returned = [fact.message.id for fact in facts if isinstance(fact, MessageReturned)]
    if returned:
        loaded.authors = await conversation_store.authors_of(tx, returned)
    contacts = {contact for contact, _ in loaded.authors.values() if contact}
    contacts |= {fact.contact.id for fact in facts if isinstance(fact, Opened)}
    contacts |= {found.contact_id for found in batch.conversations.values() if found.contact_id}
    await conversation_store.load_contacts(tx, batch, contacts)


async def load_own_updates(tx: Tx, loaded: LoadedFacts) -> MessageUpdates:
    """Load the updates that wait for messages of our own.

    Call it after the batch is saved: updates go to the request a message has been moved to.
    """
    updates = MessageUpdates(tx.now, [])
    if loaded.message_facts:
        await message_update_store.load_for_own(
            tx, updates, loaded.message_facts, loaded.conversations, loaded.platform_keys
        )
    return updates


async def save_updates(tx: Tx, updates: MessageUpdates) -> None:
    """Write pending and settled updates and our own messages, and record the facts."""
    await message_update_store.save(tx, updates)
    _record(tx, updates.facts)


def _record(tx: Tx, facts: Iterable[tuple[Fact, Fact | None]]) -> None:
    for fact, cause in facts:
        tx.record(fact, cause=cause)


async def _load_threads(tx: Tx, batch: IntakeBatch, entries: Sequence[BatchEntry]) -> set[UUID]:
    """Load the message ids mails name, and return the conversations they belong to.

    Those must be known before they can be locked. One replica at a time processes a mailbox, and
    a mail that arrives in several mailboxes; these locks are taken first.
    """
    by_account = [headers for entry in entries for headers in _threading_headers(entry)]
    threads = batch.threads
    if by_account:
        mails = {entry.mail_key for entry in entries if entry.mail_key}
        mailboxes = {mailbox_key(account) for account, _ in by_account}
        await conversation_store.lock(tx, mailboxes | mails)
        keys = {key for account, headers in by_account for key in message_id_keys(account, headers)}
        await thread_store.load_message_ids(tx, threads, list(keys))
        await thread_store.load_mails(tx, threads, list(mails))
    conversations = {known.conversation for known in threads.message_ids.values()}
    conversations |= {mail.conversation for mail in threads.mails.values() if mail.conversation}
    conversations |= {headers.tag for _, headers in by_account if headers.tag}
    if conversations:
        authors = {contact for entry in entries for contact in entry.author_contacts}
        await thread_store.load_participants(tx, threads, list(conversations), list(authors))
    return conversations


def _threading_headers(entry: BatchEntry) -> Iterator[tuple[str, ThreadingHeaders]]:
    """Yield each account a mail was sent to, with the mail's threading headers there."""
    headers = entry.item.thread if entry.item else None
    if headers is not None:
        yield entry.account, headers
        for mailbox in headers.beside:
            yield mailbox.account, replace(headers, tag=mailbox.tag, signed=mailbox.signed)


def mailbox_key(account: str) -> UUID:
    """Return the lock key of a mailbox."""
    return uuid5(NAMESPACE, f"mailbox\n{account}")


def _lock_keys(entries: Iterable[BatchEntry]) -> Iterator[UUID]:
    """Yield the keys to lock: of the message, its conversation and the message it refers to."""
    for entry in entries:
        if entry.item is not None:
            yield entry.message_id
            yield entry.update_key
        if entry.conversation is not None:
            yield entry.conversation
        yield from entry.target_keys
