"""Making keys, and tokens signed with them: for an instance that is its own issuer."""

import json
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import OKPAlgorithm

from chassis.auth.jwks import ALGORITHM
from chassis.auth.roles import Role

MAX_TOKEN_LIFETIME = timedelta(hours=12)
"""How far ahead a token may expire."""
MAX_DEVICE_TOKEN_LIFETIME = timedelta(minutes=15)
"""How far ahead a customer's device's token may expire."""

THUMBPRINT_MEMBERS = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y")}
"""By kind of key, the members its thumbprint is made of."""
DEVICE_AUDIENCE = "trunkline-sdk"
SUBJECT = re.compile(r"[!-~]{1,200}")
"""A subject stands in logs, facts and addresses: printable, without spaces, not too long."""


def new_key() -> tuple[str, str]:
    """Make a key to sign tokens with: its private PEM, and the JWKS document to check them by."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return pem, jwks(pem)


def jwks(*key_pems: str) -> str:
    """Give the JWKS document of these private keys: public halves only."""
    return json.dumps({"keys": [_public(_load(pem)) for pem in key_pems]}, indent=2)


def sign(
    key_pem: str,
    subject: str,
    roles: Iterable[Role | str],
    ttl: timedelta = timedelta(hours=1),
    **more: str,
) -> str:
    """Make a token for a subject with these roles; `more` are further claims, `iss` and `aud`."""
    if not timedelta(0) < ttl <= MAX_TOKEN_LIFETIME:
        raise ValueError("a token lives for at most 12 hours")
    if not SUBJECT.fullmatch(subject):
        raise ValueError("a subject is 1 to 200 printable characters without spaces")
    key, now = _load(key_pem), int(time.time())
    claims = {
        "sub": subject,
        "roles": [Role(role).value for role in roles],
        "iat": now,
        "exp": now + int(ttl.total_seconds()),
        **more,
    }
    return jwt.encode(claims, key, ALGORITHM, headers={"kid": _public(key)["kid"]})


def sign_for_device(
    key_pem: str,
    account: str,
    contact: str,
    thumbprint: str,
    ttl: timedelta = MAX_DEVICE_TOKEN_LIFETIME,
    **more: str,
) -> str:
    """Make a token by which a device writes as one contact, if it holds the key so named."""
    if not timedelta(0) < ttl <= MAX_DEVICE_TOKEN_LIFETIME:
        raise ValueError("a device's token lives for at most 15 minutes")
    if not SUBJECT.fullmatch(contact) or not SUBJECT.fullmatch(account):
        raise ValueError("account and contact are 1 to 200 printable characters without spaces")
    key, now = _load(key_pem), int(time.time())
    claims = {
        "aud": DEVICE_AUDIENCE,
        "sub": contact,
        "client_id": account,
        "cnf": {"jkt": thumbprint},
        "iat": now,
        "exp": now + int(ttl.total_seconds()),
        **more,
    }
    return jwt.encode(claims, key, ALGORITHM, headers={"kid": _public(key)["kid"]})


def _load(pem: str) -> Ed25519PrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError("not an Ed25519 key")
    return key


def _public(key: Ed25519PrivateKey) -> dict[str, str]:
    """Write the public half, named by its thumbprint (RFC 7638)."""
    public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    named = {name: str(public[name]) for name in THUMBPRINT_MEMBERS["OKP"]}
    return {**named, "kid": thumbprint(named), "use": "sig", "alg": ALGORITHM}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Name a public key by what makes it that key (RFC 7638); raises KeyError when that lacks."""
    named = {name: jwk[name] for name in THUMBPRINT_MEMBERS[jwk["kty"]]}
    digest = sha256(json.dumps(named, separators=(",", ":"), sort_keys=True).encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
