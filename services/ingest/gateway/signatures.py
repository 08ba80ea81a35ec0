"""Verify webhook credentials: shared secrets and signatures.

All are verified on the raw bytes, in constant time, and against every secret of the account that
is in force.
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
    """The parts of a request that authenticate it."""

    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    now: float
    """Unix time in seconds, by our clock."""
    query: bytes = b""

    def header(self, name: bytes) -> bytes:
        """Return the value of a header that occurs exactly once, else an empty value."""
        values = [value for key, value in self.headers if key == name]
        return values[0] if len(values) == 1 else b""

    def query_values(self, name: str) -> list[bytes]:
        """Return the values of a query parameter."""
        pairs = parse_qsl(self.query.decode("latin-1"), keep_blank_values=True)
        return [value.encode("utf-8", "surrogatepass") for key, value in pairs if key == name]


FormCheck = Callable[[Credentials], None]
"""Raises `Unverified` for headers that fit no body; called before the body is read."""
Verifier = Callable[[Credentials, Sequence[str]], None]
"""Raises `Unverified` if the credentials fit none of the secrets; the sender sees its message."""


def header_secret(header: str) -> Verifier:
    """Return a verifier that expects the secret itself in a header."""
    name = header.lower().encode()

    def verify(given: Credentials, secrets: Sequence[str]) -> None:
        check_secret(given.header(name), secrets)

    return verify


def check_secret(offered: bytes, secrets: Sequence[str]) -> None:
    """Raise `Unverified` if a value is none of the secrets, or empty."""
    matches = [hmac.compare_digest(offered, secret.encode()) for secret in secrets]
    if not offered or not any(matches):
        raise Unverified("the secret is missing, or it is not this account's")


def header_or_query_secret(header: str, parameter: str) -> Verifier:
    """Return a verifier that expects the secret exactly once: in a header or in the query.

    The query is for providers that cannot send headers of their own. Proxies log queries more often
    than headers; this service logs neither.
    """
    name = header.lower().encode()

    def verify(given: Credentials, secrets: Sequence[str]) -> None:
        values = [value for key, value in given.headers if key == name]
        values += given.query_values(parameter)
        check_secret(values[0] if len(values) == 1 else b"", secrets)

    return verify


HUB_UNVERIFIED = "X-Hub-Signature-256 is missing, or no app secret of the account made it"
VIBER_UNVERIFIED = "X-Viber-Content-Signature is missing, or no token of the bot made it"
_HEX_DIGEST = re.compile(rb"[0-9a-f]{64}")


def check_hub_form(given: Credentials) -> None:
    """Raise `Unverified` if Meta's signature has not the form `sha256=<lowercase hex>`."""
    prefix, _, digest = given.header(b"x-hub-signature-256").partition(b"=")
    if prefix != b"sha256" or not _HEX_DIGEST.fullmatch(digest):
        raise Unverified(HUB_UNVERIFIED)


def check_viber_form(given: Credentials) -> None:
    """Raise `Unverified` if Viber's signature has not the form `<lowercase hex>`."""
    if not _HEX_DIGEST.fullmatch(given.header(b"x-viber-content-signature")):
        raise Unverified(VIBER_UNVERIFIED)


def verify_hub_signature(given: Credentials, secrets: Sequence[str]) -> None:
    """Verify `X-Hub-Signature-256: sha256=<lowercase hex>`, Meta's HMAC by the app secret.

    https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads
    """
    offered = given.header(b"x-hub-signature-256")
    digests = [hmac.digest(secret.encode(), given.body, sha256).hex() for secret in secrets]
    matches = [hmac.compare_digest(offered, f"sha256={digest}".encode()) for digest in digests]
    if not any(matches):
        raise Unverified(HUB_UNVERIFIED)


def verify_viber_signature(given: Credentials, secrets: Sequence[str]) -> None:
    """Verify `X-Viber-Content-Signature: <lowercase hex>`, Viber's HMAC by the bot's token.

    https://developers.viber.com/docs/api/rest-bot-api/#callbacks
    """
    offered = given.header(b"x-viber-content-signature")
    digests = [hmac.digest(secret.encode(), given.body, sha256).hex() for secret in secrets]
    matches = [hmac.compare_digest(offered, digest.encode()) for digest in digests]
    if not any(matches):
        raise Unverified(VIBER_UNVERIFIED)


STANDARD_WEBHOOK_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def verify_standard_webhook(given: Credentials, secrets: Sequence[str]) -> None:
    """Verify a signature of Standard Webhooks 1.0; each of its headers must occur once."""
    standard_webhooks.verify(secrets, _standard_headers(given), given.body, given.now)


def check_standard_form(given: Credentials) -> None:
    """Raise `Unverified` for malformed headers of Standard Webhooks 1.0, or another time."""
    standard_webhooks.check_headers(_standard_headers(given), given.now)


def _standard_headers(given: Credentials) -> dict[str, str]:
    return {
        name: given.header(name.encode()).decode("latin-1") for name in STANDARD_WEBHOOK_HEADERS
    }
