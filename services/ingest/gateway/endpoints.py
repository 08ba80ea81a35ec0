"""The endpoints of the gateway, by channel: credentials, limits and responses."""

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
"""WhatsApp's documented maximum; Meta's other batches have the same limit."""


@dataclass(frozen=True, slots=True)
class InboundEndpoint:
    """An endpoint of one channel; an account without a secret accepts no deliveries."""

    channel: str
    verify: Verifier
    description: str
    """The sentence about it in the OpenAPI document."""
    credential_headers: tuple[str, ...]
    """The headers that authenticate a delivery."""
    check_form: FormCheck | None = None
    """Raises `Unverified` for a signature that fits no body; set if the body is signed."""
    account_field: str = "secret"
    """The field of the account that holds its secrets."""
    status: int = 200
    """The status of the response to a stored delivery."""
    max_body_bytes: int = MAX_BODY_BYTES
    verifies_subscription: bool = False
    """Whether Meta verifies the subscription here, by GET with our verify token."""
    media_types: tuple[str, ...] = ("application/json",)
    body_schema: dict[str, Any] = field(default_factory=lambda: {"type": "object"})
    """The body as JSON Schema."""
    check_body: Callable[[bytes], None] | None = None
    """Raises a `Problem` for a body its sender should correct; not used for platforms, which
    cannot."""
    credential_parameters: tuple[str, ...] = ()
    """The query parameters that may replace the headers."""
    format: str = ""
    """The name of the body's format, if the channel has several; names the operation, too."""
    custom_path: str = ""
    """The path, if it is not `/channels/<channel>/{account}`; its parameter is the account."""

    @property
    def name(self) -> str:
        """The name in the OpenAPI document."""
        return self.format or self.channel

    @property
    def signs_body(self) -> bool:
        """Return whether the signature covers the body; else it is read after verification."""
        return self.check_form is not None

    @property
    def path(self) -> str:
        """The path with its parameter."""
        return self.custom_path or f"/channels/{self.channel}/{{account}}"

    @property
    def account_parameter(self) -> str:
        """The name of the path's parameter."""
        return self.path.partition("{")[2].partition("}")[0]


def check_custom_message(body: bytes) -> None:
    """Raise a `Problem` for an invalid message of an integrator's own channel."""
    try:
        CustomMessage.model_validate_json(body)
    except ValidationError as bad:
        raise of_validation(bad.errors(include_url=False)) from None


def check_connectiveone_update(body: bytes) -> None:
    """Raise a `Problem` for an update of ConnectiveOne that cannot be parsed."""
    try:
        parser.read(RawDelivery("custom", "", "", body, datetime.fromtimestamp(0, UTC)))
    except Unreadable as why:
        raise invalid(str(why)) from None


TELEGRAM_HEADER = "X-Telegram-Bot-Api-Secret-Token"
TRUNKLINE_HEADER = "X-Trunkline-Secret"
CONNECTIVEONE_HEADER = "x-access-token"
VIBER_HEADER = "X-Viber-Content-Signature"
HUB_HEADER = "X-Hub-Signature-256"

ENDPOINTS = (
    InboundEndpoint(
        "telegram",
        header_secret(TELEGRAM_HEADER),
        "Receive an update of a Telegram bot, as its webhook sends it.",
        (TELEGRAM_HEADER,),
    ),
    InboundEndpoint(
        "email",
        header_secret(TRUNKLINE_HEADER),
        "Receive a mail as it arrived, with its headers.",
        (TRUNKLINE_HEADER,),
        status=202,
        max_body_bytes=MAX_MAIL_BYTES,
        media_types=("message/rfc822",),
        body_schema={"type": "string", "format": "binary"},
    ),
    InboundEndpoint(
        "custom",
        verify_standard_webhook,
        "Receive a message of an integrator's own channel, signed by Standard Webhooks 1.0.",
        STANDARD_WEBHOOK_HEADERS,
        check_form=check_standard_form,
        status=202,
        body_schema=CustomMessage.model_json_schema(),
        check_body=check_custom_message,
    ),
    InboundEndpoint(
        "custom",
        header_secret(CONNECTIVEONE_HEADER),
        "Receive an update in ConnectiveOne's format; the bot's id names a custom account.",
        (CONNECTIVEONE_HEADER,),
        account_field="token",
        check_body=check_connectiveone_update,
        format=parser.FORMAT,
        custom_path="/messengers_host/{bot_id}/custom_channel/hooks",
    ),
    InboundEndpoint(
        "viber",
        verify_viber_signature,
        "Receive an event of a Viber bot, as its webhook sends it.",
        (VIBER_HEADER,),
        check_form=check_viber_form,
        account_field="token",
    ),
    InboundEndpoint(
        "telephony",
        header_or_query_secret(TRUNKLINE_HEADER, "token"),
        "Receive an event of a call in the provider's own format, as JSON or urlencoded.",
        (TRUNKLINE_HEADER,),
        credential_parameters=("token",),
        media_types=("application/json", "application/x-www-form-urlencoded"),
    ),
    *(
        InboundEndpoint(
            channel,
            verify_hub_signature,
            f"Receive a batch of {content}, as Meta's webhook sends it.",
            (HUB_HEADER,),
            check_form=check_hub_form,
            max_body_bytes=MAX_META_BODY_BYTES,
            verifies_subscription=True,
        )
        for channel, content in (
            ("whatsapp", "WhatsApp messages and statuses"),
            ("messenger", "Messenger events"),
            ("instagram", "Instagram messages and comments"),
        )
    ),
)
"""One entry per endpoint."""
