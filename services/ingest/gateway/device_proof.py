"""Verify that a client holds the key its token is bound to: DPoP (RFC 9449).

For each request the client signs a proof, a small token, with a key that never leaves it. The key
stores of phones generate P-256 keys, so ES256 is accepted besides EdDSA. Unlike in the RFC, only
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
"""How far a proof's time may differ from our clock; the clocks of phones are inexact."""
MAX_PROOF_CHARS = 4096
CURVE_ALGORITHMS = {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}

_ID = re.compile(r"[!-~]{1,200}")


class InvalidProof(Exception):
    """The proof is missing, malformed or wrong; the client sees the message."""


@dataclass(frozen=True, slots=True)
class ProvenRequest:
    """The request that a proof must be for."""

    token: str
    method: str
    path: str
    now: float
    """Unix time in seconds, by our clock."""


def verify_proof(proof: str, bound_to: object, request: ProvenRequest) -> str:
    """Return the proof's id (`jti`) if it is signed by the token's key, for this request.

    `bound_to` is the key's thumbprint in the token (`cnf.jkt`, RFC 7638). Raises `InvalidProof`.
    """
    if not isinstance(bound_to, str) or not bound_to.isascii():
        raise InvalidProof("the token is bound to no key (`cnf.jkt`)")
    if not proof or len(proof) > MAX_PROOF_CHARS:
        raise InvalidProof("one DPoP header with a proof is needed")
    try:
        claims, signed_by = _verified_claims(proof)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError):
        raise InvalidProof("the proof is malformed, or its signature does not hold") from None
    if not hmac.compare_digest(signed_by, bound_to):
        raise InvalidProof("the proof is by another key than the token is bound to")
    mismatch = _mismatch(claims, request)
    if mismatch is not None:
        raise InvalidProof(mismatch)
    return _text(claims, "jti")


def _mismatch(claims: Mapping[str, Any], request: ProvenRequest) -> str | None:
    """Return how a proof differs from the request, or None."""
    token_hash = urlsafe_b64encode(sha256(request.token.encode()).digest()).rstrip(b"=")
    if not hmac.compare_digest(_text(claims, "ath").encode(), token_hash):
        return "the proof is for another token (`ath`)"
    if _text(claims, "htm") != request.method or _path(_text(claims, "htu")) != request.path:
        return "the proof is for another request (`htm`, `htu`)"
    issued_at = claims.get("iat")
    if not is_number(issued_at) or not abs(issued_at - request.now) <= PROOF_TOLERANCE_S:
        return f"the proof's `iat` is more than {PROOF_TOLERANCE_S} s away from our clock"
    if not _ID.fullmatch(_text(claims, "jti")):
        return "`jti` must be 1 to 200 printable characters without spaces"
    return None


def _verified_claims(proof: str) -> tuple[dict[str, Any], str]:
    """Return a proof's claims, and the thumbprint of the key that signed it."""
    header = jwt.get_unverified_header(proof)
    jwk = header.get("jwk")
    if (
        header.get("typ") != PROOF_TYPE
        or "crit" in header
        or not isinstance(jwk, Mapping)
        or "d" in jwk
    ):
        raise ValueError("the header is not that of a proof")
    algorithm = CURVE_ALGORITHMS[jwk["kty"], jwk["crv"]]
    if header.get("alg") != algorithm:
        raise ValueError("the algorithm is not the key's")
    key = jwt.PyJWK(dict(jwk), algorithm=algorithm)
    claims = jwt.decode(
        proof,
        key=key.key,
        algorithms=[algorithm],
        options={
            "verify_exp": False,  # its time is compared with our clock
            "verify_nbf": False,
            "verify_iat": False,
            "verify_aud": False,
        },
    )
    return claims, thumbprint(jwk)


def _text(claims: Mapping[str, Any], name: str) -> str:
    """Return a claim if it is an ASCII string, else an empty string."""
    value = claims.get(name)
    return value if isinstance(value, str) and value.isascii() else ""


def _path(address: str) -> str | None:
    try:
        return urlsplit(address).path
    except ValueError:
        return None
