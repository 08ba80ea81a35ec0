"""What commands are told over HTTP."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from trunkline_contracts.addresses import mail_address, phone_number


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("a NUL character cannot be stored")
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_nul)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000), AfterValidator(_no_nul)]
Said = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_no_nul)]


class Body(BaseModel):
    """A command's body; what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True)


KNOWN_BY = {
    "api": ("id", "email", "phone"),
    "email": ("email", "phone", "id"),
    "form": ("email", "phone", "id"),
    "telephony": ("phone", "id", "email"),
    "whatsapp": ("phone", "id", "email"),
}
"""By what a channel knows a contact, the best first; elsewhere by id."""


class Customer(Body):
    """For whom a request is opened; at least one way to reach them."""

    id: Name | None = None
    name: Name | None = None
    email: Name | None = None
    phone: Name | None = None
    address: Name | None = None
    language: Name | None = None

    def address_on(self, channel: str) -> str | None:
        """Where the channel reaches them, as whoever writes from there is known."""
        told = {"id": self.id, "email": mail_address(self.email or ""), "phone": self.phone}
        names = KNOWN_BY.get(channel, ("id", "phone", "email"))
        found = (self.address, *(told[name] for name in names))
        return next((known for each in found if each and (known := _written(channel, each))), None)


def _written(channel: str, address: str) -> str:
    """Write an address as the channel does; WhatsApp leaves out a number's plus."""
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
    """A request opened for a customer."""

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


class Words(Body):
    """A reply or a note."""

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
    resolution: Said = ""


class Pause(Body):
    reason: Said | None = None


class Tag(Body):
    tag: Name


class Watcher(Body):
    """Who watches; oneself unless named."""

    watcher: Name | None = None
