"""What the intake does with what it hears: deliveries become facts, requests end.

Long: it has all of ingest's readers, and what they share.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard, get_args
from uuid import UUID, uuid5

from chassis.errors import Refused
from chassis.messaging.message import Incoming
from chassis.messaging.reader import UNHURRIED, Reader
from chassis.messaging.transaction import Tx
from chassis.service import Service
from ingest.bans.store import Banlist
from ingest.channels import registry
from ingest.channels.email import mailbox as post
from ingest.channels.email.mailbox import Mailbox
from ingest.channels.email.parser_pool import Mailroom
from ingest.channels.email.sender_rate import Pace
from ingest.domain.field_rules import Rules
from ingest.domain.inbound_item import Arrival, Outcome
from ingest.domain.intake_batch import Book, conversation_of
from ingest.domain.items import Asked, Item, Raw, Thread, Unreadable
from ingest.domain.references import counted_in
from ingest.domain.threading import keys_of
from ingest.gateway import envelope
from ingest.gateway.envelope import Delivery
from ingest.intake import alias_store, message_update_store, store, thread_store
from trunkline_contracts import Closed, DeliveryRecorded, MessageReturned, Opened, ReplySent
from trunkline_contracts.fact import NAMESPACE
from trunkline_contracts.ids import conversation_key

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds after which mails that have been taken apart are taken in, whatever others take."""

Heard = Opened | Closed | MessageReturned | ReplySent | DeliveryRecorded


class Intake:
    """All of ingest's readers.

    Mails have one of their own: what takes long to take apart holds up no other channel.
    """

    def __init__(
        self,
        rules: Callable[[int], Rules],
        mailroom: Mailroom,
        mailboxes: Callable[[str], Mailbox | None],
        bans: Banlist,
    ) -> None:
        self._rules = rules
        self._mailroom = mailroom
        self._mailboxes = mailboxes
        self._bans = bans
        self._pace = Pace()

    def readers(self, epoch: Callable[[], Awaitable[int]] | None = None) -> list[Reader]:
        """Return ingest's readers; `epoch` returns that of INBOUND."""
        return [
            Reader(
                "INBOUND",
                self.deliveries,
                takes=lambda item: not is_mail(item),
                parse=self.parse,
                join=True,
                on_park=self.park,
                epoch=epoch,
            ),
            Reader(
                "INBOUND",
                self.deliveries,
                name="mail",
                subjects="inbound.email.*",
                takes=is_mail,
                parse=self.parse,
                patience=PATIENCE,
                join=True,
                on_park=self.park,
                epoch=epoch,
            ),
            Reader("TICKETS", self.tickets, hears=frozenset(get_args(Heard)), pace=UNHURRIED),
        ]

    async def deliveries(self, tx: Tx, batch: Sequence[Delivery]) -> None:
        """Take in a batch: one effect per message, one open request per conversation."""
        rules = self._rules(tx.workspace)
        arrivals = [arrival for each in batch for arrival in arrivals_of(mapped(each, rules))]
        book = Book(rules, tx.now)
        await alias_store.resolve(tx, arrivals)
        talks = await self._threads(tx, book, arrivals)
        await store.lock(tx, [*_keys(arrivals), *talks])
        if talks:
            await store.load_talks(tx, book, talks)
        await store.look_up(tx, book, arrivals)
        book.bans = await self._bans.at(tx.conn, book.bans_seen)
        await message_update_store.look_up(tx, book.remarks, arrivals, waits=book.waited_for)
        book.take_in(arrivals)
        book.stand_in(await message_update_store.make_room(tx, book.remarks))
        await store.save(tx, book)
        await message_update_store.save(tx, book.remarks)
        await thread_store.save(tx, book.threads)
        self._say(tx, book)

    async def wait_no_longer(self, service: Service) -> None:
        """Look every minute for what has waited too long."""
        while True:
            async with service.transaction() as tx:
                await message_update_store.expire(tx)
            more = True
            while more:
                async with service.transaction() as tx:
                    more = await self.expire(tx)
            await asyncio.sleep(60)

    async def expire(self, tx: Tx) -> bool:
        """Take edits whose messages did not come for messages; whether there may be more."""
        arrivals = await message_update_store.edits(tx)
        if not arrivals:
            return False
        book = Book(self._rules(tx.workspace), tx.now)
        await store.lock(tx, _keys(arrivals))
        await store.look_up(tx, book, arrivals)
        book.bans = await self._bans.at(tx.conn, book.bans_seen)
        book.stand_in(await message_update_store.look_again(tx, book.remarks, arrivals))
        await store.save(tx, book)
        await message_update_store.save(tx, book.remarks)
        self._say(tx, book)
        return True

    async def _threads(self, tx: Tx, book: Book, arrivals: Sequence[Arrival]) -> set[UUID]:
        """Give the conversations that messages name: they must be known before they can be locked.

        A mailbox is taken in by one replica at a time, as is a mail that arrives in several; these
        locks are always the first to be held.
        """
        named = [told for each in arrivals for told in named_by(each)]
        if named:
            copies = {each.copy for each in arrivals if each.copy}
            await store.lock(tx, {mailbox(account) for account, _ in named} | copies)
            keys = {key for account, thread in named for key in keys_of(account, thread)}
            await thread_store.load(tx, book.threads, list(keys))
            await thread_store.load_copies(tx, book.threads, list(copies))
        talks = {each.conversation for each in book.threads.known.values()}
        talks |= {c.conversation for c in book.threads.copies.values() if c.conversation}
        talks |= {thread.tag for _, thread in named if thread.tag}
        if talks:
            people = {contact for each in arrivals for contact in each.contacts}
            await thread_store.load_parts(tx, book.threads, list(talks), list(people))
        return talks

    async def understand(self, item: Incoming) -> Delivery:
        """Read a delivery and have it taken apart, elsewhere than here."""
        each = envelope.read(item)
        mailbox = self._mailboxes(each.raw.account)
        told = mailbox if not item.kept else None
        try:
            items = await self._mailroom.read(each.raw, lambda: self._turn_away(each.raw, told))
        except Refused:
            self._count_refused(each.raw, told)
            raise
        except Unreadable as why:
            self._count_refused(each.raw, told)
            return replace(each, items=why)
        items = tuple(post.opened(item, mailbox, self._mailboxes) for item in items)
        if mailbox is not None and not item.kept:
            self._slow_down(each.raw, items, mailbox)
        return replace(each, items=items)

    def _turn_away(self, raw: Raw, mailbox: Mailbox | None) -> None:
        """Refuse to read who wrote much that could not be read; a person may have it read."""
        if mailbox is None:
            return
        most, seconds = mailbox.per_sender
        if self._pace.reached(post.refused_as(raw), raw.received_at, (most, seconds)):
            raise Refused(f"{most} mails of its sender could not be read in {seconds} s")

    def _count_refused(self, raw: Raw, mailbox: Mailbox | None) -> None:
        """Count a mail that could not be read, or was not, for what was too much."""
        if mailbox is not None:
            who = post.refused_as(raw)
            self._pace.exceeded(who, raw.inbound_id, raw.received_at, mailbox.per_sender)

    def _slow_down(self, raw: Raw, items: Sequence[Item], mailbox: Mailbox) -> None:
        """Refuse what comes faster than people write; a person who re-drives it has looked."""
        most, seconds = mailbox.per_sender
        for item in items:
            who = post.counted_as(item, raw.account, mailbox)
            if who and self._pace.exceeded(who, raw.inbound_id, raw.received_at, (most, seconds)):
                raise Refused(f"more than {most} mails of one address in {seconds} s: a loop?")

    def parse(self, item: Incoming) -> Delivery | Awaitable[Delivery]:
        """Read a delivery; mails take their time."""
        return self.understand(item) if is_mail(item) else envelope.read(item)

    async def tickets(self, tx: Tx, facts: Sequence[Heard]) -> None:
        """Hear which requests are open no more, which began elsewhere, and what came too late."""
        ours = [fact for fact in facts if of_ours(fact)]
        facts = [fact for fact in facts if of_requests(fact)]
        about = {fact.request_id for fact in (*facts, *ours)}
        keys, counted = await store.conversations_of(tx, about)
        begun = [fact for fact in facts if began_elsewhere(fact)]
        keys |= {fact.request_id: key_of(fact) for fact in begun}
        counted |= {fact.request_id: counted_of(fact) for fact in begun}
        if not keys:
            return
        book = Book(self._rules(tx.workspace), tx.now)
        called = message_update_store.names_of(ours, counted)
        messages = map(message_of, ours)
        await store.lock(tx, [*keys.values(), *messages, *called.values()])
        if facts:
            await self._requests(tx, book, facts, keys)
        if ours:
            await message_update_store.follow(tx, book.remarks, ours, keys, called)
        self._say(tx, book)

    async def _requests(
        self, tx: Tx, book: Book, facts: Sequence[Heard], keys: Mapping[UUID, UUID]
    ) -> None:
        await store.load_talks(
            tx, book, {keys[f.request_id] for f in facts if f.request_id in keys}
        )
        returned = [fact.message.id for fact in facts if isinstance(fact, MessageReturned)]
        authors = await store.authors_of(tx, returned) if returned else {}
        people = {c for c, _ in authors.values() if c}
        people |= {f.contact.id for f in facts if isinstance(f, Opened)}
        people |= {talk.contact for talk in book.conversations.values() if talk.contact}
        await store.load_cards(tx, book, people)
        for fact in facts:
            self._hear(book, fact, keys.get(fact.request_id), authors)
        await store.save(tx, book)
        await thread_store.save(tx, book.threads)

    def _hear(
        self,
        book: Book,
        fact: Heard,
        key: UUID | None,
        authors: dict[UUID, tuple[UUID | None, Asked | None]],
    ) -> None:
        if isinstance(fact, Opened):
            if began_elsewhere(fact):
                book.register(fact)
            return
        talk = book.conversations.get(key) if key else None
        if talk is None:
            log.warning("%s is about a request of no conversation: %s", fact.type, fact.request_id)
            return
        if isinstance(fact, Closed):
            book.close(talk, fact.request_id)
            return
        if isinstance(fact, ReplySent):
            book.issued(talk, fact)
            return
        if isinstance(fact, DeliveryRecorded):
            return
        contact, asked = authors.get(fact.message.id, (talk.contact, None))
        author = book.contacts.get(contact) if contact else None
        book.give_back(talk, fact, author, asked)

    def _say(self, tx: Tx, book: Book) -> None:
        for fact, cause in book.facts:
            tx.say(fact, cause=cause)

    async def park(self, tx: Tx, item: Incoming, reason: str) -> None:
        """Remember a delivery that could not be taken in; re-driving it replaces this outcome."""
        raw = envelope.envelope(item, tx.now)
        arrival = Arrival(
            raw.inbound_id,
            0,
            raw.channel,
            raw.account,
            raw.received_at,
            None,
            reason,
            item.slot,
            item.position or 0,
            chunks=item.chunks,
        )
        book = Book(
            self._rules(tx.workspace), tx.now, outcomes=[Outcome(arrival, "parked", reason=reason)]
        )
        await store.save(tx, book)


def mapped(each: Delivery, rules: Rules) -> Delivery:
    """Have a delivery read by what its account calls things."""
    mapping = rules.mappings.get((each.raw.channel, each.raw.account))
    return replace(each, raw=replace(each.raw, mapping=mapping)) if mapping else each


def arrivals_of(each: Delivery) -> Iterable[Arrival]:
    """Read a delivery; what can never be understood is an item too, and will be rejected."""
    raw = each.raw
    items: Sequence[registry.Read] = [Unreadable("there is nothing in it")]
    try:
        items = _items(each) or items
    except Unreadable as why:
        items = [why]
    except Exception as why:
        raise Refused(f"the adapter of {raw.channel} failed: {type(why).__name__}") from why
    for n, read in enumerate(items):
        item, refusal = (None, str(read)) if isinstance(read, Unreadable) else (read, None)
        yield Arrival(
            raw.inbound_id,
            n,
            raw.channel,
            raw.account,
            raw.received_at,
            item,
            refusal,
            each.slot,
            each.sequence,
            each.traceparent,
            each.chunks,
        )


def _items(each: Delivery) -> Sequence[registry.Read]:
    if isinstance(each.items, Unreadable):
        raise each.items
    return registry.read(each.raw) if each.items is None else each.items


def named_by(arrival: Arrival) -> Iterable[tuple[str, Thread]]:
    """Give what names messages: in the mailbox it came to, and in those it was sent to as well."""
    thread = arrival.item.thread if arrival.item else None
    if thread is not None:
        yield arrival.account, thread
        for each in thread.beside:
            yield each.account, replace(thread, tag=each.tag, signed=each.signed)


def began_elsewhere(fact: Heard) -> TypeGuard[Opened]:
    """Whether a request was opened over tickets, and ingest hears of it for the first time."""
    return isinstance(fact, Opened) and fact.origin == "tickets"


def of_requests(fact: Heard) -> bool:
    """Whether a conversation may be another afterwards; an answer to a mail will name the mail."""
    if isinstance(fact, ReplySent):
        return fact.channel == "email"
    return not isinstance(fact, DeliveryRecorded)


def of_ours(fact: Heard) -> TypeGuard[ReplySent | DeliveryRecorded]:
    """Whether it says that we wrote, or that what we wrote is on its way."""
    return isinstance(fact, ReplySent) or (
        isinstance(fact, DeliveryRecorded) and fact.state == "sent"
    )


def message_of(fact: ReplySent | DeliveryRecorded) -> UUID:
    """Give the message of ours it is about."""
    return fact.message.id if isinstance(fact, ReplySent) else fact.message_id


def is_mail(item: Incoming) -> bool:
    """Whether a delivery is a mail."""
    return item.subject.startswith("inbound.email.")


def mailbox(account: str) -> UUID:
    """Give the key of a mailbox."""
    return uuid5(NAMESPACE, f"mailbox\n{account}")


def _keys(arrivals: Iterable[Arrival]) -> Iterable[UUID]:
    """Name what must be locked: the message itself, where it was written, and what it is about."""
    for arrival in arrivals:
        if arrival.item is not None:
            yield arrival.message_id
            yield arrival.name
        if arrival.conversation is not None:
            yield arrival.conversation
        yield from arrival.about


def key_of(opened: Opened) -> UUID:
    """Give the conversation of a request that tickets opened."""
    name = conversation_of(opened)
    return UUID(conversation_key(opened.channel, opened.account, name))


def counted_of(opened: Opened) -> UUID:
    """Give that within which messages are numbered in a request that tickets opened."""
    return counted_in(opened.channel, opened.account, conversation_of(opened))
