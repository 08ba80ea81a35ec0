"""Public keys of whoever issues tokens: read from a file or fetched, kept, and read again when one is unknown."""

import asyncio
import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

ALGORITHM: Final = "EdDSA"
RELOAD: Final = 10.0
"""Seconds between two looks at the source, however many unknown keys are shown."""


class KeysAway(Exception):
    """The source of the keys does not answer."""


def load_key(pem: str) -> Ed25519PrivateKey:
    """Read a private key; raises ValueError when it is not an Ed25519 one."""
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("tokens are signed with Ed25519 keys only")
    return key


def thumbprint(key: Ed25519PrivateKey) -> str:
    """Name a key by its public part."""
    return sha256(key.public_key().public_bytes_raw()).hexdigest()[:16]


class Keys:
    """The keys of one source (`file:…` or `http(s)://…`); an empty source has none."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._keys: dict[str, jwt.PyJWK] = {}
        self._looked_at = -RELOAD
        self._turn = asyncio.Lock()

    async def find(self, kid: str) -> jwt.PyJWK | None:
        """Give the key of this name, or None; raises `KeysAway`."""
        if kid in self._keys:
            return self._keys[kid]
        async with self._turn:
            if kid not in self._keys and time.monotonic() - self._looked_at >= RELOAD:
                await self._look()
        return self._keys.get(kid)

    async def _look(self) -> None:
        if not self._source:
            return
        try:
            document = json.loads(await self._read())
            found = [jwt.PyJWK.from_dict(each) for each in document["keys"]]
        except (OSError, ValueError, KeyError, TypeError, httpx.HTTPError, jwt.PyJWTError) as why:
            raise KeysAway(f"the keys at JWKS_URL cannot be read: {type(why).__name__}") from why
        self._keys = {key.key_id: key for key in found if key.key_id is not None}
        self._looked_at = time.monotonic()

    async def _read(self) -> str:
        if self._source.startswith("file:"):
            return Path(self._source.removeprefix("file:")).read_text(encoding="utf-8")
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(self._source)
            answer.raise_for_status()
            return answer.text
