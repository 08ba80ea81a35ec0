"""The HTTP API and the mobile SDK: one submission per delivery, validated at the gateway and
here."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ingest.channels.parsing import unreadable_from
from ingest.domain.items import InboundItem, Person, RawDelivery, RequestAttributes
from ingest.domain.text import clean
from trunkline_contracts.addresses import mail_address

Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
NonBlankText = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]


class Sender(BaseModel):
    """The author, known by the first of id, email and phone."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: Name | None = None
    name: Name | None = None
    email: Name | None = None
    phone: Name | None = None
    language: Annotated[str, StringConstraints(max_length=35)] | None = None


class Submission(BaseModel):
    """A request, or another message of the open request that `conversation` names."""

    text: NonBlankText
    contact: Sender
    title: Name | None = None
    topic: Name | None = None
    fields: dict[str, Any] = Field(default_factory=dict)
    priority: Name | None = None
    type: Name | None = None
    conversation: Name | None = None

    def attributes(self) -> RequestAttributes:
        """Return the request attributes."""
        title = None if self.title is None else clean(self.title)
        return RequestAttributes(self.topic, title, self.type, self.priority, self.fields)


class DeviceSubmission(Submission):
    """A submission of a customer's device, whose token names the customer."""

    contact: Sender = Sender()
    """Its name and language count if the token has none."""
    priority: None = None
    """Customers set neither priority nor type."""
    type: None = None


def read(raw: RawDelivery) -> tuple[InboundItem, ...]:
    """Read one submission; without an Idempotency-Key no other one is its duplicate."""
    model = Submission if raw.sender is None else DeviceSubmission
    try:
        submission = model.model_validate_json(raw.body)
    except ValidationError as bad:
        raise unreadable_from(bad) from None
    conversation = clean(submission.conversation or raw.inbound_id)
    if raw.sender is None:
        person = _person_from_body(submission.contact, conversation)
    else:
        person = _person_from_token(raw.sender, submission.contact)
        # The prefix keeps devices out of each other's conversations: contact ids have no spaces.
        conversation = f"{person.address} {conversation}"
    return (
        InboundItem(
            "message",
            raw.idempotency_key,
            raw.sha256,
            "rejected",
            conversation=conversation,
            person=person,
            text=clean(submission.text),
            sent_at=raw.received_at,
            asked=submission.attributes(),
        ),
    )


def _person_from_body(sender: Sender, conversation: str) -> Person:
    address = clean(sender.id or mail_address(sender.email or "") or sender.phone or conversation)
    return Person(address, *map(_clean, (sender.name, sender.language, sender.email, sender.phone)))


def _person_from_token(person: Person, sender: Sender) -> Person:
    name, language = person.name or _clean(sender.name), person.language or _clean(sender.language)
    return replace(person, name=name, language=language)


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)
