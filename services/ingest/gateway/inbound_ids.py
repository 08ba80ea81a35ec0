"""Inbound ids: UUIDs that show whether they were issued here, without anybody remembering them."""

import hmac
from hashlib import blake2b
from secrets import token_bytes
from uuid import UUID

_RANDOM_BYTES, _MARK_BITS = 10, 42
"""Bytes of chance and bits of mark; with version and variant they fill the 128 bits of a UUID."""


class InboundIdIssuer:
    """Issues ids, and recognises its own. Every replica has the same key."""

    def __init__(self, key: str) -> None:
        if len(key) < 16:
            raise ValueError("the key of inbound ids needs 16 characters or more")
        self._key = blake2b(key.encode(), person=b"inbound ids").digest()

    def issue(self) -> str:
        """Give a fresh id."""
        return str(self._shape(token_bytes(_RANDOM_BYTES)))

    def issued(self, id: UUID) -> bool:
        """Say whether this id can have come from here."""
        value = id.int
        drawn = (value >> 80) << 74 | (value >> 64 & 0xFFF) << 62 | (value & (1 << 62) - 1)
        chance = (drawn >> _MARK_BITS).to_bytes(_RANDOM_BYTES)
        return hmac.compare_digest(self._shape(chance).bytes, id.bytes)

    def _shape(self, chance: bytes) -> UUID:
        """Lay chance and mark around the bits a UUID of version 8 has fixed."""
        mark = int.from_bytes(blake2b(chance, key=self._key, digest_size=6).digest()) >> (
            48 - _MARK_BITS
        )
        drawn = int.from_bytes(chance) << _MARK_BITS | mark
        high, middle, low = drawn >> 74, drawn >> 62 & 0xFFF, drawn & (1 << 62) - 1
        return UUID(int=high << 80 | 8 << 76 | middle << 64 | 2 << 62 | low)
