"""The state one batch of intake decides on, and its decisions: outcomes, facts and changes.

The store loads an `IntakeBatch` under locks, `message_intake` and `ticket_facts` decide on it, and
the store saves it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from ingest.domain.bans import BanSet
from ingest.domain.batch_entry import BatchEntry, FirstSeen, Outcome, OutcomeKind, trace_fields
from ingest.domain.field_rules import Rules
from ingest.domain.items import Person, RequestAttributes
from ingest.domain.message_updates import MessageUpdates
from ingest.domain.threading import ThreadIndex
from trunkline_contracts import (
    Fact,
    MessageReceived,
    MessageRejected,
    MessageReturned,
    RequestOpened,
)
from trunkline_contracts.ids import contact_id
from trunkline_contracts.parts import Contact, Message


@dataclass(frozen=True, slots=True)
class ContactRecord:
    """The stored data of a contact."""

    id: UUID
    channel: str
    account: str
    address: str
    name: str | None = None
    language: str | None = None
    email: str | None = None
    phone: str | None = None

    def for_fact(self, answer_to: str | None = None) -> Contact:
        """Return the contact in the form facts carry it.

        `answer_to` is the address a request is answered at, if it is not the contact's own.
        """
        return Contact(
            id=self.id,
            name=self.name,
            address=self.address,
            language=self.language,
            answer_to=answer_to,
        )

    def person(self) -> Person:
        """Return the contact as the author of an item, to be checked against bans."""
        return Person(self.address, self.name, self.language, self.email, self.phone)


@dataclass(slots=True)
class Conversation:
    """A conversation with a customer, and its open request."""

    key: UUID
    channel: str
    account: str
    name: str
    open_request: UUID | None = None
    last_request: UUID | None = None
    contact_id: UUID | None = None
    opened_by_machine: bool | None = None
    """Whether a machine's message opened the last request."""

    @property
    def machine_already_answered(self) -> bool:
        """Return whether a machine opened the last request, which is closed by now."""
        return self.open_request is None and bool(self.opened_by_machine)

    def anonymous_contact(self) -> ContactRecord:
        """Return a contact of this conversation that nothing more is known of."""
        id = self.contact_id or contact_id(self.channel, self.account, self.name)
        return ContactRecord(id, self.channel, self.account, self.name)


@dataclass(frozen=True, slots=True)
class Correction:
    """A new outcome for a message that had another one before."""

    message_id: UUID
    kind: OutcomeKind
    request_id: UUID
    threaded_by: str


@dataclass(slots=True)
class IntakeBatch:
    """The loaded state of one batch, and what is decided on it."""

    rules: Rules
    now: datetime
    first_seen: dict[UUID, FirstSeen] = field(default_factory=dict)
    conversations: dict[UUID, Conversation] = field(default_factory=dict)
    contacts: dict[UUID, ContactRecord] = field(default_factory=dict)
    threads: ThreadIndex = field(default_factory=ThreadIndex)
    bans: BanSet = field(default_factory=BanSet)
    bans_version: int = 0
    """The version of the bans that was in force when the state was loaded."""
    has_pending_updates: bool = False
    """Whether stored updates wait for messages of this batch."""
    outcomes: list[Outcome] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)
    requests: dict[UUID, UUID] = field(default_factory=dict)
    """New requests, with their conversations."""
    changed: set[UUID] = field(default_factory=set)
    """Conversations and contacts that must be saved."""
    facts: list[tuple[Fact, Fact | None]] = field(default_factory=list)
    """Facts to record, each with the fact that caused it, if one did."""
    updates: MessageUpdates = field(init=False)
    _default_attributes: tuple[RequestAttributes, list[str]] | None = None

    def __post_init__(self) -> None:
        self.updates = MessageUpdates(self.now, self.facts)

    def conversation_of(self, entry: BatchEntry) -> Conversation | None:
        """Return the conversation an entry belongs to, if it exists."""
        return self.conversations.get(entry.conversation) if entry.conversation else None

    def contact_of(self, conversation: Conversation | None) -> ContactRecord | None:
        """Return the contact a conversation is with, if it is known."""
        if conversation is None or conversation.contact_id is None:
            return None
        return self.contacts.get(conversation.contact_id)

    def save_contact(self, contact: ContactRecord) -> None:
        """Keep a new or changed contact, to be saved."""
        self.contacts[contact.id] = contact
        self.changed.add(contact.id)

    def allowed_attributes(
        self, attributes: RequestAttributes | None
    ) -> tuple[RequestAttributes, list[str]]:
        """Return the request attributes the workspace allows, and flags for the others.

        The answer for messages without attributes, which are most, is computed once.
        """
        if attributes is not None:
            return self.rules.keep_allowed(attributes)
        if self._default_attributes is None:
            self._default_attributes = self.rules.keep_allowed(None)
        return self._default_attributes

    def record_rejection(self, entry: BatchEntry, reason: str) -> None:
        """Record the fact that an item was rejected."""
        rejected = MessageRejected(
            time=self.now,
            inbound_id=entry.inbound_id,
            reason=reason,
            channel=entry.channel,
            account=entry.account,
            **trace_fields(entry),
        )
        self.facts.append((rejected, None))

    def open_request(
        self,
        conversation: Conversation,
        contact: Contact,
        message: Message,
        attributes: RequestAttributes,
        *,
        cause: MessageReturned | None = None,
        trace: Mapping[str, Any] | None = None,
    ) -> UUID:
        """Open a request with its first message, record `request_opened`, and return its id."""
        request_id = uuid5(message.id, "request")
        opened = RequestOpened(
            time=self.now,
            request_id=request_id,
            request_type=attributes.type or self.rules.type,
            channel=conversation.channel,
            account=conversation.account,
            conversation=conversation.name,
            contact=contact,
            message=message,
            title=attributes.title,
            topic=attributes.topic or self.rules.topic,
            topic_by="client" if attributes.topic else "none",
            fields=dict(attributes.fields),
            priority=attributes.priority,
            follow_up_of=conversation.last_request,
            **(trace or {}),
        )
        self.facts.append((opened, cause))
        conversation.open_request = conversation.last_request = request_id
        conversation.opened_by_machine = message.automatic is not None
        self.requests[request_id] = conversation.key
        self.changed.add(conversation.key)
        return request_id

    def append_message(
        self,
        conversation: Conversation,
        message: Message,
        threaded_by: str,
        *,
        cause: MessageReturned | None = None,
        trace: Mapping[str, Any] | None = None,
    ) -> None:
        """Append a message to the open request: record `message_received`."""
        received = MessageReceived(
            time=self.now,
            request_id=conversation.open_request,
            message=message,
            threaded_by=threaded_by,
            conversation=conversation.name,
            **(trace or {}),
        )
        self.facts.append((received, cause))
