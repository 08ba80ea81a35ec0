"""Inbound ids: UUIDs that prove they were issued here, so that no list of them is needed."""

import hmac
from hashlib import blake2b
from secrets import token_bytes
from uuid import UUID

_RANDOM_BYTES, _MARK_BITS = 10, 42
"""With the six bits of version and variant they fill the 128 bits of a UUID."""
_MIN_KEY_CHARS = 16


class InboundIdIssuer:
    """Issues inbound ids and recognises them; all replicas have the same key."""

    def __init__(self, key: str) -> None:
        if len(key) < _MIN_KEY_CHARS:
            raise ValueError(
                f"the key of inbound ids has {len(key)} characters; it needs at least"
                f" {_MIN_KEY_CHARS}"
            )
        self._key = blake2b(key.encode(), person=b"inbound ids").digest()

    def issue(self) -> str:
        """Return a new id."""
        return str(self._uuid(token_bytes(_RANDOM_BYTES)))

    def is_issued(self, id: UUID) -> bool:
        """Return whether an id was issued with this key."""
        value = id.int
        payload = (value >> 80) << 74 | (value >> 64 & 0xFFF) << 62 | (value & (1 << 62) - 1)
        random_part = (payload >> _MARK_BITS).to_bytes(_RANDOM_BYTES)
        return hmac.compare_digest(self._uuid(random_part).bytes, id.bytes)

    def _uuid(self, random_part: bytes) -> UUID:
        """Return the UUID of version 8 (RFC 9562) with these random bytes and their mark."""
        digest = blake2b(random_part, key=self._key, digest_size=6).digest()
        mark = int.from_bytes(digest) >> (48 - _MARK_BITS)
        payload = int.from_bytes(random_part) << _MARK_BITS | mark
        high, middle, low = payload >> 74, payload >> 62 & 0xFFF, payload & (1 << 62) - 1
        return UUID(int=high << 80 | 8 << 76 | middle << 64 | 2 << 62 | low)
