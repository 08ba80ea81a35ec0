"""The instance's signing key: signs tokens, and publishes its public half to the services."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from chassis.auth.signing import MAX_TOKEN_LIFETIME, jwks, new_key, sign, sign_for_device


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    temporary.replace(path)


class Signer:
    """Signs tokens with the key in `folder`, making key and JWKS document when there are none.

    `JWT_ISSUER` and `JWT_AUDIENCE` become the tokens' `iss` and `aud`, as services demand them.
    """

    def __init__(self, folder: Path) -> None:
        self.key_file, self.jwks_file = folder / "token.key", folder / "jwks.json"
        if not self.key_file.exists():
            write_private(self.key_file, new_key()[0])
        self._issuer = _claims(iss="JWT_ISSUER")
        self._audience = _claims(aud="JWT_AUDIENCE")
        self._key = self.key_file.read_text(encoding="ascii")
        if not self.jwks_file.exists():
            write_private(self.jwks_file, jwks(self._key))

    def token(self, subject: str, roles: Sequence[str], ttl: timedelta = MAX_TOKEN_LIFETIME) -> str:
        """Return a token for `subject` that expires after `ttl`, at most 12 hours."""
        return sign(self._key, subject, roles, ttl, **self._issuer, **self._audience)

    def device_token(self, account: str, contact: str, key: str, ttl: timedelta) -> str:
        """Return a token for a contact's device, bound to its key; at most 15 minutes."""
        return sign_for_device(self._key, account, contact, key, ttl, **self._issuer)


def _claims(**settings: str) -> dict[str, str]:
    """Return the claims whose settings the environment has."""
    return {claim: os.environ[name] for claim, name in settings.items() if os.environ.get(name)}
