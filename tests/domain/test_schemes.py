"""Verifiers of all endpoints: right credentials are accepted, tampered ones refused.

Every mutation is tried with each endpoint, four bodies and both secrets in force. A body that is
not signed may be anything, which is tested, too.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from hashlib import sha256

import pytest
from tampering import BODIES, NEW, OLD, PLATFORMS, Pairs, Way, pairs, scheme_of, tampered

from chassis.auth.standard_webhooks import MAX_CLOCK_SKEW_S, Unverified
from ingest.gateway.endpoints import ENDPOINTS
from ingest.gateway.signatures import Credentials

NOW = 1772442000.0


def name(way: Way) -> str:
    return way.name


def let_in(way: Way, headers: Pairs, body: bytes, *known: str, query: str = "") -> bool:
    secrets = [way.secret(each) if each else "" for each in known]
    try:
        scheme_of(way).verify(Credentials(headers, body, NOW, query.encode()), secrets)
    except Unverified:
        return False
    return True


@pytest.mark.parametrize("way", PLATFORMS, ids=name)
def test_tampered_credentials_are_refused(way: Way) -> None:
    tried = 0

    for body in BODIES.values():
        for which in (OLD, NEW):
            for known in ((NEW, OLD), (which,)):
                assert let_in(way, pairs(way.shown(which, body, NOW)), body, *known)
            for near in tampered(way, which, body, NOW):
                assert not let_in(way, near.headers, near.body, NEW, OLD, query=near.query), (
                    near.how
                )
                tried += 1

    assert tried > 200


@pytest.mark.parametrize("way", PLATFORMS, ids=name)
def test_account_without_secrets_verifies_nothing(way: Way) -> None:
    for shown in (NEW, ""):
        headers = pairs(way.show(way.secret(shown), b"{}", NOW))
        assert not let_in(way, headers, b"{}")
        assert not let_in(way, headers, b"{}", *([""] if shown else []))
    assert not let_in(way, [], b"{}", NEW)


@pytest.mark.parametrize("way", [each for each in PLATFORMS if not each.signed], ids=name)
def test_secret_with_any_body_is_verified(way: Way) -> None:
    headers = pairs(way.shown(NEW, b"", NOW))

    assert all(let_in(way, headers, body, NEW) for body in BODIES.values())


@pytest.mark.parametrize(
    ("at", "good"),
    [
        (f"{int(NOW) - MAX_CLOCK_SKEW_S}", True),
        (f"{int(NOW) + MAX_CLOCK_SKEW_S}", True),
        (f"{int(NOW) - MAX_CLOCK_SKEW_S - 1}", False),
        (f"{int(NOW) + MAX_CLOCK_SKEW_S + 1}", False),
        (f"{NOW}", False),
        ("NaN", False),
        (f"{2**63}", False),
        (f"-{int(NOW)}", False),
        (f" {int(NOW)}", False),
        ("", False),
    ],
)
def test_signed_timestamp_out_of_tolerance_is_refused(at: str, *, good: bool) -> None:
    (way,) = [each for each in PLATFORMS if each.name == "custom"]
    body, key = b"{}", sha256(NEW.encode()).digest()
    signature = b64encode(hmac.digest(key, f"m-1.{at}.".encode() + body, sha256))
    headers = {
        "webhook-id": b"m-1", "webhook-timestamp": at.encode(),
        "webhook-signature": b"v1," + signature,
    }  # fmt: skip

    assert let_in(way, pairs(headers), body, NEW) is good


def test_endpoints_are_all_covered() -> None:
    assert {each.name for each in ENDPOINTS} == {way.name for way in PLATFORMS}
