"""One item of a delivery with its ids and keys, and the outcome it gets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID, uuid5

from ingest.domain.items import InboundItem, Person, RequestAttributes
from ingest.domain.message_keys import (
    CHANNELS_NUMBERING_PER_CHAT,
    message_key,
    numbering_key,
    target_keys,
)
from trunkline_contracts.fact import NAMESPACE
from trunkline_contracts.ids import contact_id, conversation_key, message_id
from trunkline_contracts.parts import ContactCard, Location, Message

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 8259, section 6)."""
OutcomeKind = Literal["opened", "appended", "noted", "duplicate", "rejected", "parked"]


@dataclass(frozen=True, slots=True)
class FirstSeen:
    """The first arrival of a message: the digest of its content, and its request."""

    digest: str
    request_id: UUID | None


@dataclass(slots=True)
class BatchEntry:
    """One item of a delivery, with the delivery's context and the keys derived from both.

    Without an item the delivery is unreadable, and `refusal` is the reason.
    """

    inbound_id: str
    n: int
    channel: str
    account: str
    received_at: datetime
    item: InboundItem | None
    refusal: str | None = None
    slot: int = 0
    sequence: int = 0
    traceparent: str | None = None
    chunks: int = 1
    message_id: UUID = field(init=False)
    conversation: UUID | None = field(init=False, default=None)
    contact: UUID | None = field(init=False, default=None)
    platform_key: UUID | None = field(init=False, default=None)
    """The message's key within its chat, where the platform's id alone is not unique."""
    target_keys: tuple[UUID, ...] = field(init=False, default=())
    """Of a message update: the keys of the message it refers to."""
    mail_key: UUID | None = field(init=False, default=None)
    """Of an e-mail: its key, which is the same in every mailbox it arrives in."""

    def __post_init__(self) -> None:
        external_id = self.item.external_id if self.item else None
        self.message_id = self._message_id(external_id or f"{self.inbound_id}:{self.n}")
        if self.item is None:
            return
        account = (self.channel, self.account)
        numbering = None
        if self.item.person is not None or self.item.conversation:
            self.conversation = UUID(conversation_key(*account, self.item.conversation))
            numbering = numbering_key(*account, self.item.conversation)
            platform_id = self.item.platform_id
            per_chat = self.channel in CHANNELS_NUMBERING_PER_CHAT
            if platform_id is not None and (per_chat or platform_id != external_id):
                self.platform_key = message_key(numbering, platform_id)
        if self.item.person is not None:
            self.contact = contact_id(*account, self.item.person.address)
        self.target_keys = target_keys(*account, numbering, self.item)
        if self.item.thread is not None and self.item.thread.content:
            self.mail_key = uuid5(NAMESPACE, f"mail\n{self.item.thread.content}")

    @property
    def update_key(self) -> UUID:
        """Return the key under which message updates find this message."""
        return self.platform_key or self.message_id

    @property
    def pending_keys(self) -> tuple[UUID, ...]:
        """Return the keys an update waits under: its message's, else its conversation's."""
        return self.target_keys or ((self.conversation,) if self.conversation else ())

    @property
    def author_contacts(self) -> tuple[UUID, ...]:
        """Return the author's contact id in each mailbox the message was sent to."""
        item = self.item
        if self.contact is None or item is None or item.person is None:
            return ()
        mailboxes = item.thread.beside if item.thread else ()
        address = item.person.address
        others = (contact_id(self.channel, mailbox.account, address) for mailbox in mailboxes)
        return (self.contact, *others)

    def replace_address(self, address: str, known_address: str) -> None:
        """Attribute the item to the address its author is already known by."""
        item = self.item
        if item is None or address == known_address:
            return
        person = replace(item.person, address=known_address) if item.person else None
        conversation = known_address if item.conversation == address else item.conversation
        self.item = replace(item, person=person, conversation=conversation)
        self.__post_init__()

    def as_message(self) -> InboundItem | None:
        """Turn an edit into the message it refers to, known by that message's key from now on.

        Return None if this is no edit, if it is empty, or if its conversation is unknown.
        """
        item = self.item
        if item is None or item.kind != "edited" or self.conversation is None:
            return None
        if not item.text and not item.attachments:
            return None
        self.item = replace(item, kind="message", platform_id=item.about, about=None)
        self.platform_key, self.target_keys = self.target_keys[-1], ()
        return self.item

    def _message_id(self, external_id: str) -> UUID:
        return message_id(self.channel, self.account, external_id)

    @property
    def reissued_id(self) -> UUID | None:
        """Return the message id to use when the platform has issued an old id again."""
        if self.item is None or self.item.reused != "new":
            return None
        return self._message_id(f"{self.item.external_id}#{self.item.digest}")


@dataclass(slots=True)
class Outcome:
    """The outcome of an item."""

    entry: BatchEntry
    kind: OutcomeKind
    first: bool = False
    request_id: UUID | None = None
    reason: str | None = None
    threaded_by: str | None = None
    attributes: RequestAttributes | None = None
    """The allowed request attributes, in case a request has to be opened later."""


def ordering_key(entry: BatchEntry) -> tuple[datetime, int, int]:
    """Order items by the time they were sent, the platform's number, then arrival."""
    item = entry.item
    sent_at = item.sent_at if item and item.sent_at else entry.received_at
    return (sent_at, platform_number(item) or 0, entry.sequence)


def platform_number(item: InboundItem | None) -> int | None:
    """Return the platform's id of an item as a number that every JSON reader keeps exactly."""
    text = (item.external_id if item else None) or ""
    if len(text) > len(str(MAX_SAFE_INTEGER)) or not (text.isascii() and text.isdigit()):
        return None
    return number if (number := int(text)) <= MAX_SAFE_INTEGER else None


def message_from(
    entry: BatchEntry, item: InboundItem, id: UUID, flags: Sequence[str] = ()
) -> Message:
    """Return an item's content in the form facts carry."""
    place, cards = item.place, item.cards
    return Message(
        id=id,
        text=item.text,
        html=item.html,
        attachments=item.attachments,
        sent_at=item.sent_at or entry.received_at,
        external_id=item.platform_id or (item.about if item.kind == "edited" else None),
        reply_to=item.reply_to,
        location=place
        and Location(
            latitude=place.latitude,
            longitude=place.longitude,
            name=place.name,
            address=place.address,
        ),
        contacts=tuple(map(_contact_card, cards)) if cards else (),
        button=item.button,
        quoted=item.quoted,
        flags=tuple(flags),
        no_auto_response=item.no_auto_response,
        number=platform_number(item),
        automatic=item.automatic,
    )


def _contact_card(card: Person) -> ContactCard:
    return ContactCard(name=card.name, phone=card.phone, email=card.email, address=card.address)


def trace_fields(entry: BatchEntry) -> dict[str, Any]:
    """Return the fields that link a fact to the delivery it comes from."""
    return {"correlationid": entry.inbound_id, "traceparent": entry.traceparent}
