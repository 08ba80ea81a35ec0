"""A customer's device: it holds a key, and proves so for each request."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from chassis.auth.signing import thumbprint


class Device:
    """A phone, with a key as its key store makes them."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.algorithm = algorithm
        self._key: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if algorithm == "ES256"
            else Ed25519PrivateKey.generate()
        )
        kind = ECAlgorithm if algorithm == "ES256" else OKPAlgorithm
        self.jwk: dict[str, Any] = json.loads(kind.to_jwk(self._key.public_key()))
        self.thumbprint = thumbprint(self.jwk)

    def claims(self, token: str, **more: Any) -> dict[str, Any]:
        """What a proof for this token says."""
        own = urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()
        claims = {
            "jti": str(uuid4()),
            "htm": "POST",
            "htu": "https://shop.test/v1/requests",
            "iat": int(time.time()),
            "ath": own,
        }
        return {key: value for key, value in (claims | more).items() if value is not None}

    def proof(self, token: str, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Prove it for one request."""
        headers = {"typ": "dpop+jwt", "jwk": self.jwk} | (header or {})
        kept = {key: value for key, value in headers.items() if value is not None}
        if "typ" not in kept:
            kept["typ"] = None
        told = self.claims(token, **claims)
        return jwt.encode(told, self._key, self.algorithm, headers=kept)
