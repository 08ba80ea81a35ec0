"""Proofs of possession (DPoP): a token bound to a key is worthless without the key."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from proving import Device

from ingest.gateway.device_proof import PROOF_TOLERANCE_S, InvalidProof, ProvenRequest, verify_proof

NOW = time.time()
TOKEN = "header.claims.signature"
ASKED = ProvenRequest(TOKEN, "POST", "/v1/requests", NOW)


@pytest.fixture(params=["ES256", "EdDSA"])
def device(request: pytest.FixtureRequest) -> Device:
    return Device(request.param)


def test_proof_by_the_bound_key_is_valid(device: Device) -> None:
    proof = device.proof(TOKEN, jti="once", iat=NOW)

    assert verify_proof(proof, device.thumbprint, ASKED) == "once"


@pytest.mark.parametrize("late", [-PROOF_TOLERANCE_S, PROOF_TOLERANCE_S])
def test_proof_within_the_tolerance_is_valid(device: Device, late: int) -> None:
    assert verify_proof(device.proof(TOKEN, iat=NOW + late), device.thumbprint, ASKED)


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"ath": "x"}, "another token"),
        ({"ath": None}, "another token"),
        ({"htm": "GET"}, "another request"),
        ({"htu": "https://shop.test/v1/requests/7/close"}, "another request"),
        ({"htu": "http://["}, "another request"),
        ({"iat": NOW - PROOF_TOLERANCE_S - 1}, "300 s"),
        ({"iat": NOW + PROOF_TOLERANCE_S + 1}, "300 s"),
        ({"iat": float("nan")}, "300 s"),
        ({"iat": float("inf")}, "300 s"),
        ({"iat": 10**400}, "300 s"),
        ({"iat": -1}, "300 s"),
        ({"iat": "now"}, "300 s"),
        ({"iat": None}, "300 s"),
        ({"jti": ""}, "jti"),
        ({"jti": "a b"}, "jti"),
        ({"jti": 7}, "malformed"),
    ],
)
def test_proof_for_another_request_is_invalid(
    device: Device, claims: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidProof, match=why):
        verify_proof(device.proof(TOKEN, **({"iat": NOW} | claims)), device.thumbprint, ASKED)


def test_proof_by_another_key_is_invalid(device: Device) -> None:
    thief = Device("ES256")

    with pytest.raises(InvalidProof, match="another key"):
        verify_proof(thief.proof(TOKEN, iat=NOW), device.thumbprint, ASKED)
    with pytest.raises(InvalidProof, match="signature"):
        verify_proof(
            thief.proof(TOKEN, iat=NOW, header={"jwk": device.jwk}), device.thumbprint, ASKED
        )


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "jwt"},
        {"typ": None},
        {"crit": ["b64"]},
        {"jwk": None},
        {"jwk": "x"},
        {"jwk": {}},
        {"jwk": {"kty": "oct", "k": "eHh4"}},
        {"jwk": {"kty": "EC", "crv": "P-256", "x": "eA", "y": "eA"}},
        {"jwk": {"kty": ["EC"], "crv": {}}},
    ],
)
def test_proof_with_a_malformed_header_is_invalid(device: Device, header: dict[str, Any]) -> None:
    with pytest.raises(InvalidProof, match="malformed"):
        verify_proof(device.proof(TOKEN, iat=NOW, header=header), device.thumbprint, ASKED)


def test_proof_with_a_private_key_is_invalid(device: Device) -> None:
    header = {"jwk": {**device.jwk, "d": "eHh4"}}

    with pytest.raises(InvalidProof, match="malformed"):
        verify_proof(device.proof(TOKEN, iat=NOW, header=header), device.thumbprint, ASKED)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_proof_with_a_shared_secret_is_invalid(device: Device, algorithm: str) -> None:
    claims = device.claims(TOKEN, iat=NOW)
    key = "" if algorithm == "none" else "x" * 32
    proof = jwt.encode(claims, key, algorithm, headers={"typ": "dpop+jwt", "jwk": device.jwk})

    with pytest.raises(InvalidProof, match="malformed"):
        verify_proof(proof, device.thumbprint, ASKED)


@pytest.mark.parametrize(
    "proof", ["", "x", "a.b.c", "ä.ä.ä", "W1tb" * 900 + ".e30.e30", "x" * 5000]
)
def test_proof_of_any_text_is_invalid(device: Device, proof: str) -> None:
    with pytest.raises(InvalidProof):
        verify_proof(proof, device.thumbprint, ASKED)


@pytest.mark.parametrize("bound_to", [None, 7, [], "", "ключ"])
def test_token_bound_to_no_key_is_invalid(device: Device, bound_to: object) -> None:
    with pytest.raises(InvalidProof):
        verify_proof(device.proof(TOKEN, iat=NOW), bound_to, ASKED)
