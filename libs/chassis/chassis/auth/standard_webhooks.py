"""Standard Webhooks 1.0: signing what we send, and checking what we are sent, on the raw bytes.

Written out because the reference library takes bodies for text and the time from the wall clock; it
checks ours in the tests, and we check its.
"""

import binascii
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256

PREFIX = "whsec_"
MAX_CLOCK_SKEW_S = 300
"""Seconds a delivery's timestamp may be away from our clock."""
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64
"""Bytes of a key."""
DIGEST_BYTES = sha256().digest_size
MAX_SIGNATURES = 16
"""Signatures of one delivery that are looked at."""

_ID = re.compile(r"[!-\-/-~]{1,255}")
_SECONDS = re.compile(r"[0-9]{1,12}")


class Unverified(Exception):
    """It cannot be shown who sent this; the message may be told to them."""


def key_of(secret: str) -> bytes:
    """Give the key a secret stands for; raises ValueError when it is not of the form `whsec_…`."""
    written = secret.removeprefix(PREFIX)
    try:
        key = b64decode(written + "=" * (-len(written) % 4), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"not {PREFIX} and {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes in Base64")
    return key


def sign(secrets: Iterable[str], id: str, at: int, body: bytes) -> dict[str, str]:
    """Give the headers of a delivery: the same `id` for every attempt, `at` its unix seconds.

    With two secrets there are two signatures, so that the receiver may know either.
    """
    signed = [b64encode(_signature(key_of(secret), id, str(at), body)) for secret in secrets]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{each.decode()}" for each in signed),
    }


def verify(secrets: Iterable[str], headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Raise `Unverified` unless one of the secrets signed this, within `MAX_CLOCK_SKEW_S` of `now`.

    Malformed secrets are ignored; without a well-formed one every delivery is refused.
    """
    id, at, shown = _checked(headers, now)
    good = [_signature(key, id, at, body) for key in _keys(secrets)]
    if not any(hmac.compare_digest(one, each) for one in shown for each in good):
        raise Unverified("no signature fits")


def check_headers(headers: Mapping[str, str], now: float) -> None:
    """Raise `Unverified` for headers that no body would fit; needs neither body nor secret."""
    _, _, shown = _checked(headers, now)
    if not any(len(each) == DIGEST_BYTES for each in shown):
        raise Unverified("no signature fits")


def _checked(headers: Mapping[str, str], now: float) -> tuple[str, str, list[bytes]]:
    """Return id, timestamp and signatures of a delivery."""
    id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not _ID.fullmatch(id) or not _SECONDS.fullmatch(at):
        raise Unverified("webhook-id and webhook-timestamp (unix seconds) are needed")
    # the sender's clock was somewhere within that second
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
    for each in header.split(" ", MAX_SIGNATURES)[:MAX_SIGNATURES]:
        version, _, signature = each.partition(",")
        if version == "v1":
            try:
                yield b64decode(signature, validate=True)
            except ValueError:
                continue
