"""The token issuer's public keys, read from a file or over HTTP, and cached."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import structlog
from jwt import PyJWK, PyJWTError

from chassis.tls import trusted_certificates

log = structlog.get_logger()

ALGORITHM = "EdDSA"
MIN_READ_INTERVAL_S = 10.0
"""Seconds between two reads, however many unknown keys are requested."""
MAX_KEYS_AGE_S = 300.0
"""Seconds after which the keys are read again, so that a withdrawn key stops working."""
MAX_DOCUMENT_BYTES = 1 << 20


class KeysUnavailable(Exception):
    """The keys for token verification are unavailable."""


class Keys:
    """A JWKS document, read again when a key is unknown or the document is old."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read from `file:PATH` or `http(s)://…`; an empty URL has no keys."""
        self._url = url
        self._clock = clock
        self._keys: dict[str | None, PyJWK] | None = None
        self._asked = -MIN_READ_INTERVAL_S
        self._read = 0.0
        self._lock = asyncio.Lock()
        self.generation = 0
        """Counts replacements of the keys; results of an older generation may be outdated."""

    async def find(self, kid: str | None) -> PyJWK | None:
        """Return the key with this id; None when unknown. Without an id, return the only key.

        Raises `KeysUnavailable`.
        """
        await self.refresh(missing=kid)
        if self._keys is None:
            raise KeysUnavailable("the keys for token verification are unavailable")
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def refresh(self, missing: str | None = None) -> None:
        """Read the keys if they are missing, old, or lack the key `missing`."""
        if self._is_fresh(missing):
            return
        async with self._lock:
            if self._is_fresh(missing):
                return
            self._asked = self._clock()
            try:
                found = _usable_keys(await self._document())
            except (OSError, ValueError, KeysUnavailable, httpx.HTTPError) as error:
                log.warning("keys not read", where=self._url.partition("?")[0], exc_info=error)
                return
            self._keys, self._read = found, self._asked
            self.generation += 1

    def _is_fresh(self, missing: str | None) -> bool:
        has_key = self._keys is not None and (missing is None or missing in self._keys)
        if has_key and self._clock() - self._read < MAX_KEYS_AGE_S:
            return True
        return self._clock() - self._asked < MIN_READ_INTERVAL_S

    async def _document(self) -> bytes:
        scheme, _, path = self._url.partition(":")
        if scheme == "file":
            return _file(path.removeprefix("//"))
        if not self._url:
            raise KeysUnavailable("JWKS_URL is not set")
        async with httpx.AsyncClient(timeout=3, verify=trusted_certificates()) as client:
            answer = await client.get(self._url)
            answer.raise_for_status()
            return answer.content[:MAX_DOCUMENT_BYTES]


def _file(path: str) -> bytes:
    return Path(path).read_bytes()


def _usable_keys(document: bytes) -> dict[str | None, PyJWK]:
    """Return the Ed25519 signing keys of a JWKS document; ignore others."""
    parsed = json.loads(document)
    listed = parsed.get("keys") if isinstance(parsed, Mapping) else None
    if not isinstance(listed, list):
        raise KeysUnavailable("the document is no JWKS")
    found: dict[str | None, PyJWK] = {}
    for key in listed:
        if not isinstance(key, dict) or key.get("crv") != "Ed25519":
            continue
        if key.get("use", "sig") != "sig":
            continue
        try:
            found[key.get("kid")] = PyJWK(key, algorithm=ALGORITHM)
        except PyJWTError as error:
            log.warning("key not usable", exc_info=error)
    return found
