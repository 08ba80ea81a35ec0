"""Lines a stranger writes so that a mail of ours says what they want, and what it says."""

from __future__ import annotations

from base64 import b64encode
from quopri import encodestring


def b(text: str) -> str:
    return f"=?utf-8?b?{b64encode(text.encode()).decode()}?="


def q(text: str) -> str:
    told = encodestring(text.encode(), quotetabs=True, header=True).decode().replace("?", "=3F")
    return "=?utf-8?q?" + told.replace("=\n", "").replace("\r\n", "=0D=0A") + "?="


EVIL = "x\r\nContent-Type: text/html\r\nBcc: all@evil.test\r\n\r\n<a href=//evil>"
HOSTILE = [
    EVIL,
    b(EVIL),
    q(EVIL),
    b(b(EVIL)),
    q(b(EVIL)),
    b(q(b(EVIL))),
    "=" + b(EVIL)[:8] + b(EVIL),
    f"a {b(EVIL)} b {b(EVIL)}",
    b(EVIL) + b(EVIL),
    "=?utf-8*en?b?" + b64encode(EVIL.encode()).decode() + "?=",
    "=?UTF-16?B?" + b64encode(EVIL.encode("utf-16")).decode() + "?=",
    "=?unknown?q?x=0D=0ABcc:_b?=",
    "Замовлення " + b(EVIL),
    "x" * 300 + b(EVIL),
    "\u2028Bcc: b\u2029\x85\x0b\x0c\x1c\x1eBcc: c",
    "x\nBcc: b",
    "x\rBcc: b",
    "\r\n\r\nbody",
    '"quoted\\" <b@evil.test>, "',
]


def headers_of(raw: bytes) -> dict[str, str]:
    """The headers as a server reads them: by lines, each name once, nothing but ASCII."""
    head = raw.partition(b"\r\n\r\n")[0].decode("ascii")
    assert not set(head.replace("\r\n", "")) & set(map(chr, range(32)))
    told: dict[str, str] = {}
    for line in head.replace("\r\n ", " ").split("\r\n"):
        name, colon, value = line.partition(": ")
        assert colon
        assert name.lower() not in told
        told[name.lower()] = value
    assert all(len(line) < 998 for line in head.split("\r\n"))
    return told
