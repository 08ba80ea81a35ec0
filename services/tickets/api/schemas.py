"""Bodies and query parameters."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from chassis.web.conventions import Cursor, Limit
from trunkline_contracts.addresses import mail_address, phone_number


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("a NUL character cannot be stored")
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_nul)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000), AfterValidator(_no_nul)]
LongText = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_no_nul)]


class RequestFilter(BaseModel):
    """Filters of the list of requests, and the page wanted."""

    model_config = ConfigDict(extra="forbid")

    status: str | None = None
    type: str | None = None
    topic: str | None = None
    priority: str | None = None
    channel: str | None = None
    assignee: str | None = None
    group: str | None = None
    contact: str | None = None
    tag: str | None = None
    open: bool | None = None
    breached: bool | None = None
    limit: Limit = 50
    cursor: Cursor = None


class Body(BaseModel):
    """A command's body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoBody(Body):
    """The body of a command that takes none."""


ADDRESS_FIELDS = {
    "api": ("id", "email", "phone"),
    "email": ("email", "phone", "id"),
    "form": ("email", "phone", "id"),
    "telephony": ("phone", "id", "email"),
    "whatsapp": ("phone", "id", "email"),
}
"""The fields that can hold a contact's address on a channel, best first; `id` first elsewhere."""


class Customer(Body):
    """The customer of a new request; needs at least one address."""

    id: Name | None = None
    name: Name | None = None
    email: Name | None = None
    phone: Name | None = None
    address: Name | None = None
    language: Name | None = None

    def address_on(self, channel: str) -> str | None:
        """Return the customer's address in the form in which the channel identifies senders."""
        values = {"id": self.id, "email": mail_address(self.email or ""), "phone": self.phone}
        fields = ADDRESS_FIELDS.get(channel, ("id", "phone", "email"))
        candidates = (self.address, *(values[field] for field in fields))
        addresses = (_normalised(channel, value) for value in candidates if value)
        return next((address for address in addresses if address), None)


def _normalised(channel: str, address: str) -> str:
    """Return an address as the channel writes it; WhatsApp numbers have no plus sign."""
    match channel:
        case "email":
            return mail_address(address)
        case "telephony":
            return phone_number(address)
        case "whatsapp":
            return phone_number(address).removeprefix("+")
        case _:
            return address


class Opening(Body):
    """A request opened on behalf of a customer."""

    type: Name | None = None
    description: Text
    contact: Customer
    title: Name | None = None
    topic: Name | None = None
    priority: Name | None = None
    channel: Name = "email"
    account: Name = "main"
    conversation: Name | None = None
    fields: dict[str, Any] = Field(default={}, max_length=100)


class TextBody(Body):
    """The text of a reply or of a note."""

    text: Text


class Title(Body):
    title: Name


class Topic(Body):
    topic: Name


class Priority(Body):
    priority: Name


class Fields(Body):
    fields: dict[str, Any] = Field(max_length=100)


class Status(Body):
    status: Name


class Closing(Body):
    resolution: LongText = ""


class Pause(Body):
    reason: LongText | None = None


class Tag(Body):
    tag: Name


class Watcher(Body):
    """The watcher to add; the caller unless named."""

    watcher: Name | None = None
