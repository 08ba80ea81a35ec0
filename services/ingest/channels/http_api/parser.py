"""The HTTP API and the mobile SDK: one submission per delivery, checked at the door and here."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ingest.channels.parsing import unreadable
from ingest.domain.items import Asked, Item, Person, Raw
from ingest.domain.text import clean
from trunkline_contracts.addresses import mail_address

Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Words = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]


class Sender(BaseModel):
    """Who writes. The first of id, email and phone is how they are known again."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: Name | None = None
    name: Name | None = None
    email: Name | None = None
    phone: Name | None = None
    language: Annotated[str, StringConstraints(max_length=35)] | None = None


class Submission(BaseModel):
    """A request, or a further message when `conversation` names one that is open."""

    text: Words
    contact: Sender
    title: Name | None = None
    topic: Name | None = None
    fields: dict[str, Any] = Field(default_factory=dict)
    priority: Name | None = None
    type: Name | None = None
    conversation: Name | None = None

    def asked(self) -> Asked:
        """What is asked of the request."""
        title = None if self.title is None else clean(self.title)
        return Asked(self.topic, title, self.type, self.priority, self.fields)


class FromDevice(Submission):
    """What a customer's device sends: who that is, its token has said already."""

    contact: Sender = Sender()
    """Its name and language count where the token tells none."""
    priority: None = None
    """How urgent it is, and of what type, is not for customers to say."""
    type: None = None


def read(raw: Raw) -> tuple[Item, ...]:
    """Read one submission; without an Idempotency-Key it is never taken for another."""
    form = Submission if raw.sender is None else FromDevice
    try:
        said = form.model_validate_json(raw.body)
    except ValidationError as bad:
        raise unreadable(bad) from None
    conversation = clean(said.conversation or raw.inbound_id)
    if raw.sender is None:
        person = _named(said.contact, conversation)
    else:
        person = _known(raw.sender, said.contact)
        # Nobody reaches into the conversations of others; contacts' ids have no spaces.
        conversation = f"{person.address} {conversation}"
    return (
        Item(
            "message",
            raw.idempotency_key,
            raw.sha256,
            "rejected",
            conversation=conversation,
            person=person,
            text=clean(said.text),
            sent_at=raw.received_at,
            asked=said.asked(),
        ),
    )


def _named(who: Sender, conversation: str) -> Person:
    address = clean(who.id or mail_address(who.email or "") or who.phone or conversation)
    return Person(address, *map(_clean, (who.name, who.language, who.email, who.phone)))


def _known(who: Person, told: Sender) -> Person:
    name, language = who.name or _clean(told.name), who.language or _clean(told.language)
    return replace(who, name=name, language=language)


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)
