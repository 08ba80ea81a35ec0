"""Accounts of channels: the required and the optional keys of each channel."""

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
"""The fields of a call; a telephony provider's own fields are mapped to them."""

FieldPath = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f]{1,200}$")]
"""The path of a value in a provider's JSON: keys and list indexes, separated by dots."""

MAILBOX_PATTERN = r"^[^@\s]+@[^@\s]+$"
EMAIL_OPTIONAL_KEYS = {
    "user",
    "password",
    "from_name",
    "authserv",
    "acknowledge",
    "per_sender",
    "forwarders",
}
META_KEYS = ({"secret", "token", "verify_token"}, {"api_base", "app_id"})
ACCOUNT_KEYS: dict[str, tuple[set[str], set[str]]] = {
    "telegram": ({"secret", "token"}, {"api_base"}),
    "viber": ({"token"}, {"api_base"}),
    "whatsapp": ({*META_KEYS[0], "phone_id"}, META_KEYS[1]),
    "messenger": META_KEYS,
    "instagram": META_KEYS,
    "email": ({"address", "secret", "smtp"}, EMAIL_OPTIONAL_KEYS),
    "custom": ({"secret"}, {"url", "token"}),
    "telephony": ({"secret"}, {"field_mapping"}),
    "form": ({"secret"}, {"origins"}),
    "widget": ({"secret"}, {"origins"}),
}
"""For each channel, the required and the optional keys of an account."""

DEFAULT_API_BASES = {
    "telegram": "https://api.telegram.org",
    "viber": "https://chatapi.viber.com/pa",
    "whatsapp": "https://graph.facebook.com/v23.0",
    "messenger": "https://graph.facebook.com/v23.0",
    "instagram": "https://graph.instagram.com/v23.0",
}


class Account(Part):
    """One account of a channel. `ACCOUNT_KEYS` has the keys of each channel."""

    secret: Secret | None = None
    """Proves that a delivery comes from the platform."""
    token: Secret | None = None
    """Authenticates us to the platform when sending."""
    verify_token: Secret | None = None
    api_base: Url = ""
    app_id: str | None = None
    phone_id: str | None = None
    address: str | None = Field(default=None, pattern=MAILBOX_PATTERN)
    smtp: Url | None = None
    user: str | None = None
    password: Secret | None = None
    from_name: str | None = None
    authserv: str | None = Field(default=None, pattern=r"^[^\s;]+$")
    """The name our own mail server uses in Authentication-Results (RFC 8601)."""
    acknowledge: str | None = Field(default=None, min_length=1, max_length=4000)
    """The automatic reply to the first message of a request; None: no reply."""
    per_sender: Rate = "20/min"
    """Mails from one address; mails above this rate may be a loop and are parked."""
    forwarders: list[Annotated[str, Field(pattern=MAILBOX_PATTERN)]] = []
    """Addresses that write for others, such as a shop's form: the author is in `Reply-To`."""
    url: Url | None = None
    field_mapping: dict[FieldPath, CallField] = {}
    origins: list[Origin] = []
    """The web pages that may use the account: scheme, host, and a port that is not the default."""


def with_default_api_base(channel: str, account: Account) -> Account:
    """Return the account with the platform's `api_base` where none is set."""
    if account.api_base or channel not in DEFAULT_API_BASES:
        return account
    return account.model_copy(update={"api_base": DEFAULT_API_BASES[channel]})


def account_problems(channel: str, account: Account) -> list[tuple[str, str]]:
    """Return the missing and the unknown keys of an account, each with its problem."""
    required, optional = ACCOUNT_KEYS[channel]
    present = account.model_fields_set
    allowed = ", ".join(sorted(required | optional))
    missing = [
        (key, f"is missing (required: {', '.join(sorted(required))})")
        for key in sorted(required - present)
    ]
    unknown = [
        (key, f"is not a key of {channel} accounts (allowed: {allowed})")
        for key in sorted(present - required - optional)
    ]
    return missing + unknown
