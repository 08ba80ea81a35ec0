"""Custom channels: one message per delivery, in our own form, over HTTP and NATS alike."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ingest.channels.parsing import digest, parse, unreadable
from ingest.domain.items import Item, Person, Raw
from ingest.domain.text import clean
from trunkline_contracts.parts import Attachment

Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Words = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]
Moment = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC))]


class Author(BaseModel):
    """Who writes, by the id the integrator knows them under."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: Name
    name: Name | None = None
    email: Name | None = None
    phone: Name | None = None
    language: Annotated[str, StringConstraints(max_length=35)] | None = None


class File(BaseModel):
    """Something that came with a message; it stays where it is."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=2000)]
    name: Name | None = None
    content_type: Annotated[str, StringConstraints(max_length=100)] | None = None
    size: Annotated[int, Field(ge=0, lt=2**53)] | None = None


class Said(BaseModel):
    """What a customer wrote. The same `id` again is the same message."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: Name
    text: Words
    contact: Author
    conversation: Name | None = None
    """Where it was written; the contact's own conversation unless it is said."""
    sent_at: Moment | None = None
    attachments: Annotated[list[File], Field(max_length=50)] = []


def read(raw: Raw) -> tuple[Item, ...]:
    """Read one message."""
    try:
        said = Said.model_validate_json(raw.body)
    except ValidationError as bad:
        raise unreadable(bad) from None
    who = said.contact
    about = (who.name, who.language, who.email, who.phone)
    return (
        Item(
            "message",
            clean(said.id),
            digest(parse(raw.body)),
            conversation=clean(said.conversation or who.id),
            person=Person(clean(who.id), *(each and clean(each) for each in about)),
            text=clean(said.text),
            sent_at=min(said.sent_at or raw.received_at, raw.received_at),
            platform_id=clean(said.id),
            attachments=tuple(_reference(file) for file in said.attachments),
        ),
    )


def _reference(file: File) -> Attachment:
    told = {key: clean(value) for key, value in file if isinstance(value, str)}
    return Attachment(size=file.size, **told)
