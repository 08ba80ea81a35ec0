"""What each channel's deliveries show to be let in, and what is answered: one line per channel.

Whatever is shown is looked at on the raw bytes, in constant time, and against every live secret of
the account; an account without one has no door. Long, as it is a list.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from chassis.web.conventions import BODY
from chassis.web.problems import invalid, of_validation
from ingest.channels.connectiveone import parser
from ingest.channels.custom.parser import CustomMessage
from ingest.channels.email.mime import MAX_MAIL_BYTES
from ingest.domain.items import RawDelivery, Unreadable
from ingest.gateway.signatures import (
    STANDARD_WEBHOOK_HEADERS,
    FormCheck,
    Verifier,
    check_hub_form,
    check_standard_form,
    check_viber_form,
    header_or_query_secret,
    header_secret,
    verify_hub_signature,
    verify_standard_webhook,
    verify_viber_signature,
)

MAX_META_BODY_BYTES = 3 * 1024 * 1024
"""Bytes WhatsApp's deliveries may have, and what Meta's other batches are given too."""


@dataclass(frozen=True, slots=True)
class InboundEndpoint:
    """One channel's door."""

    channel: str
    verify: Verifier
    about: str
    """What comes in here, as its address is described."""
    shows: tuple[str, ...]
    """The headers by which it is let in."""
    check_form: FormCheck | None = None
    """Raises `Unverified` for a signature that fits no body, of schemes that sign the body."""
    key: str = "secret"
    """Where in the account its secrets are."""
    status: int = 200
    """The answer to what is stored."""
    limit: int = BODY
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


def check_custom_message(body: bytes) -> None:
    """Refuse a message of an integrator's own channel that lacks something."""
    try:
        CustomMessage.model_validate_json(body)
    except ValidationError as bad:
        raise of_validation(bad.errors(include_url=False)) from None


def check_connectiveone_update(body: bytes) -> None:
    """Refuse an update that could not be understood, while its sender can still mend it."""
    try:
        parser.read(RawDelivery("custom", "", "", body, datetime.fromtimestamp(0, UTC)))
    except Unreadable as why:
        raise invalid(str(why)) from None


TELEGRAM_SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"
MAIL = "X-Trunkline-Secret"
CALLS = "X-Trunkline-Secret"
HUB = ("X-Hub-Signature-256",)

ENDPOINTS = (
    InboundEndpoint(
        "telegram",
        header_secret(TELEGRAM_SECRET_HEADER),
        "Take an update of a Telegram bot, as its webhook sends it.",
        (TELEGRAM_SECRET_HEADER,),
    ),
    InboundEndpoint(
        "email",
        header_secret(MAIL),
        "Take a mail as it came, headers and all.",
        (MAIL,),
        status=202,
        limit=MAX_MAIL_BYTES,
        media=("message/rfc822",),
        body={"type": "string", "format": "binary"},
    ),
    InboundEndpoint(
        "custom",
        verify_standard_webhook,
        "Take a message of an integrator's own channel, signed as Standard Webhooks 1.0 says.",
        STANDARD_WEBHOOK_HEADERS,
        check_form=check_standard_form,
        status=202,
        body=CustomMessage.model_json_schema(),
        check=check_custom_message,
    ),
    InboundEndpoint(
        "custom",
        header_secret("x-access-token"),
        "Take an update in ConnectiveOne's form; the bot's id is the name of a custom account.",
        ("x-access-token",),
        key="token",
        check=check_connectiveone_update,
        operation=parser.FORMAT,
        path="/messengers_host/{bot_id}/custom_channel/hooks",
    ),
    InboundEndpoint(
        "viber",
        verify_viber_signature,
        "Take an event of a Viber bot, as its webhook sends it.",
        ("X-Viber-Content-Signature",),
        check_form=check_viber_form,
        key="token",
    ),
    InboundEndpoint(
        "telephony",
        header_or_query_secret(CALLS, "token"),
        "Take an event of a call, in the provider's own words: as JSON, or as a form.",
        (CALLS,),
        query=("token",),
        media=("application/json", "application/x-www-form-urlencoded"),
    ),
    *(
        InboundEndpoint(
            channel,
            verify_hub_signature,
            f"Take a batch of {name}, as Meta's webhook sends it.",
            HUB,
            check_form=check_hub_form,
            limit=MAX_META_BODY_BYTES,
            handshake=True,
        )
        for channel, name in (
            ("whatsapp", "WhatsApp messages and statuses"),
            ("messenger", "Messenger events"),
            ("instagram", "Instagram messages and comments"),
        )
    ),
)
