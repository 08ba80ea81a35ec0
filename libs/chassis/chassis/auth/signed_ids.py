"""A UUID as 42 letters and digits that show who issued it, whatever happens to their case.

HMAC-SHA-256 over purpose and id, truncated to 80 bits, the least RFC 2104 (section 5) advises: who
has seen no tag cannot make one, and a tag of one purpose is none of another.
"""

import hmac
import re
from base64 import b32decode, b32encode
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

MAC_BYTES = 10
"""Bytes that show who issued it, after the 16 of the id."""
_FORM = re.compile(r"[a-z2-7]{42}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SignedId:
    """A tag as somebody showed it; whether it was issued here must be asked."""

    id: UUID
    mark: bytes

    def issued(self, purpose: str, secrets: Iterable[str]) -> bool:
        """Whether it was made with one of these secrets; takes as long for any mark."""
        same = [hmac.compare_digest(_mac(self.id, purpose, each), self.mark) for each in secrets]
        return any(same)


def write(id: UUID, purpose: str, secret: str) -> str:
    """Make a tag."""
    return b32encode(id.bytes + _mac(id, purpose, secret)).decode().rstrip("=").lower()


def read(text: str) -> SignedId | None:
    """Read a tag, whoever made it; None when it has not the form of one."""
    if not _FORM.fullmatch(text):
        return None
    told = b32decode(f"{text.upper()}{'=' * 6}")
    return SignedId(UUID(bytes=told[:16]), told[16:])


def _mac(id: UUID, purpose: str, secret: str) -> bytes:
    told = f"trunkline {purpose}\n".encode() + id.bytes
    return hmac.digest(secret.encode(), told, "sha256")[:MAC_BYTES]
