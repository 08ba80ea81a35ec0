"""The HTTP API and the mobile SDK: one submission per delivery, checked at the door and here."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ingest.adapters.item import Asked, Item, Person, Raw
from ingest.adapters.plain import clean, unreadable

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


def read(raw: Raw) -> tuple[Item, ...]:
    """Read one submission; without an Idempotency-Key it is never taken for another."""
    try:
        said = Submission.model_validate_json(raw.body)
    except ValidationError as bad:
        raise unreadable(bad) from None
    conversation = clean(said.conversation or raw.inbound_id)
    who = said.contact
    address = clean(who.id or (who.email or "").lower() or who.phone or conversation)
    return (
        Item(
            "message",
            raw.idempotency_key,
            raw.sha256,
            "rejected",
            conversation=conversation,
            person=Person(address, *map(_clean, (who.name, who.language, who.email, who.phone))),
            text=clean(said.text),
            sent_at=raw.received_at,
            asked=said.asked(),
        ),
    )


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)
