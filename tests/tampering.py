"""Everything that is nearly what a sender shows: each way in, and how it is tampered with.

What is shown is spoiled in every way, and what is signed is changed. `tests/domain/test_schemes.py`
tries it on each scheme, `tests/services/test_signatures.py` at every door.
"""

from __future__ import annotations

import gzip
import hmac
import json
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha1, sha256
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from chassis.auth.standard_webhooks import sign
from ingest.gateway.endpoints import ENDPOINTS, InboundEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Headers = dict[str, bytes]
Pairs = list[tuple[bytes, bytes]]

OLD, NEW, GONE = "old-secret", "new-secret", "former-secret"
"""Of an account's secrets: two that live, one that lives no more."""
CANARY = "words nobody may read"
SAID = json.dumps({"text": f"Де моє замовлення? {CANARY}", "n": [1, 2.5, None]})
BODIES = {
    "escaped": SAID.encode(),
    "as it is": json.dumps({"b": f"Де? {CANARY}", "a": 1}, ensure_ascii=False, indent=1).encode(),
    "empty": b"{}",
    "bytes": bytes(range(256)) + CANARY.encode(),
}


def whsec(secret: str) -> str:
    """Write a secret as Standard Webhooks do."""
    return "whsec_" + b64encode(sha256(secret.encode()).digest()).decode()


def mac(secret: str, body: bytes) -> str:
    """Sign a body."""
    return hmac.digest(secret.encode(), body, sha256).hex()


@dataclass(frozen=True)
class Way:
    """A way in: how somebody who knows the secret shows it, in headers of which the last tells."""

    name: str
    show: Callable[[str, bytes, float], Headers]
    signed: bool = False
    """Whether the body is part of what is shown."""
    query: str = ""
    """The query parameter that may be shown in place of the header."""
    secret: Callable[[str], str] = str
    """Gives an account's secret for each of the three names above."""

    def shown(self, which: str, body: bytes, now: float) -> Headers:
        """Show one of the account's secrets."""
        return self.show(self.secret(which), body, now)


def _whole(header: str) -> Callable[[str, bytes, float], Headers]:
    return lambda secret, body, now: {header: secret.encode()}


def _standard(secret: str, body: bytes, now: float) -> Headers:
    signed = sign([secret], "m-1", int(now), body)
    return {name: value.encode() for name, value in signed.items()}


def _hub(secret: str, body: bytes, now: float) -> Headers:
    return {"x-hub-signature-256": f"sha256={mac(secret, body)}".encode()}


def _viber(secret: str, body: bytes, now: float) -> Headers:
    return {"x-viber-content-signature": mac(secret, body).encode()}


PLATFORMS = (
    Way("telegram", _whole("x-telegram-bot-api-secret-token")),
    Way("email", _whole("x-trunkline-secret")),
    Way("custom", _standard, signed=True, secret=whsec),
    Way("connectiveone", _whole("x-access-token")),
    Way("viber", _viber, signed=True),
    Way("telephony", _whole("x-trunkline-secret"), query="token"),
    *(Way(name, _hub, signed=True) for name in ("whatsapp", "messenger", "instagram")),
)


def scheme_of(way: Way) -> InboundEndpoint:
    """Give the scheme by which this way is looked at."""
    return next(each for each in ENDPOINTS if each.name == way.name)


@dataclass(frozen=True)
class Attempt:
    """Something nearly right."""

    how: str
    headers: Pairs
    body: bytes
    query: str = ""


def pairs(headers: Headers) -> Pairs:
    """Write headers as they travel."""
    return [(key.encode(), value) for key, value in headers.items()]


def tampered(way: Way, which: str, body: bytes, now: float) -> Iterator[Attempt]:
    """Give every near miss by somebody who has seen what one of the live secrets shows."""
    yield from _spoiled(way, which, body, now)
    if way.query:
        yield from _asked(way, which, body, now)
    if way.signed:
        yield from _changed(way, which, body, now)
    if way.name == "custom":
        yield from _of_another_time(way, which, body, now)


def _spoiled(way: Way, which: str, body: bytes, now: float) -> Iterator[Attempt]:
    right = way.shown(which, body, now)
    *_, last = right
    name, value = last.encode(), right[last]
    wrong = way.shown(GONE, body, now)[last]

    def showing(how: str, *values: bytes) -> Attempt:
        others = pairs({key: each for key, each in right.items() if key != last})
        return Attempt(how, [*others, *((name, each) for each in values)], body)

    for header in right:
        without = {key: each for key, each in right.items() if key != header}
        yield Attempt(f"{header} missing", pairs(without), body)
        yield Attempt(f"{header} empty", pairs({**right, header: b""}), body)
        yield Attempt(f"{header} twice", [*pairs(right), (header.encode(), right[header])], body)
    yield Attempt("nothing", [], body)
    yield Attempt("a former secret", pairs(way.shown(GONE, body, now)), body)
    yield showing("of a former secret", wrong)
    yield showing("another value after it", value, b"x")
    yield showing("another value before it", b"x", value)
    yield showing("a former one beside it", value, wrong)
    yield showing("joined by a comma", value + b", " + wrong)
    for how, other in _near(value):
        yield showing(how, other)
    rest = [pair for pair in pairs(right) if pair[0] != name]
    yield Attempt("by another name", [*rest, (b"x-" + name, value)], body)
    yield Attempt("as a cookie", [*rest, (b"cookie", name + b"=" + value)], body)
    if name != b"authorization":
        yield Attempt("as a bearer token", [*rest, (b"authorization", b"Bearer " + value)], body)
    if not way.query:
        yield Attempt("in the query", [], body, urlencode({last: value, "token": value}))


def _near(value: bytes) -> Iterator[tuple[str, bytes]]:
    yield "truncated", value[:-1]
    yield "halved", value[: len(value) // 2]
    yield "longer", value + b"0"
    yield "twice over", value + value
    yield "in capitals", value.upper()
    yield "in the other case", value.swapcase()
    yield "a wrong prefix", b"sha1=" + value.rpartition(b"=")[2]
    yield "an empty prefix", b"=" + value.rpartition(b"=")[2]
    yield "another prefix", b"x" + value
    yield "a space inside", value[:8] + b" " + value[8:]
    yield "quoted", b'"' + value + b'"'
    yield "not ASCII", "секрет".encode()
    yield "a letter that is not ASCII", "é".encode("latin-1") + value
    yield "not UTF-8", b"\xff\xfe" + value
    yield "one bit", bytes([value[0] ^ 1]) + value[1:]
    yield "one bit at the end", value[:-1] + bytes([value[-1] ^ 1])
    if b"=" in value[:8]:
        yield "no prefix", value.partition(b"=")[2]
        yield "a prefix in capitals", value[:3].upper() + value[3:]


def _asked(way: Way, which: str, body: bytes, now: float) -> Iterator[Attempt]:
    """Show it in the query: wrongly, or more than once."""
    secret = way.secret(which)
    right = f"{way.query}={secret}"
    for how, query in (
        ("wrong", f"{right}x"), ("former", f"{way.query}={way.secret(GONE)}"),
        ("empty", f"{way.query}="), ("capitals", f"{way.query}={secret.upper()}"),
        ("twice", f"{right}&{right}"), ("by another name", f"x{right}"),
        ("a right and a wrong one", f"{right}&{way.query}=x"),
    ):  # fmt: skip
        yield Attempt(f"in the query: {how}", [], body, query)
    headers = pairs(way.shown(which, body, now))
    yield Attempt("in the query and in the header", headers, body, right)


def _changed(way: Way, which: str, body: bytes, now: float) -> Iterator[Attempt]:
    """Change what was signed, or what it was signed with."""
    right = pairs(way.shown(which, body, now))
    for how, other in (
        ("a byte more", body + b" "), ("a line more", body + b"\n"), ("a byte less", body[:-1]),
        ("one bit of the body", bytes([body[0] ^ 1]) + body[1:]), ("twice", body + body),
        ("a mark before it", b"\xef\xbb\xbf" + body), ("no body", b""),
        ("another's body", b'{"text":"another"}'), ("written anew", _anew(body)),
    ):  # fmt: skip
        if other != body:
            yield Attempt(f"the body: {how}", right, other)
    packed = gzip.compress(body, mtime=0)
    yield Attempt("the body: compressed", right, packed)
    encoded = [*right, (b"content-encoding", b"gzip")]
    yield Attempt("the body: compressed, and said so", encoded, packed)
    yield Attempt("of another body", pairs(way.shown(which, body + b" ", now)), body)
    if way.name != "custom":
        yield Attempt("by an empty key", pairs(way.show("", body, now)), body)
    if "x-hub-signature-256" in way.shown(which, body, now):
        old = hmac.digest(way.secret(which).encode(), body, sha1).hex().encode()
        yield Attempt("the older header", [(b"x-hub-signature", b"sha1=" + old)], body)
        yield Attempt("the older digest", [(b"x-hub-signature-256", b"sha256=" + old)], body)
        yield Attempt("the older one", [(b"x-hub-signature-256", b"sha1=" + old)], body)


def _of_another_time(way: Way, which: str, body: bytes, now: float) -> Iterator[Attempt]:
    """Sign for another time, or show another id and time than was signed."""
    right = way.shown(which, body, now)
    for late in (-(10**9), -330, 330, 10**9):
        yield Attempt(f"{late} s late", pairs(way.shown(which, body, now + late)), body)
    for header, others in (
        ("webhook-id", (b"m-2", b"a.b", b"M-1")),
        ("webhook-timestamp", (b"1", b"now", b"NaN", b"-1", b"1e9", b"9" * 400, b"0x1")),
    ):
        for other in others:
            yield Attempt(f"{header} is {other[:9]!r}", pairs({**right, header: other}), body)
    digits = right["webhook-signature"].partition(b",")[2]
    for version in (b"v2,", b"v1a,", b"V1,", b"v1 ", b","):
        value = version + digits
        yield Attempt(f"version {version!r}", pairs({**right, "webhook-signature": value}), body)
    yield Attempt("no digest", pairs({**right, "webhook-signature": b"v1,"}), body)


def _anew(body: bytes) -> bytes:
    """Write JSON as whoever parses it first would."""
    try:
        return json.dumps(json.loads(body), separators=(",", ":")).encode()
    except ValueError:
        return body
