"""What somebody who delivers shows, and whether it fits: secrets and signatures.

Whatever is shown is looked at on the raw bytes, in constant time, and against every live secret of
the account.
"""

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl

from chassis.auth import standard_webhooks
from chassis.auth.standard_webhooks import Unverified


@dataclass(frozen=True, slots=True)
class Credentials:
    """What somebody who delivers shows."""

    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    now: float
    query: bytes = b""

    def only(self, name: bytes) -> bytes:
        """Give a header that is there exactly once, else nothing."""
        found = [value for key, value in self.headers if key == name]
        return found[0] if len(found) == 1 else b""

    def parameters(self, name: str) -> list[bytes]:
        """Give the values of a query parameter."""
        asked = parse_qsl(self.query.decode("latin-1"), keep_blank_values=True)
        return [value.encode("utf-8", "surrogatepass") for key, value in asked if key == name]


FormCheck = Callable[[Credentials], None]
"""Raises `Unverified` for headers that no body would fit; it is asked before the body is read."""
Verifier = Callable[[Credentials, Sequence[str]], None]
"""Returns when what is shown fits one of the secrets; raises `Unverified`, told to whoever asks."""


def header_secret(header: str) -> Verifier:
    """Expect the secret itself in a header."""
    name = header.lower().encode()

    def verify(shown: Credentials, secrets: Sequence[str]) -> None:
        check_secret(shown.only(name), secrets)

    return verify


def check_secret(offered: bytes, secrets: Sequence[str]) -> None:
    """Return when this is one of the secrets."""
    same = [hmac.compare_digest(offered, secret.encode()) for secret in secrets]
    if not offered or not any(same):
        raise Unverified("the secret is missing, or it is not this account's")


def header_or_query_secret(header: str, parameter: str) -> Verifier:
    """Expect the secret in a header or, from who can set none, in the query: in one place only.

    What is asked is written into logs on its way here more readily than headers are; not here.
    """
    name = header.lower().encode()

    def verify(shown: Credentials, secrets: Sequence[str]) -> None:
        found = [value for key, value in shown.headers if key == name]
        found += shown.parameters(parameter)
        check_secret(found[0] if len(found) == 1 else b"", secrets)

    return verify


HUB_UNVERIFIED = "X-Hub-Signature-256 is missing, or no app secret of the account made it"
VIBER_UNVERIFIED = "X-Viber-Content-Signature is missing, or no token of the bot made it"
_HEX_DIGEST = re.compile(rb"[0-9a-f]{64}")


def check_hub_form(shown: Credentials) -> None:
    """Refuse what is not of the form `sha256=<lowercase hex>`."""
    prefix, _, digest = shown.only(b"x-hub-signature-256").partition(b"=")
    if prefix != b"sha256" or not _HEX_DIGEST.fullmatch(digest):
        raise Unverified(HUB_UNVERIFIED)


def check_viber_form(shown: Credentials) -> None:
    """Refuse what is not of the form `<lowercase hex>`."""
    if not _HEX_DIGEST.fullmatch(shown.only(b"x-viber-content-signature")):
        raise Unverified(VIBER_UNVERIFIED)


def verify_hub_signature(shown: Credentials, secrets: Sequence[str]) -> None:
    """Meta: `X-Hub-Signature-256: sha256=<lowercase hex>`, an HMAC of the body by the app secret.

    https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads
    """
    offered = shown.only(b"x-hub-signature-256")
    good = [hmac.digest(secret.encode(), shown.body, sha256).hex() for secret in secrets]
    same = [hmac.compare_digest(offered, f"sha256={each}".encode()) for each in good]
    if not any(same):
        raise Unverified(HUB_UNVERIFIED)


def verify_viber_signature(shown: Credentials, secrets: Sequence[str]) -> None:
    """Viber: `X-Viber-Content-Signature: <lowercase hex>`, an HMAC of the body by the bot's token.

    https://developers.viber.com/docs/api/rest-bot-api/#callbacks
    """
    offered = shown.only(b"x-viber-content-signature")
    good = [hmac.digest(secret.encode(), shown.body, sha256).hex() for secret in secrets]
    same = [hmac.compare_digest(offered, each.encode()) for each in good]
    if not any(same):
        raise Unverified(VIBER_UNVERIFIED)


STANDARD_WEBHOOK_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def verify_standard_webhook(shown: Credentials, secrets: Sequence[str]) -> None:
    """Standard Webhooks 1.0; each of its headers once."""
    standard_webhooks.verify(secrets, _standard(shown), shown.body, shown.now)


def check_standard_form(shown: Credentials) -> None:
    """Refuse headers that Standard Webhooks 1.0 does not know, or of another time."""
    standard_webhooks.check_headers(_standard(shown), shown.now)


def _standard(shown: Credentials) -> dict[str, str]:
    return {name: shown.only(name.encode()).decode("latin-1") for name in STANDARD_WEBHOOK_HEADERS}
