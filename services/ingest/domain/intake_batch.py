"""What follows from what came in: one effect per message, one open request per conversation.

Pure: what is known is given in a `Book`, what follows is left in it. Longer than other files
because every path by which a message reaches a request is here, side by side.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from ingest.domain.bans import Bans
from ingest.domain.field_rules import Rules, known
from ingest.domain.inbound_item import Arrival, First, Outcome, Word, message_of, moment, trail_of
from ingest.domain.items import Asked, Item, Person, Thread
from ingest.domain.message_updates import Remarks, Waiting
from ingest.domain.references import REMARKS
from ingest.domain.threading import Copy, Found, Threads
from trunkline_contracts import (
    ContactChanged,
    Fact,
    MessageReceived,
    MessageRejected,
    MessageReturned,
    Opened,
    ReplySent,
    RequestOpened,
)
from trunkline_contracts.ids import (
    acknowledgement_id,
    contact_id,
    conversation_key,
    conversation_name,
)
from trunkline_contracts.parts import Contact, Message

SILENT = frozenset({"telephony"})
"""Channels whose later messages may not say who they are from."""
AGAIN = "a machine answered ours again, after the request that it began"


@dataclass(slots=True)
class Conversation:
    """Where a customer and we talk, and the request that is open there."""

    key: UUID
    channel: str
    account: str
    name: str
    open: UUID | None = None
    last: UUID | None = None
    contact: UUID | None = None
    by_machine: bool | None = None
    """Whether the last request was begun by what a machine sent."""

    @property
    def went_on(self) -> bool:
        """Whether a machine has begun a request here that is closed by now: not another one."""
        return self.open is None and bool(self.by_machine)


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a contact."""

    id: UUID
    channel: str
    account: str
    address: str
    name: str | None = None
    language: str | None = None
    email: str | None = None
    phone: str | None = None

    def part(self, answer_to: str | None = None) -> Contact:
        """The contact as facts carry it, and where a request is answered when that is elsewhere."""
        return Contact(
            id=self.id,
            name=self.name,
            address=self.address,
            language=self.language,
            answer_to=answer_to,
        )

    def person(self) -> Person:
        """The contact as who writes is looked up."""
        return Person(self.address, self.name, self.language, self.email, self.phone)


@dataclass(frozen=True, slots=True)
class Correction:
    """A message's outcome is another one than was told."""

    message_id: UUID
    word: Word
    request_id: UUID
    threaded_by: str


@dataclass(slots=True)
class Book:
    """What intake knows about the matters at hand, and what it decides."""

    rules: Rules
    now: datetime
    firsts: dict[UUID, First] = field(default_factory=dict)
    conversations: dict[UUID, Conversation] = field(default_factory=dict)
    contacts: dict[UUID, Card] = field(default_factory=dict)
    threads: Threads = field(default_factory=Threads)
    bans: Bans = field(default_factory=Bans)
    bans_seen: int = 0
    """The version of the bans that was in force when all this was looked up."""
    waited_for: bool = False
    """Whether remarks that came before wait for these messages."""
    outcomes: list[Outcome] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)
    requests: dict[UUID, UUID] = field(default_factory=dict)
    """Requests that have just begun, with their conversations."""
    changed: set[UUID] = field(default_factory=set)
    """Conversations and contacts that are not as they were."""
    facts: list[tuple[Fact, Fact | None]] = field(default_factory=list)
    """What is to be said, each with the fact that caused it, if one did."""
    remarks: Remarks = field(init=False)
    _unasked: tuple[Asked, list[str]] | None = None

    def __post_init__(self) -> None:
        self.remarks = Remarks(self.now, self.facts)

    def take_in(self, arrivals: Iterable[Arrival]) -> None:
        """Give every arrival its outcome, in the order in which things were said."""
        for arrival in sorted(arrivals, key=moment):
            self.outcomes.append(self._settle(arrival))

    def _settle(self, arrival: Arrival) -> Outcome:
        item = arrival.item
        if item is None:
            return self._reject(arrival, arrival.refusal or "it cannot be understood")
        first = self.firsts.get(arrival.message_id)
        flag = None
        if first is not None and first.digest != item.digest and arrival.again is not None:
            flag = f"the platform's id {item.external_id} was used before for something else"
            arrival.message_id = arrival.again
            first = self.firsts.get(arrival.message_id)
        if first is not None and first.digest != item.digest:
            return self._reject(arrival, "the key was used before with another body", first)
        if first is not None:
            return Outcome(arrival, "duplicate", request_id=first.request_id)
        outcome = Outcome(arrival, "noted", first=True, reason=item.reason or flag)
        if self._is_banned(arrival, item):
            outcome.word, outcome.reason = "rejected", "banned"
            self._tell_rejected(arrival, "banned")
            self._remember(arrival, item)
        elif item.kind == "message":
            self._hear(arrival, item, outcome)
        elif item.kind in REMARKS:
            self.remarks.take(arrival, item, outcome)
        self.firsts.setdefault(arrival.message_id, First(item.digest, outcome.request_id))
        return outcome

    def stand_in(self, waiting: Iterable[Waiting]) -> None:
        """Edits whose message is not known wait no longer: they say all of it, so they are heard.

        What else was said about the same message goes where the first of them went.
        """
        for each in sorted(waiting, key=lambda one: moment(one.arrival)):
            arrival, outcome = each.arrival, each.outcome
            if each.stored and not self.remarks.end(each):
                continue
            if arrival.item is None or self.remarks.pass_on(arrival, arrival.item, outcome):
                continue
            item = arrival.as_message()
            if item is None:
                continue
            if self._is_banned(arrival, item):
                outcome.word, outcome.reason = "rejected", "banned"
                self._tell_rejected(arrival, "banned")
                continue
            outcome.reason = f"an edit: {outcome.reason}"
            self._hear(arrival, item, outcome)

    def _is_banned(self, arrival: Arrival, item: Item) -> bool:
        """Whether who wrote is banned, or, where a message does not say, whom the talk is with."""
        if item.person is not None:
            return self.bans.hit(arrival.contact, arrival.channel, item.person)
        talk = self.conversations.get(arrival.conversation) if arrival.conversation else None
        card = self.contacts.get(talk.contact) if talk and talk.contact else None
        return (
            item.kind == "message"
            and card is not None
            and self.bans.hit(card.id, arrival.channel, card.person())
        )

    def _remember(self, arrival: Arrival, item: Item) -> None:
        """Remember whom a call is with, though it was rejected: what comes of it may not say."""
        if item.person is None or arrival.channel not in SILENT or arrival.conversation is None:
            return
        person, _ = known(item.person)
        card = self._card(arrival, person)
        if card.id not in self.contacts:
            self.contacts[card.id] = card
            self.changed.add(card.id)
        talk = self._talk(arrival, item, card)
        if talk.contact == contact_id(talk.channel, talk.account, talk.name):
            talk.contact = card.id  # until now nobody was named
        self.changed.add(talk.key)

    def _reject(self, arrival: Arrival, reason: str, first: First | None = None) -> Outcome:
        self._tell_rejected(arrival, reason)
        return Outcome(
            arrival, "rejected", request_id=first.request_id if first else None, reason=reason
        )

    def _tell_rejected(self, arrival: Arrival, reason: str) -> None:
        rejected = MessageRejected(
            time=self.now,
            inbound_id=arrival.inbound_id,
            reason=reason,
            channel=arrival.channel,
            account=arrival.account,
            **trail_of(arrival),
        )
        self.facts.append((rejected, None))

    def _hear(self, arrival: Arrival, item: Item, outcome: Outcome) -> None:
        """A new message goes to its conversation's open request, or opens one."""
        found = self._place(arrival, item)
        if (reason := self._no_message(item, found)) is not None:
            talk = self.conversations.get(found.back or found.ours or UUID(int=0))
            outcome.request_id, outcome.reason = talk.last if talk else None, reason
            self._arrived(arrival, outcome, talk)
            return
        if found.copy is not None:
            self._link(arrival, outcome, found.copy)
            return
        card, doubts = self._author(arrival, item)
        talk = self._talk(arrival, item, card)
        outcome.asked, flags = self._obeyed(item.asked)
        flags = [*found.flags, *item.flags, *doubts, *(flags if talk.open is None else ())]
        if outcome.reason is not None and outcome.reason != item.reason:
            flags.insert(0, outcome.reason)
        flags = list(dict.fromkeys(flags))
        outcome.reason = "; ".join(filter(None, (item.reason, *flags))) or None
        message = message_of(arrival, item, arrival.message_id, flags)
        if talk.open is not None:
            outcome.word, outcome.request_id = "appended", talk.open
            outcome.threaded_by = found.claim.rule if found.claim else "conversation"
            self._append(talk, message, outcome.threaded_by, None, trail_of(arrival))
        else:
            outcome.word = "opened"
            rule = found.claim.rule if found.claim else "follow_up"
            outcome.threaded_by = "new" if talk.last is None else rule
            trail = trail_of(arrival)
            contact = self._answered(talk, card, item)
            outcome.request_id = self._open(talk, contact, message, outcome.asked, None, trail)
            if item.thread is not None and item.thread.acknowledged:
                # What answers the acknowledgement belongs here, too.
                self.threads.issue(talk.account, acknowledgement_id(message.id), talk.key)
        self._arrived(arrival, outcome, talk)
        self.remarks.heard(arrival.name, message.id, outcome.request_id)

    def _arrived(self, arrival: Arrival, outcome: Outcome, talk: Conversation | None) -> None:
        """Remember what may arrive in another mailbox, too."""
        if arrival.copy is not None:
            copy = Copy(arrival.message_id, outcome.request_id, talk.key if talk else None)
            self.threads.arrive(arrival.copy, copy)

    def _link(self, arrival: Arrival, outcome: Outcome, copy: Copy) -> None:
        """What has arrived already has no second effect, whichever mailbox it arrives in."""
        outcome.word, outcome.first, outcome.request_id = "duplicate", False, copy.request_id
        outcome.reason = f"also received at {arrival.account}"
        arrival.message_id = copy.message_id

    def _answered(self, talk: Conversation, card: Card, item: Item) -> Contact:
        """Give whose request it is; whoever is answered instead has a part in the conversation."""
        answer_to = item.thread.answer_to if item.thread is not None else None
        if answer_to is not None:
            self.threads.join(talk.key, [contact_id(talk.channel, talk.account, answer_to)])
        return card.part(answer_to)

    def _obeyed(self, asked: Asked | None) -> tuple[Asked, list[str]]:
        """Give what can be obeyed; of the many messages that ask for nothing, looked at once."""
        if asked is not None:
            return self.rules.obeyed(asked)
        if self._unasked is None:
            self._unasked = self.rules.obeyed(None)
        return self._unasked

    def _place(self, arrival: Arrival, item: Item) -> Found:
        """Where messages are named, what this one names says where it belongs."""
        if item.thread is None or arrival.conversation is None:
            return Found()
        thread = item.thread
        found = self._search(arrival, thread, item.person)
        if self._no_message(item, found) is not None:
            return found
        found = found.beside(self.threads.copies.get(arrival.copy) if arrival.copy else None)
        if found.copy is not None and found.copy.conversation is None:
            return found
        if found.claim is not None:
            arrival.conversation = found.claim.conversation
        self.threads.learn(arrival.account, thread, arrival.conversation, arrival.contact)
        where = (arrival.channel, arrival.account)
        others = [contact_id(*where, address) for address in thread.to]
        self.threads.join(arrival.conversation, filter(None, (arrival.contact, *others)))
        return found

    def _no_message(self, item: Item, found: Found) -> str | None:
        """Say why something is no message to anybody: no person wrote it, or ours came back."""
        if found.back is not None:
            return "a message of ours came back"
        if found.ours is None or item.automatic is None:
            return None
        if item.auto_reply is not None:
            return f"an automatic answer to ours: {item.auto_reply}"
        talk = self.conversations.get(found.ours)
        return f"{AGAIN}: {item.automatic}" if talk is not None and talk.went_on else None

    def _search(self, arrival: Arrival, thread: Thread, person: Person | None) -> Found:
        """Look where it was received, then where else it was sent to: it may belong there."""
        there = self.conversations
        found = self.threads.find(arrival.account, thread, arrival.contact, there)
        if person is None:
            return found
        for each in thread.beside:
            contact = contact_id(arrival.channel, each.account, person.address)
            if found.belongs or self.bans.hit(contact, arrival.channel, person):
                continue
            seen = replace(thread, tag=each.tag, signed=each.signed)
            other = self.threads.find(each.account, seen, contact, there)
            found = other if other.belongs else found
        return found

    def _talk(self, arrival: Arrival, item: Item, card: Card) -> Conversation:
        key = arrival.conversation or UUID(
            conversation_key(arrival.channel, arrival.account, item.conversation)
        )
        talk = self.conversations.get(key)
        if talk is None:
            talk = Conversation(key, arrival.channel, arrival.account, item.conversation)
            self.conversations[key] = talk
        talk.contact = talk.contact or card.id
        return talk

    def _author(self, arrival: Arrival, item: Item) -> tuple[Card, list[str]]:
        """Give who wrote; where that is not told, whoever the conversation is with."""
        talk = self.conversations.get(arrival.conversation) if arrival.conversation else None
        if item.person is None and talk is not None:
            found = self.contacts.get(talk.contact) if talk.contact else None
            return found or self._nobody(talk), []
        person, doubts = known(item.person or Person(item.conversation))
        return self._know(arrival, person), doubts

    def _know(self, arrival: Arrival, person: Person) -> Card:
        """Remember who wrote; what the platform leaves out stays as it was.

        Whoever is doubted to be them changes nothing that is known of a person.
        """
        card = self._card(arrival, person)
        old = self.contacts.get(card.id)
        thread = arrival.item.thread if arrival.item is not None else None
        if old is not None and thread is not None and thread.doubt is not None:
            return old
        if card != old:
            self.contacts[card.id] = card
            self.changed.add(card.id)
            if old is not None:
                told = ContactChanged(
                    time=self.now, contact_id=card.id, contact=card.part(), **trail_of(arrival)
                )
                self.facts.append((told, None))
        return card

    def _card(self, arrival: Arrival, person: Person) -> Card:
        """Give what is known of who wrote, with what was known before."""
        key = arrival.contact or contact_id(arrival.channel, arrival.account, person.address)
        old = self.contacts.get(key)
        return Card(
            key,
            arrival.channel,
            arrival.account,
            person.address,
            person.name or (old.name if old else None),
            person.language or (old.language if old else None),
            person.email or (old.email if old else None),
            person.phone or (old.phone if old else None),
        )

    def _open(
        self,
        talk: Conversation,
        contact: Contact,
        message: Message,
        asked: Asked,
        cause: Fact | None,
        trail: Mapping[str, Any],
    ) -> UUID:
        request_id = uuid5(message.id, "request")
        opened = RequestOpened(
            time=self.now,
            request_id=request_id,
            request_type=asked.type or self.rules.type,
            channel=talk.channel,
            account=talk.account,
            conversation=talk.name,
            contact=contact,
            message=message,
            title=asked.title,
            topic=asked.topic or self.rules.topic,
            topic_by="client" if asked.topic else "none",
            fields=dict(asked.fields),
            priority=asked.priority,
            follow_up_of=talk.last,
            **trail,
        )
        self.facts.append((opened, cause))
        talk.open = talk.last = request_id
        talk.by_machine = message.automatic is not None
        self.requests[request_id] = talk.key
        self.changed.add(talk.key)
        return request_id

    def _append(
        self,
        talk: Conversation,
        message: Message,
        by: str,
        cause: Fact | None,
        trail: Mapping[str, Any],
    ) -> None:
        received = MessageReceived(
            time=self.now,
            request_id=talk.open,
            message=message,
            threaded_by=by,
            conversation=talk.name,
            **trail,
        )
        self.facts.append((received, cause))

    def issued(self, talk: Conversation, reply: ReplySent) -> None:
        """We wrote: what answers it belongs here."""
        self.threads.issue(talk.account, reply.message.id, talk.key)

    def close(self, talk: Conversation, request_id: UUID) -> None:
        """A request has ended; the next message opens a follow-up."""
        if talk.open == request_id:
            # Another that was opened over tickets meanwhile is heard from now on.
            talk.open = talk.last if talk.last != request_id else None
            self.changed.add(talk.key)
        elif talk.last == request_id and talk.open is not None:
            talk.last = talk.open
            self.changed.add(talk.key)

    def give_back(
        self,
        talk: Conversation,
        returned: MessageReturned,
        author: Card | None,
        asked: Asked | None,
    ) -> None:
        """A message came after closing: it opens the follow-up, or joins the one there is."""
        self.close(talk, returned.request_id)
        message = returned.message
        if talk.open is not None:
            self._append(talk, message, "returned", returned, {})
            self.corrections.append(Correction(message.id, "appended", talk.open, "returned"))
            return
        if message.automatic is not None and talk.went_on:
            noted = Correction(message.id, "noted", returned.request_id, "returned")
            self.corrections.append(noted)
            return
        talk.last = talk.last or returned.request_id
        card = author or self._nobody(talk)
        obeyed, _ = self.rules.obeyed(asked)
        request_id = self._open(talk, card.part(), message, obeyed, returned, {})
        self.corrections.append(Correction(message.id, "opened", request_id, "returned"))

    def _nobody(self, talk: Conversation) -> Card:
        key = contact_id(talk.channel, talk.account, talk.name)
        return Card(talk.contact or key, talk.channel, talk.account, talk.name)

    def register(self, opened: Opened) -> None:
        """A request that tickets opened has a conversation and a contact like any other."""
        name = conversation_of(opened)
        address = opened.contact.address or name
        key = UUID(conversation_key(opened.channel, opened.account, name))
        talk = self.conversations.setdefault(
            key, Conversation(key, opened.channel, opened.account, name)
        )
        talk.open, talk.last = talk.open or opened.request_id, opened.request_id
        talk.by_machine = False
        talk.contact = talk.contact or opened.contact.id
        if opened.channel == "email":
            self.threads.join(key, [opened.contact.id])
        self.requests[opened.request_id] = key
        if opened.contact.id not in self.contacts:
            self.contacts[opened.contact.id] = Card(
                opened.contact.id,
                opened.channel,
                opened.account,
                address,
                opened.contact.name,
                opened.contact.language,
            )
            self.changed.add(opened.contact.id)
        self.changed.add(key)


def conversation_of(opened: Opened) -> str:
    """Name the conversation of a request that tickets opened."""
    return conversation_name(opened.request_id, opened.channel, opened.conversation, opened.contact)
