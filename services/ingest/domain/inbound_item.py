"""One item of a delivery on its way to its outcome, by the names under which it may be known.

Longer than other files: what it becomes as a message stands beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID, uuid5

from ingest.domain.items import Asked, Item, Person
from ingest.domain.references import PER_CHAT, counted_in, name_in, names_about
from trunkline_contracts.fact import NAMESPACE
from trunkline_contracts.ids import contact_id, conversation_key, message_id
from trunkline_contracts.parts import ContactCard, Location, Message

HIGHEST: Final = 2**53 - 1
Word = Literal["opened", "appended", "noted", "duplicate", "rejected", "parked"]


@dataclass(frozen=True, slots=True)
class First:
    """The first time a message came: what it said and where it went."""

    digest: str
    request_id: UUID | None


@dataclass(slots=True)
class Arrival:
    """One item of a delivery, on its way to its outcome."""

    inbound_id: str
    n: int
    channel: str
    account: str
    received_at: datetime
    item: Item | None
    refusal: str | None = None
    slot: int = 0
    sequence: int = 0
    traceparent: str | None = None
    chunks: int = 1
    message_id: UUID = field(init=False)
    conversation: UUID | None = field(init=False, default=None)
    contact: UUID | None = field(init=False, default=None)
    platform: UUID | None = field(init=False, default=None)
    """Its name within its chat, where the platform's id alone does not name it."""
    about: tuple[UUID, ...] = field(init=False, default=())
    """The keys of the message this is a remark about."""
    copy: UUID | None = field(init=False, default=None)
    """Of a mail: the key it has in whichever mailboxes it arrives."""

    def __post_init__(self) -> None:
        external_id = self.item.external_id if self.item else None
        self.message_id = self._named(external_id or f"{self.inbound_id}:{self.n}")
        if self.item is None:
            return
        where = (self.channel, self.account)
        counted = None
        if self.item.person is not None or self.item.conversation:
            self.conversation = UUID(conversation_key(*where, self.item.conversation))
            counted = counted_in(*where, self.item.conversation)
            platform_id = self.item.platform_id
            if platform_id is not None and (self.channel in PER_CHAT or platform_id != external_id):
                self.platform = name_in(counted, platform_id)
        if self.item.person is not None:
            self.contact = contact_id(*where, self.item.person.address)
        self.about = names_about(*where, counted, self.item)
        if self.item.thread is not None and self.item.thread.content:
            self.copy = uuid5(NAMESPACE, f"mail\n{self.item.thread.content}")

    @property
    def name(self) -> UUID:
        """The key under which remarks find it."""
        return self.platform or self.message_id

    @property
    def waits_for(self) -> tuple[UUID, ...]:
        """The keys under which a remark waits: its message's, or, if it names none, its talk's."""
        return self.about or ((self.conversation,) if self.conversation else ())

    @property
    def contacts(self) -> tuple[UUID, ...]:
        """Who wrote it, as each mailbox it was sent to knows them."""
        item = self.item
        if self.contact is None or item is None or item.person is None:
            return ()
        beside = item.thread.beside if item.thread else ()
        address = item.person.address
        others = (contact_id(self.channel, each.account, address) for each in beside)
        return (self.contact, *others)

    def comes_as(self, name: str, known: str) -> None:
        """Have whoever comes under a name be who is known by another."""
        item = self.item
        if item is None or name == known:
            return
        person = replace(item.person, address=known) if item.person else None
        talk = known if item.conversation == name else item.conversation
        self.item = replace(item, person=person, conversation=talk)
        self.__post_init__()

    def as_message(self) -> Item | None:
        """Take an edit for the message it is about, by whose name it is known from now on.

        None where it is no edit, or there is nothing in it, or nobody says where it was said.
        """
        item = self.item
        if item is None or item.kind != "edited" or self.conversation is None:
            return None
        if not item.text and not item.attachments:
            return None
        self.item = replace(item, kind="message", platform_id=item.about, about=None)
        self.platform, self.about = self.about[-1], ()
        return self.item

    def _named(self, external_id: str) -> UUID:
        return message_id(self.channel, self.account, external_id)

    @property
    def again(self) -> UUID | None:
        """The id it has when the platform's id is an old one that started anew."""
        if self.item is None or self.item.reused != "new":
            return None
        return self._named(f"{self.item.external_id}#{self.item.digest}")


@dataclass(slots=True)
class Outcome:
    """What became of an item."""

    arrival: Arrival
    word: Word
    first: bool = False
    request_id: UUID | None = None
    reason: str | None = None
    threaded_by: str | None = None
    asked: Asked | None = None
    """What was asked for and can be had, should a request have to be opened later."""


def moment(arrival: Arrival) -> tuple[datetime, int, int]:
    """Order what was said by when it was said, then by the platform's number, then as it came."""
    item = arrival.item
    said = item.sent_at if item and item.sent_at else arrival.received_at
    return (said, number_of(item) or 0, arrival.sequence)


def number_of(item: Item | None) -> int | None:
    """Give the platform's number of an item, where its id is one that every reader understands."""
    told = (item.external_id if item else None) or ""
    if len(told) > len(str(HIGHEST)) or not (told.isascii() and told.isdigit()):
        return None
    return number if (number := int(told)) <= HIGHEST else None


def message_of(arrival: Arrival, item: Item, id: UUID, flags: Sequence[str] = ()) -> Message:
    """Give an item's content as facts carry it."""
    place, cards = item.place, item.cards
    return Message(
        id=id,
        text=item.text,
        html=item.html,
        attachments=item.attachments,
        sent_at=item.sent_at or arrival.received_at,
        external_id=item.platform_id or (item.about if item.kind == "edited" else None),
        reply_to=item.reply_to,
        location=place
        and Location(
            latitude=place.latitude,
            longitude=place.longitude,
            name=place.name,
            address=place.address,
        ),
        contacts=tuple(map(_card, cards)) if cards else (),
        button=item.button,
        quoted=item.quoted,
        flags=tuple(flags),
        no_auto_response=item.no_auto_response,
        number=number_of(item),
        automatic=item.automatic,
    )


def _card(card: Person) -> ContactCard:
    return ContactCard(name=card.name, phone=card.phone, email=card.email, address=card.address)


def trail_of(arrival: Arrival) -> dict[str, Any]:
    """Give what links a fact to the delivery it came of."""
    return {"correlationid": arrival.inbound_id, "traceparent": arrival.traceparent}
