"""Creation of keys and signed tokens, for an instance that is its own issuer."""

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
"""The longest lifetime of a token."""
MAX_DEVICE_TOKEN_LIFETIME = timedelta(minutes=15)
"""The longest lifetime of the token of a customer's device."""

THUMBPRINT_MEMBERS = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y")}
"""The members of a key's thumbprint, by key type (RFC 7638)."""
DEVICE_AUDIENCE = "trunkline-sdk"
SUBJECT = re.compile(r"[!-~]{1,200}")
"""The form of a subject, which appears in logs, facts and URLs."""


def new_key() -> tuple[str, str]:
    """Return a new signing key: its private PEM, and its JWKS document."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return pem, jwks(pem)


def jwks(*key_pems: str) -> str:
    """Return the JWKS document with the public keys of these private keys."""
    return json.dumps({"keys": [_public(_load(pem)) for pem in key_pems]}, indent=2)


def sign(
    key_pem: str,
    subject: str,
    roles: Iterable[Role | str],
    ttl: timedelta = timedelta(hours=1),
    **more: str,
) -> str:
    """Return a token of a subject with these roles; `more` are further claims, as `iss` and `aud`.

    Raises ValueError for a lifetime or a subject that is not allowed.
    """
    if not timedelta(0) < ttl <= MAX_TOKEN_LIFETIME:
        raise ValueError("a token is valid for at most 12 hours")
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
    """Return a token for a device to write as one contact; it is bound to the key of `thumbprint`.

    Raises ValueError for a lifetime or a name that is not allowed.
    """
    if not timedelta(0) < ttl <= MAX_DEVICE_TOKEN_LIFETIME:
        raise ValueError("a device's token is valid for at most 15 minutes")
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
    """Return the public key as a JWK, with its thumbprint (RFC 7638) as `kid`."""
    public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    members = {name: str(public[name]) for name in THUMBPRINT_MEMBERS["OKP"]}
    return {**members, "kid": thumbprint(members), "use": "sig", "alg": ALGORITHM}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the thumbprint of a JWK (RFC 7638); raise KeyError when a member is missing."""
    members = {name: jwk[name] for name in THUMBPRINT_MEMBERS[jwk["kty"]]}
    digest = sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
