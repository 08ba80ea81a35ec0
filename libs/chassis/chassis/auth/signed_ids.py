"""Signed UUIDs of 42 letters and digits, which stay valid when their case changes.

Signed by HMAC-SHA-256 over purpose and id, truncated to 80 bits, the minimum of RFC 2104 (section
5): without the secret a signed id cannot be made, and one of a purpose is invalid for others.
"""

import hmac
import re
from base64 import b32decode, b32encode
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

MAC_BYTES = 10
"""Bytes of the authentication code, after the 16 of the id."""
_FORM = re.compile(r"[a-z2-7]{42}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SignedId:
    """A signed id as received; `issued` verifies it."""

    id: UUID
    mark: bytes

    def issued(self, purpose: str, secrets: Iterable[str]) -> bool:
        """Return whether it was signed with one of these secrets, in constant time."""
        matches = [hmac.compare_digest(_mac(self.id, purpose, s), self.mark) for s in secrets]
        return any(matches)


def write(id: UUID, purpose: str, secret: str) -> str:
    """Return the signed form of an id."""
    return b32encode(id.bytes + _mac(id, purpose, secret)).decode().rstrip("=").lower()


def read(text: str) -> SignedId | None:
    """Parse a signed id without verifying it; return None for another form."""
    if not _FORM.fullmatch(text):
        return None
    decoded = b32decode(f"{text.upper()}{'=' * 6}")
    return SignedId(UUID(bytes=decoded[:16]), decoded[16:])


def _mac(id: UUID, purpose: str, secret: str) -> bytes:
    signed = f"trunkline {purpose}\n".encode() + id.bytes
    return hmac.digest(secret.encode(), signed, "sha256")[:MAC_BYTES]
