"""What each channel's deliveries show to be let in, and what is answered: one line per channel.

Whatever is shown is looked at on the raw bytes, in constant time, and against every live secret of
the account; an account without one has no door.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from chassis import webhooks
from chassis.http import BODY
from chassis.problems import of_validation
from chassis.webhooks import Unverified
from ingest.adapters.custom import Said
from ingest.adapters.mime import LARGEST

LARGE = 3 * 1024 * 1024
"""Bytes WhatsApp's deliveries may have, and what Meta's other batches are given too."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What somebody who delivers shows."""

    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    now: float

    def only(self, name: bytes) -> bytes:
        """Give a header that is there exactly once, else nothing."""
        found = [value for key, value in self.headers if key == name]
        return found[0] if len(found) == 1 else b""


Verify = Callable[[Shown, Sequence[str]], None]
"""Returns when what is shown fits one of the secrets; raises `Unverified`, told to whoever asks."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One channel's door."""

    channel: str
    verify: Verify
    about: str
    """What comes in here, as its address is described."""
    shows: tuple[str, ...]
    """The headers by which it is let in."""
    signed: bool = False
    """Whether the body is part of what is shown; else it is read only after that was looked at."""
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

    @property
    def address(self) -> str:
        """Where it comes in."""
        return f"/channels/{self.channel}/{{account}}"


def secret_in(header: str) -> Verify:
    """Expect the secret itself in a header."""
    name = header.lower().encode()

    def verify(shown: Shown, secrets: Sequence[str]) -> None:
        offered = shown.only(name)
        same = [hmac.compare_digest(offered, secret.encode()) for secret in secrets]
        if not offered or not any(same):
            raise Unverified("the secret is missing, or it is not this account's")

    return verify


def hub_signature(shown: Shown, secrets: Sequence[str]) -> None:
    """Meta: `X-Hub-Signature-256: sha256=<lowercase hex>`, an HMAC of the body by the app secret.

    https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads
    """
    offered = shown.only(b"x-hub-signature-256")
    good = [hmac.digest(secret.encode(), shown.body, sha256).hex() for secret in secrets]
    same = [hmac.compare_digest(offered, f"sha256={each}".encode()) for each in good]
    if not any(same):
        raise Unverified("X-Hub-Signature-256 is missing, or no app secret of the account made it")


STANDARD = ("webhook-id", "webhook-timestamp", "webhook-signature")


def standard_webhook(shown: Shown, secrets: Sequence[str]) -> None:
    """Standard Webhooks 1.0; each of its headers once."""
    headers = {name: shown.only(name.encode()).decode("latin-1") for name in STANDARD}
    webhooks.verify(secrets, headers, shown.body, shown.now)


def check_said(body: bytes) -> None:
    """Refuse a message of an integrator's own channel that lacks something."""
    try:
        Said.model_validate_json(body)
    except ValidationError as bad:
        raise of_validation(bad.errors(include_url=False)) from None


TELEGRAM = "X-Telegram-Bot-Api-Secret-Token"
MAIL = "X-Trunkline-Secret"
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
        limit=LARGEST,
        media=("message/rfc822",),
        body={"type": "string", "format": "binary"},
    ),
    Scheme(
        "custom",
        standard_webhook,
        "Take a message of an integrator's own channel, signed as Standard Webhooks 1.0 says.",
        STANDARD,
        signed=True,
        status=202,
        body=Said.model_json_schema(),
        check=check_said,
    ),
    *(
        Scheme(
            channel,
            hub_signature,
            f"Take a batch of {name}, as Meta's webhook sends it.",
            HUB,
            signed=True,
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
