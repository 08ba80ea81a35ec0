"""Standard Webhooks 1.0: sign and verify deliveries on their raw bytes.

The reference library treats bodies as text and reads the system clock, so it is not used; the tests
verify its signatures with this module, and ours with the library.
"""

import binascii
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256

PREFIX = "whsec_"
MAX_CLOCK_SKEW_S = 300
"""Seconds a delivery's timestamp may differ from our clock."""
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64
"""The allowed length of a key, in bytes."""
DIGEST_BYTES = sha256().digest_size
MAX_SIGNATURES = 16
"""The most signatures of one delivery that are checked."""

_ID = re.compile(r"[!-\-/-~]{1,255}")
_SECONDS = re.compile(r"[0-9]{1,12}")


class Unverified(Exception):
    """The sender is not verified; the message may be shown to them."""


def key_of(secret: str) -> bytes:
    """Return the key of a secret; raise ValueError when it is not of the form `whsec_…`."""
    encoded = secret.removeprefix(PREFIX)
    try:
        key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"not {PREFIX} and {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes in Base64")
    return key


def sign(secrets: Iterable[str], id: str, at: int, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery; `id` is the same for every attempt, `at` in unix seconds.

    Two secrets make two signatures, so that the receiver may have either.
    """
    signatures = [b64encode(_signature(key_of(secret), id, str(at), body)) for secret in secrets]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{signature.decode()}" for signature in signatures),
    }


def verify(secrets: Iterable[str], headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Raise `Unverified` unless one of the secrets signed this, within `MAX_CLOCK_SKEW_S` of `now`.

    Malformed secrets are ignored; without a well-formed one every delivery is refused.
    """
    id, at, received = _checked(headers, now)
    expected = [_signature(key, id, at, body) for key in _keys(secrets)]
    if not any(hmac.compare_digest(one, other) for one in received for other in expected):
        raise Unverified("no signature fits")


def check_headers(headers: Mapping[str, str], now: float) -> None:
    """Raise `Unverified` for headers that are wrong whatever body and secret are."""
    _, _, received = _checked(headers, now)
    if not any(len(signature) == DIGEST_BYTES for signature in received):
        raise Unverified("no signature fits")


def _checked(headers: Mapping[str, str], now: float) -> tuple[str, str, list[bytes]]:
    """Return id, timestamp and signatures of a delivery; raise `Unverified` when they are wrong."""
    id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not _ID.fullmatch(id) or not _SECONDS.fullmatch(at):
        raise Unverified("webhook-id and webhook-timestamp (unix seconds) are needed")
    # The timestamp is truncated: the sender's clock was anywhere within that second.
    if int(at) > now + MAX_CLOCK_SKEW_S or int(at) + 1 <= now - MAX_CLOCK_SKEW_S:
        raise Unverified(f"webhook-timestamp is more than {MAX_CLOCK_SKEW_S} s away from our clock")
    return id, at, [*_signatures(headers.get("webhook-signature", ""))]


def _signature(key: bytes, id: str, at: str, body: bytes) -> bytes:
    return hmac.digest(key, f"{id}.{at}.".encode() + body, sha256)


def _keys(secrets: Iterable[str]) -> Iterable[bytes]:
    for secret in secrets:
        try:
            yield key_of(secret)
        except ValueError:
            continue


def _signatures(header: str) -> Iterable[bytes]:
    for entry in header.split(" ", MAX_SIGNATURES)[:MAX_SIGNATURES]:
        version, _, signature = entry.partition(",")
        if version == "v1":
            try:
                yield b64decode(signature, validate=True)
            except ValueError:
                continue
