"""The proof that whoever shows a token holds the key it is bound to: DPoP (RFC 9449).

For each request the client signs a small token of its own, with a key that never leaves it; a
phone's key store makes P-256 keys, so ES256 is taken beside EdDSA. Differing from the RFC, only
the path of `htu` is compared: behind a proxy a server does not know its own scheme and host.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import jwt

from chassis.auth.claims import is_number
from chassis.auth.signing import thumbprint

PROOF_TYPE = "dpop+jwt"
PROOF_TOLERANCE_S = 300
"""Seconds a proof may be away from our clock: phones' clocks go as they like."""
MAX_PROOF_CHARS = 4096
CURVE_ALGORITHMS = {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}

_ID = re.compile(r"[!-~]{1,200}")


class InvalidProof(Exception):
    """It is not shown that the key is held; the message may be told."""


@dataclass(frozen=True, slots=True)
class ProvenRequest:
    """The request a proof must be about."""

    token: str
    method: str
    path: str
    now: float
    """In unix seconds, by our clock."""


def verify_proof(proof: str, bound_to: object, asked: ProvenRequest) -> str:
    """Give the proof's own id when it proves that the key of this thumbprint is held."""
    if not isinstance(bound_to, str) or not bound_to.isascii():
        raise InvalidProof("the token is bound to no key (`cnf.jkt`)")
    if not proof or len(proof) > MAX_PROOF_CHARS:
        raise InvalidProof("one DPoP header with a proof is needed")
    try:
        claims, held = _verified_claims(proof)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError):
        raise InvalidProof("the proof is malformed, or its signature does not hold") from None
    if not hmac.compare_digest(held, bound_to):
        raise InvalidProof("the proof is by another key than the token is bound to")
    wrong = _mismatch(claims, asked)
    if wrong is not None:
        raise InvalidProof(wrong)
    return _text(claims, "jti")


def _mismatch(claims: Mapping[str, Any], asked: ProvenRequest) -> str | None:
    meant = urlsafe_b64encode(sha256(asked.token.encode()).digest()).rstrip(b"=")
    if not hmac.compare_digest(_text(claims, "ath").encode(), meant):
        return "the proof is for another token (`ath`)"
    if _text(claims, "htm") != asked.method or _path(_text(claims, "htu")) != asked.path:
        return "the proof is for another request (`htm`, `htu`)"
    made = claims.get("iat")
    if not is_number(made) or not abs(made - asked.now) <= PROOF_TOLERANCE_S:
        return f"the proof's `iat` is more than {PROOF_TOLERANCE_S} s away from our clock"
    if not _ID.fullmatch(_text(claims, "jti")):
        return "`jti` must be 1 to 200 printable characters without spaces"
    return None


def _verified_claims(proof: str) -> tuple[dict[str, Any], str]:
    """Give what a proof says, and the thumbprint of the key that says so."""
    header = jwt.get_unverified_header(proof)
    jwk = header.get("jwk")
    if (
        header.get("typ") != PROOF_TYPE
        or "crit" in header
        or not isinstance(jwk, Mapping)
        or "d" in jwk
    ):
        raise ValueError("not a proof")
    algorithm = CURVE_ALGORITHMS[jwk["kty"], jwk["crv"]]
    if header.get("alg") != algorithm:
        raise ValueError("the algorithm is not the key's")
    key = jwt.PyJWK(dict(jwk), algorithm=algorithm)
    claims = jwt.decode(
        proof,
        key=key.key,
        algorithms=[algorithm],
        options={
            "verify_exp": False,  # its age is looked at by our clock
            "verify_nbf": False,
            "verify_iat": False,
            "verify_aud": False,
        },
    )
    return claims, thumbprint(jwk)


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) and value.isascii() else ""


def _path(address: str) -> str | None:
    try:
        return urlsplit(address).path
    except ValueError:
        return None
