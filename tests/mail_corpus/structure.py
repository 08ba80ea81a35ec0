"""Parts within parts: how many, how deep, and how badly marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mail_corpus import HEAD, PARKED, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

MIXED = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
PARTS, DEPTH, FILES = 200, 20, 50


def many(number: int, part: bytes) -> bytes:
    return HEAD + MIXED + (b"--b\r\n" + part + b"\r\n") * number + b"--b--\r\n"


def deep(depth: int) -> bytes:
    """Multiparts within each other, a text in the innermost."""
    opened = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n)
        for n in range(depth)
    )
    closed = b"".join(b"\r\n--b%d--" % n for n in reversed(range(depth)))
    return HEAD + opened + b"\r\ninside" + closed


def mails(depth: int) -> bytes:
    return HEAD + b"Content-Type: message/rfc822\r\n\r\n" * depth + b"From: x@y.test\r\n\r\ninside"


def counted() -> Iterator[Case]:
    """So many parts, so deep: up to the limits they are read, beyond them parked."""
    for number in (1, 2, 10, 50, 100, PARTS - 1, PARTS, 250, 399, 400, 1000, 10_000, 300_000):
        read = {"text": "\n\n".join(["x"] * number)} if number < PARTS else {}
        verdict = "read" if number < PARTS else PARKED
        yield Case(f"{number} texts", many(number, b"\r\nx"), verdict, read)
    for number in (1, 10, FILES, FILES + 1, 100, 199, 5000):
        part = b"Content-Type: image/png\r\n\r\nx"
        verdict = "read" if number <= FILES else PARKED
        told = {"attachments": lambda files, n=number: len(files) == n} if verdict == "read" else {}
        yield Case(f"{number} files", many(number, part), verdict, told)
    for number in (10, 199, 200, 1000, 300_000):
        verdict = "read" if number < PARTS else PARKED
        yield Case(f"{number} empty parts", many(number, b""), verdict)
    for depth in (1, 2, 5, 10, DEPTH, DEPTH + 1, 25, 40, FILES, FILES + 1, 100, 500, 1000, 5000):
        verdict = "read" if depth <= DEPTH else PARKED
        told = {"text": "inside"} if verdict == "read" else {}
        yield Case(f"{depth} deep", deep(depth), verdict, told)
    for depth in (1, 2, 10, DEPTH, DEPTH + 1, 50, 500, 2000):
        verdict = "read" if depth <= DEPTH else PARKED
        yield Case(f"{depth} mails within mails", mails(depth), verdict)
    yield Case("one boundary at every depth", HEAD + (MIXED + b"--b\r\n") * 2000, PARKED)
    lines = (b"x" * 76 + b"\r\n") * 335_000
    yield Case("a text as large as may be", HEAD + b"\r\n" + lines, told={"text": bool})
    for end in (b"\n", b"\r", b"\r\n"):
        short = (b"x" + end) * 1_200_000
        yield Case(f"more lines than are read, ended by {end!r}", HEAD + b"\r\n" + short, PARKED)
        yield Case(
            f"as many lines as are read, ended by {end!r}", HEAD + b"\r\n" + short[: -20 * len(end)]
        )
    tags = b"Content-Type: text/html\r\n\r\n" + b"<u></x>" * 150_000
    yield Case(
        "pages of nothing but tags", many(12, tags), told={"html": lambda html: html is None}
    )
    file = b"Content-Type: video/mp4\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    large = many(1, b"\r\ninside\r\n--b\r\n" + file + lines)
    yield Case("a file as large as may be", large, told={"text": "inside"})
    yield Case("larger than may be", HEAD + b"\r\n" + b"x" * (25 * 1024 * 1024), PARKED)


def marked(kind: bytes, text: bytes) -> bytes:
    return HEAD + b"Content-Type: " + kind + b"\r\n\r\n" + text


ONE = b"--%b\r\n\r\ninside\r\n--%b--\r\n"
BOUNDARIES = {
    "one character": b"x",
    "seventy characters": b"a" * 70,
    "two hundred": b"a" * 200,
    "signs": b"'()+_,-./:=?",
    "spaces within": b"a b c",
    "hyphens": b"----",
    "digits": b"=_7",
    "what a pattern means": b".*+?[a]{2}$^|",
}

ODD = {
    "a boundary of eight bits": ('multipart/mixed; boundary="межа"'.encode(), b"inside"),
    "no boundary": (b"multipart/mixed", b"--b\r\n\r\ninside\r\n--b--\r\n"),
    "an empty boundary": (b'multipart/mixed; boundary=""', b"--\r\n\r\ninside\r\n----\r\n"),
    "a boundary that never comes": (b"multipart/mixed; boundary=b", b"inside"),
    "a boundary too long": (b"multipart/mixed; boundary=" + b"a" * 5000, b"inside"),
    "two boundaries": (b"multipart/mixed; boundary=b; boundary=c", ONE % (b"b", b"b")),
    "no type": (b"", b"inside"),
    "half a type": (b"text", b"inside"),
    "a slash": (b"/", b"inside"),
    "three halves": (b"text/plain/more", b"inside"),
    "semicolons": (b";;;;;;", b"inside"),
    "an unknown type": (b"klingon/poem", b"inside"),
    "an unknown multipart": (b"multipart/poem; boundary=b", ONE % (b"b", b"b")),
    "a multipart in base64": (b"multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64",
                              ONE % (b"b", b"b")),
    "an external body": (b'message/external-body; access-type=URL; URL="http://x.test"', b"\r\n"),
    "a piece of a mail": (b'message/partial; id="x"; number=1; total=2', b"inside"),
    "news": (b"message/news", b"From: x@y.test\r\n\r\ninside"),
    "HTTP": (b"message/http", b"GET / HTTP/1.1\r\n\r\n"),
    "an index in the name": (b"text/plain; name*0=a; name*1=b; name*9999999999=c", b"inside"),
    "a name in pieces": (b"text/plain; name*0*=utf-8''%D0; name*1*=%97", b"inside"),
    "a name in no charset": (b"text/plain; name*=klingon''%41", b"inside"),
    "a name badly cut": (b"text/plain; name*=utf-8'%zz", b"inside"),
    "equals signs": (b"text/plain; ====; a==b; =", b"inside"),
    "quotes that do not end": (b'text/plain; name="a', b"inside"),
}  # fmt: skip


def told() -> Iterator[Case]:
    """Badly marked: something is read, or nothing, and never an error."""
    for name, boundary in BOUNDARIES.items():
        kind = b'multipart/mixed; boundary="%b"' % boundary
        yield Case(name, marked(kind, ONE % (boundary, boundary)), told={"text": "inside"})
    for name, (kind, text) in ODD.items():
        yield Case(name, marked(kind, text))
    mixed = b"multipart/mixed; boundary=b"
    for name, text in {
        "no end": b"--b\r\n\r\ninside\r\n",
        "a beginning and an end": b"before\r\n--b\r\n\r\ninside\r\n--b--\r\nafter",
        "bare LF": b"--b\n\ninside\n--b--\n",
        "bare CR": b"--b\r\rinside\r--b--\r",
        "blanks behind": b"--b  \r\n\r\ninside\r\n--b--  \r\n",
        "only the end": b"--b--\r\n",
        "the end twice": b"--b\r\n\r\ninside\r\n--b--\r\n--b--\r\n",
        "a boundary within a line": b"--b\r\n\r\ninside --b more\r\n--b--",
        "a part of headers only": b"--b\r\nContent-Type: text/plain\r\n--b--\r\n",
        "a head without an end": b"--b\r\nContent-Type: text/plain\r\nX: y",
    }.items():
        yield Case(name, marked(mixed, text))


def cases() -> Iterator[Case]:
    """Give the class."""
    yield from counted()
    yield from told()
