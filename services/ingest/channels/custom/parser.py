"""Custom channels: one message per delivery, in our own format, by HTTP or NATS."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ingest.channels.parsing import digest, parse, unreadable_from
from ingest.domain.items import InboundItem, Person, RawDelivery
from ingest.domain.text import clean
from trunkline_contracts.parts import Attachment

Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
NonBlankText = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]
SentAt = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC))]


class Author(BaseModel):
    """The author, by the id the integrator knows them under."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: Name
    name: Name | None = None
    email: Name | None = None
    phone: Name | None = None
    language: Annotated[str, StringConstraints(max_length=35)] | None = None


class File(BaseModel):
    """An attachment by reference; it is not fetched."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=2000)]
    name: Name | None = None
    content_type: Annotated[str, StringConstraints(max_length=100)] | None = None
    size: Annotated[int, Field(ge=0, lt=2**53)] | None = None


class CustomMessage(BaseModel):
    """A customer's message. The same `id` again is the same message."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: Name
    text: NonBlankText
    contact: Author
    conversation: Name | None = None
    """The conversation; by default the contact's own."""
    sent_at: SentAt | None = None
    attachments: Annotated[list[File], Field(max_length=50)] = []


def read(raw: RawDelivery) -> tuple[InboundItem, ...]:
    """Read one message."""
    try:
        message = CustomMessage.model_validate_json(raw.body)
    except ValidationError as bad:
        raise unreadable_from(bad) from None
    contact = message.contact
    details = (contact.name, contact.language, contact.email, contact.phone)
    return (
        InboundItem(
            "message",
            clean(message.id),
            digest(parse(raw.body)),
            conversation=clean(message.conversation or contact.id),
            person=Person(clean(contact.id), *(detail and clean(detail) for detail in details)),
            text=clean(message.text),
            sent_at=min(message.sent_at or raw.received_at, raw.received_at),
            platform_id=clean(message.id),
            attachments=tuple(_attachment(file) for file in message.attachments),
        ),
    )


def _attachment(file: File) -> Attachment:
    fields = {key: clean(value) for key, value in file if isinstance(value, str)}
    return Attachment(size=file.size, **fields)
