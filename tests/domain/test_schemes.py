"""Every way in lets in who shows the right thing, and nobody who shows nearly the right thing.

Each mutation of what is shown, over every scheme, four bodies and both live secrets. What is not
part of what is shown (the body, where it is not signed) may be anything: that is tried as well.
"""

from __future__ import annotations

import gzip
import hmac
import json
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from chassis.webhooks import TOLERANCE, Unverified, sign
from ingest.schemes import SCHEMES, Scheme
from ingest.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Headers = dict[str, bytes]
Pairs = list[tuple[bytes, bytes]]

NOW = 1772442000.0
OLD, NEW, GONE = "old-secret", "new-secret", "former-secret"
SAID = json.dumps({"text": "Де моє замовлення?", "n": [1, 2.5, None]})
BODIES = {
    "escaped": SAID.encode(),
    "as it is": json.dumps({"b": "Де?", "a": 1}, ensure_ascii=False, indent=1).encode(),
    "empty": b"{}",
    "bytes": bytes(range(256)),
}


def whsec(secret: str) -> str:
    return "whsec_" + b64encode(sha256(secret.encode()).digest()).decode()


def mac(secret: str, body: bytes) -> str:
    return hmac.digest(secret.encode(), body, sha256).hex()


def standard(secret: str, body: bytes) -> Headers:
    signed = sign([whsec(secret)], "m-1", int(NOW), body)
    return {name: value.encode() for name, value in signed.items()}


SHOWN: dict[str, Callable[[str, bytes], Headers]] = {
    "telegram": lambda s, _: {"x-telegram-bot-api-secret-token": s.encode()},
    "email": lambda s, _: {"x-trunkline-secret": s.encode()},
    "telephony": lambda s, _: {"x-trunkline-secret": s.encode()},
    "connectiveone": lambda s, _: {"x-access-token": s.encode()},
    "custom": standard,
    "viber": lambda s, body: {"x-viber-content-signature": mac(s, body).encode()},
    **dict.fromkeys(
        ("whatsapp", "messenger", "instagram"),
        lambda s, body: {"x-hub-signature-256": f"sha256={mac(s, body)}".encode()},
    ),
}
"""How somebody who knows the secret shows it; the last header is the one that is tampered with."""


def name(scheme: Scheme) -> str:
    return scheme.operation or scheme.channel


def secrets(scheme: Scheme, *known: str) -> list[str]:
    return [whsec(each) if name(scheme) == "custom" else each for each in known]


def let_in(scheme: Scheme, headers: Pairs, body: bytes, *known: str) -> bool:
    try:
        scheme.verify(Shown(headers, body, NOW), secrets(scheme, *known))
    except Unverified:
        return False
    return True


def pairs(headers: Headers) -> Pairs:
    return [(key.encode(), value) for key, value in headers.items()]


def tampered(scheme: Scheme, secret: str, body: bytes) -> Iterator[tuple[str, Pairs, bytes]]:
    """Every near miss: its name, the headers, the body."""
    show = SHOWN[name(scheme)]
    right = show(secret, body)
    last = list(right)[-1]
    value = right[last]

    def with_value(other: bytes) -> Pairs:
        return pairs({**right, last: other})

    for header in right:
        yield f"{header} missing", pairs({k: v for k, v in right.items() if k != header}), body
        yield f"{header} empty", pairs({**right, header: b""}), body
        yield f"{header} twice", [*pairs(right), (header.encode(), right[header])], body
    yield "another value beside it", [*pairs(right), (last.encode(), b"x")], body
    yield "a former secret", pairs(show(GONE, body)), body
    yield (
        "no secret",
        pairs(show("", body)) if name(scheme) != "custom" else with_value(b"v1,"),
        body,
    )
    yield "truncated", with_value(value[:-1]), body
    yield "halved", with_value(value[: len(value) // 2]), body
    yield "longer", with_value(value + b"0"), body
    yield "in capitals", with_value(value.upper()), body
    yield "a wrong prefix", with_value(b"sha1=" + value.rpartition(b"=")[2]), body
    yield "another prefix", with_value(b"x" + value), body
    yield "quoted", with_value(b'"' + value + b'"'), body
    yield "not ASCII", with_value("секрет".encode()), body
    yield "not UTF-8", with_value(b"\xff\xfe" + value), body
    yield "one bit", with_value(bytes([value[0] ^ 1]) + value[1:]), body
    if not scheme.signed:
        return
    yield "a byte more", pairs(right), body + b" "
    yield "a byte less", pairs(right), body[:-1]
    yield "one bit of the body", pairs(right), bytes([body[0] ^ 1]) + body[1:]
    yield "a mark before it", pairs(right), b"\xef\xbb\xbf" + body
    yield "compressed", pairs(right), gzip.compress(body, mtime=0)
    yield "no body", pairs(right), b""
    yield "another's body", pairs(right), b'{"text":"another"}'
    try:
        again = json.dumps(json.loads(body), separators=(",", ":")).encode()
    except ValueError:
        return
    if again != body:
        yield "written anew", pairs(right), again


@pytest.mark.parametrize("scheme", SCHEMES, ids=name)
def test_nearly_right_is_wrong(scheme: Scheme) -> None:
    tried = 0

    for body in BODIES.values():
        for secret in (OLD, NEW):
            for known in ((NEW, OLD), (secret,)):
                assert let_in(scheme, pairs(SHOWN[name(scheme)](secret, body)), body, *known)
            for how, headers, sent in tampered(scheme, secret, body):
                assert not let_in(scheme, headers, sent, NEW, OLD), how
                tried += 1

    assert tried > 100


@pytest.mark.parametrize("scheme", SCHEMES, ids=name)
def test_without_secrets_nobody_is_let_in(scheme: Scheme) -> None:
    for shown in (NEW, ""):
        headers = SHOWN[name(scheme)](shown, b"{}")
        assert not let_in(scheme, pairs(headers), b"{}")
        assert not let_in(scheme, pairs(headers), b"{}", *([""] if shown else []))
    assert not let_in(scheme, [], b"{}", NEW)


@pytest.mark.parametrize("scheme", [each for each in SCHEMES if not each.signed], ids=name)
def test_where_a_secret_is_shown_the_body_may_be_anything(scheme: Scheme) -> None:
    headers = pairs(SHOWN[name(scheme)](NEW, b""))

    assert all(let_in(scheme, headers, body, NEW) for body in BODIES.values())


@pytest.mark.parametrize(
    ("at", "good"),
    [
        (f"{int(NOW) - TOLERANCE}", True),
        (f"{int(NOW) + TOLERANCE}", True),
        (f"{int(NOW) - TOLERANCE - 1}", False),
        (f"{int(NOW) + TOLERANCE + 1}", False),
        (f"{NOW}", False),
        ("NaN", False),
        (f"{2**63}", False),
        (f"-{int(NOW)}", False),
        (f" {int(NOW)}", False),
        ("", False),
    ],
)
def test_a_timestamp_is_looked_at_even_when_it_is_signed(at: str, *, good: bool) -> None:
    (scheme,) = [each for each in SCHEMES if name(each) == "custom"]
    body, key = b"{}", sha256(NEW.encode()).digest()
    signature = b64encode(hmac.digest(key, f"m-1.{at}.".encode() + body, sha256))
    headers = {
        "webhook-id": b"m-1", "webhook-timestamp": at.encode(),
        "webhook-signature": b"v1," + signature,
    }  # fmt: skip

    assert let_in(scheme, pairs(headers), body, NEW) is good


def test_every_scheme_is_tried() -> None:
    assert {name(scheme) for scheme in SCHEMES} == SHOWN.keys()
