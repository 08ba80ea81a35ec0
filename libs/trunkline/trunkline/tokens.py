"""The instance's own key: signs tokens for people, and shows its public half to the services."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

LONGEST = 12 * 3600


def write_private(path: Path, content: bytes) -> None:
    """Write a file only its owner can read; readers see the old content or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


class Signer:
    """Signs tokens with the key in `folder`, making key and JWKS document when there are none."""

    def __init__(self, folder: Path) -> None:
        self.key_file, self.jwks_file = folder / "token.key", folder / "jwks.json"
        if not self.key_file.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            )
            write_private(self.key_file, pem)
        key = load_pem_private_key(self.key_file.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError(f"{self.key_file} holds no Ed25519 key")
        self._key = key
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.kid = hashlib.sha256(public).hexdigest()[:16]
        if not self.jwks_file.exists():
            x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
            jwk = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig"}
            write_private(
                self.jwks_file, json.dumps({"keys": [jwk | {"kid": self.kid, "x": x}]}).encode()
            )

    def token(self, subject: str, roles: Sequence[str], ttl: int = LONGEST) -> str:
        """A token for `subject` that ends in `ttl` seconds; the services take at most 12 hours."""
        now = int(time.time())
        claims = {"sub": subject, "roles": list(roles), "iat": now, "exp": now + min(ttl, LONGEST)}
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": self.kid})
