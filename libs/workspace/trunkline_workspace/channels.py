"""Accounts of channels: which keys each channel knows, and which it cannot do without."""

from typing import Annotated, Literal

from pydantic import Field

from trunkline_workspace.values import Origin, Part, Rate, Secret, Url

Channel = Literal[
    "telegram",
    "viber",
    "whatsapp",
    "messenger",
    "instagram",
    "email",
    "custom",
    "telephony",
    "form",
    "widget",
]

CallField = Literal[
    "call_id",
    "event",
    "direction",
    "from",
    "to",
    "name",
    "operator",
    "at",
    "duration",
    "recording",
    "transcript",
    "reason",
]
"""What is known of a call; a telephony provider's own fields are mapped to these."""
FieldPath = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f]{1,200}$")]
"""Where in what a provider sends a value is: names and numbers of places, with dots between."""

MAILBOX = r"^[^@\s]+@[^@\s]+$"
MAIL = {"user", "password", "from_name", "authserv", "acknowledge", "per_sender", "forwarders"}
META = ({"secret", "token", "verify_token"}, {"api_base", "app_id"})
KEYS: dict[str, tuple[set[str], set[str]]] = {
    "telegram": ({"secret", "token"}, {"api_base"}),
    "viber": ({"token"}, {"api_base"}),
    "whatsapp": ({*META[0], "phone_id"}, META[1]),
    "messenger": META,
    "instagram": META,
    "email": ({"address", "secret", "smtp"}, MAIL),
    "custom": ({"secret"}, {"url", "token"}),
    "telephony": ({"secret"}, {"field_mapping"}),
    "form": ({"secret"}, {"origins"}),
    "widget": ({"secret"}, {"origins"}),
}
"""Per channel: the keys an account must have, and those it may have."""

API_BASES = {
    "telegram": "https://api.telegram.org",
    "viber": "https://chatapi.viber.com/pa",
    "whatsapp": "https://graph.facebook.com/v23.0",
    "messenger": "https://graph.facebook.com/v23.0",
    "instagram": "https://graph.instagram.com/v23.0",
}


class Account(Part):
    """One account of a channel. Which of these keys it has depends on the channel."""

    secret: Secret | None = None
    """What proves that a delivery comes from the platform."""
    token: Secret | None = None
    """What we prove ourselves with when sending."""
    verify_token: Secret | None = None
    api_base: Url = ""
    app_id: str | None = None
    phone_id: str | None = None
    address: str | None = Field(default=None, pattern=MAILBOX)
    smtp: Url | None = None
    user: str | None = None
    password: Secret | None = None
    from_name: str | None = None
    authserv: str | None = Field(default=None, pattern=r"^[^\s;]+$")
    """The name under which our own mail server says what it found of a sender (RFC 8601)."""
    acknowledge: str | None = Field(default=None, min_length=1, max_length=4000)
    """What whoever begins a request is answered at once, by the machine; None: nothing."""
    per_sender: Rate = "20/min"
    """How many mails one address may send; beyond that they are parked, for it may be a loop."""
    forwarders: list[Annotated[str, Field(pattern=MAILBOX)]] = []
    """Addresses that write for others, as a shop's form does: the author is in `Reply-To`."""
    url: Url | None = None
    field_mapping: dict[FieldPath, CallField] = {}
    origins: list[Origin] = []
    """The pages that may use it, each as scheme, host and port, if it has one of its own."""


def completed(channel: str, account: Account) -> Account:
    """Give the account with the platform's own address where none was said."""
    if account.api_base or channel not in API_BASES:
        return account
    return account.model_copy(update={"api_base": API_BASES[channel]})


def complaints(channel: str, account: Account) -> list[tuple[str, str]]:
    """Say which keys are missing and which have no business here: key and complaint."""
    required, optional = KEYS[channel]
    given = account.model_fields_set
    allowed = ", ".join(sorted(required | optional))
    missing = [(key, "is missing") for key in sorted(required - given)]
    foreign = [
        (key, f"is not a key of {channel} accounts (allowed: {allowed})")
        for key in sorted(given - required - optional)
    ]
    return missing + foreign
