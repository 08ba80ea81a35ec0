"""What each channel's deliveries show to be let in, and what is answered: one line per channel.

Whatever is shown is looked at on the raw bytes, in constant time, and against every live secret of
the account; an account without one has no door. Long, as it is a list.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from chassis.web.conventions import MAX_BODY_BYTES
from chassis.web.problems import invalid, of_validation
from ingest.channels.connectiveone import parser
from ingest.channels.custom.parser import CustomMessage
from ingest.channels.email.mime import MAX_MAIL_BYTES
from ingest.domain.items import RawDelivery, Unreadable
from ingest.gateway.signatures import (
    STANDARD,
    Check,
    Verify,
    check_hub_form,
    check_standard_form,
    check_viber_form,
    hub_signature,
    secret_in,
    secret_in_either,
    standard_webhook,
    viber_signature,
)

LARGE = 3 * 1024 * 1024
"""Bytes WhatsApp's deliveries may have, and what Meta's other batches are given too."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One channel's door."""

    channel: str
    verify: Verify
    about: str
    """What comes in here, as its address is described."""
    shows: tuple[str, ...]
    """The headers by which it is let in."""
    check_form: Check | None = None
    """Raises `Unverified` for a signature that fits no body, of schemes that sign the body."""
    key: str = "secret"
    """Where in the account its secrets are."""
    status: int = 200
    """The answer to what is stored."""
    limit: int = MAX_BODY_BYTES
    """Bytes a body may have."""
    handshake: bool = False
    """Whether Meta asks here, by GET, that we know our verify token."""
    media: tuple[str, ...] = ("application/json",)
    body: dict[str, Any] = field(default_factory=lambda: {"type": "object"})
    """The body's JSON Schema."""
    check: Callable[[bytes], None] | None = None
    """Raises a `Problem` for what its sender should mend; platforms' deliveries are never asked."""

    query: tuple[str, ...] = ()
    """The query parameters that may be shown in place of the headers."""
    operation: str = ""
    """What its address is called in documents, and its form, when not as the channel."""
    path: str = ""
    """Where it comes in, when that is not where all channels do; the account is its parameter."""

    @property
    def signed(self) -> bool:
        """Whether the body is part of what is shown; else it is read only after that fits."""
        return self.check_form is not None

    @property
    def address(self) -> str:
        """Where it comes in."""
        return self.path or f"/channels/{self.channel}/{{account}}"

    @property
    def parameter(self) -> str:
        """What the account is called in the address."""
        return self.address.partition("{")[2].partition("}")[0]


def check_said(body: bytes) -> None:
    """Refuse a message of an integrator's own channel that lacks something."""
    try:
        CustomMessage.model_validate_json(body)
    except ValidationError as bad:
        raise of_validation(bad.errors(include_url=False)) from None


def check_update(body: bytes) -> None:
    """Refuse an update that could not be understood, while its sender can still mend it."""
    try:
        parser.read(RawDelivery("custom", "", "", body, datetime.fromtimestamp(0, UTC)))
    except Unreadable as why:
        raise invalid(str(why)) from None


TELEGRAM = "X-Telegram-Bot-Api-Secret-Token"
MAIL = "X-Trunkline-Secret"
CALLS = "X-Trunkline-Secret"
HUB = ("X-Hub-Signature-256",)

SCHEMES = (
    Scheme(
        "telegram",
        secret_in(TELEGRAM),
        "Take an update of a Telegram bot, as its webhook sends it.",
        (TELEGRAM,),
    ),
    Scheme(
        "email",
        secret_in(MAIL),
        "Take a mail as it came, headers and all.",
        (MAIL,),
        status=202,
        limit=MAX_MAIL_BYTES,
        media=("message/rfc822",),
        body={"type": "string", "format": "binary"},
    ),
    Scheme(
        "custom",
        standard_webhook,
        "Take a message of an integrator's own channel, signed as Standard Webhooks 1.0 says.",
        STANDARD,
        check_form=check_standard_form,
        status=202,
        body=CustomMessage.model_json_schema(),
        check=check_said,
    ),
    Scheme(
        "custom",
        secret_in("x-access-token"),
        "Take an update in ConnectiveOne's form; the bot's id is the name of a custom account.",
        ("x-access-token",),
        key="token",
        check=check_update,
        operation=parser.FORMAT,
        path="/messengers_host/{bot_id}/custom_channel/hooks",
    ),
    Scheme(
        "viber",
        viber_signature,
        "Take an event of a Viber bot, as its webhook sends it.",
        ("X-Viber-Content-Signature",),
        check_form=check_viber_form,
        key="token",
    ),
    Scheme(
        "telephony",
        secret_in_either(CALLS, "token"),
        "Take an event of a call, in the provider's own words: as JSON, or as a form.",
        (CALLS,),
        query=("token",),
        media=("application/json", "application/x-www-form-urlencoded"),
    ),
    *(
        Scheme(
            channel,
            hub_signature,
            f"Take a batch of {name}, as Meta's webhook sends it.",
            HUB,
            check_form=check_hub_form,
            limit=LARGE,
            handshake=True,
        )
        for channel, name in (
            ("whatsapp", "WhatsApp messages and statuses"),
            ("messenger", "Messenger events"),
            ("instagram", "Instagram messages and comments"),
        )
    ),
)
