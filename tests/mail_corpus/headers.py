"""Heads that are long, many or broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mail_corpus import HEAD, PARKED, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

FROM = b"From: iryna@example.test\r\n"
LONGEST, ALL = 8 * 1024, 100 * 1024


def head(line: bytes, text: bytes = b"x") -> bytes:
    return FROM + line + b"\r\n\r\n" + text


def grown(name: str, begin: bytes, piece: bytes, numbers: tuple[int, ...]) -> Iterator[Case]:
    """One header of more and more pieces: beyond the limit it is parked."""
    for number in numbers:
        value = piece * number
        long = len(begin) + len(value) > LONGEST
        yield Case(f"{number} {name}", head(begin + value), PARKED if long else "read")


def long() -> Iterator[Case]:
    yield from grown("letters of a subject", b"Subject: ", b"a", (10, 1000, 8000, 9000, 10**6))
    yield from grown("encoded words", b"Subject: ", b" =?utf-8?q?=41?=", (10, 400, 600, 20_000))
    yield from grown("words of base64", b"Subject: ", b" =?utf-8?b?0JfQsA==?=", (10, 300, 20_000))
    yield from grown("addresses", b"To: ", b"a@x.test, ", (10, 700, 1000, 100_000))
    yield from grown("comments", b"To: ", b"(a) ", (10, 1000, 3000, 100_000))
    yield from grown("open comments", b"From: ", b"(", (1, 100, 1000, 7000, 100_000))
    yield from grown("open quotes", b"To: ", b'"', (1, 101, 7001, 100_001))
    yield from grown("angles", b"To: ", b"<", (1, 100, 7000, 100_000))
    yield from grown("references", b"References: ", b" <a@b.test>", (10, 50, 600, 1000, 20_000))
    yield from grown("parameters", b"Content-Type: text/plain", b"; a=b", (10, 1000, 28_000))
    yield from grown("pieces of a name", b"Content-Type: x/y", b"; name*1=b", (10, 700, 20_000))
    yield from grown("groups", b"To: ", b"g:", (10, 1000, 100_000))
    yield from grown("dots", b"To: a@", b".", (10, 1000, 100_000))
    yield from grown("folded lines", b"Subject: a", b"\r\n b", (10, 1000, 100_000))
    yield from grown("words in the date", b"Date: ", b"Mon, ", (10, 1000, 100_000))
    yield from grown("escapes", b'From: "', b"\\a", (10, 1000, 100_000))


def numerous() -> Iterator[Case]:
    for number in (10, 100, 499, 701, 10_000, 50_000):
        verdict = "read" if number < 500 else PARKED
        yield Case(f"{number} headers", head(b"a: b\r\n" * number), verdict)
    for number in (5, 12, 14, 50):
        line = b"X-%d: " + b"a" * 8000
        verdict = "read" if number <= 12 else PARKED
        yield Case(
            f"{number} headers of 8000",
            head(b"\r\n".join(line % n for n in range(number))),
            verdict,
        )
    for number in (2, 100):
        yield Case(f"{number} subjects", head(b"Subject: a\r\n" * number),
                   told={"asked.title": "a"})  # fmt: skip


BROKEN = {
    "NUL": (b"Subject: a\x00b", "a b"),
    "bell": (b"Subject: a\x07b", "a b"),
    "eight bits": ("Subject: Замовлення".encode(), "Замовлення"),
    "eight bits of an old kind": ("Subject: Замовлення".encode("cp1251"), None),
    "half a letter": (b"Subject: a\xd0", None),
    "a tab": (b"Subject:\ta", "a"),
    "no blank": (b"Subject:a", "a"),
    "blanks before the colon": (b"Subject : a", None),
    "only a name": (b"Subject", None),
    "only a colon": (b": a", None),
    "empty": (b"Subject:", None),
    "folded to nothing": (b"Subject: a\r\n \r\n b", None),
    "folded NUL": (b"Subject: a\r\n \x00b", "a b"),
    "bare CR": (b"Subject: a\rb", None),
    "bare LF": (b"Subject: a\nX: b", "a"),
    "bidirectional": ("Subject: a\u202ebc".encode(), None),
    "emoji": ("Subject: 📦📦".encode(), "📦📦"),
    "an encoded word cut in two": (b"Subject: =?utf-8?q?=D0?=\r\n =?utf-8?q?=97?=", "З"),
    "an encoded word that does not end": (b"Subject: =?utf-8?q?abc", "=?utf-8?q?abc"),
    "an encoded line break": (b"Subject: =?utf-8?q?a=0D=0ABcc=3A_x?=", "a Bcc: x"),
    "an encoded NUL": (b"Subject: =?utf-8?q?a=00b?=", "a b"),
    "an encoding nobody knows": (b"Subject: =?utf-8?x?abc?=", "=?utf-8?x?abc?="),
    "a charset nobody knows": (b"Subject: =?klingon?q?abc?=", "abc"),
    "a language": (b"Subject: =?utf-8*uk?q?abc?=", "abc"),
    "base64 of nothing": (b"Subject: =?utf-8?b??= a", "a"),
    "base64 badly padded": (b"Subject: =?utf-8?b?0JfQ?=", None),
}

DATES = (
    b"", b"yesterday", b"0", b"Mon, 32 Foo 2026 99:99:99 +9999", b"Mon, 2 Mar 2026 09:00:00",
    b"Mon, 2 Mar 26 09:00 EST", b"2026-03-02T09:00:00Z", b"Mon, 2 Mar 99999 09:00:00 +0000",
    b"Mon, 2 Mar 0001 09:00:00 +0000", b"Mon, 2 Mar 2026 09:00:00 +99999999999999999999",
    b"Mon, 2 Mar 2126 09:00:00 +0000", b"(" * 500, b"Mon, 2 Mar 2026 09:00:00 -0000 (no zone)",
)  # fmt: skip


def broken() -> Iterator[Case]:
    for name, (line, title) in BROKEN.items():
        yield Case(name, head(line), told={} if title is None else {"asked.title": title})
    for date in DATES:
        shown = date[:40].decode()
        sane = {"sent_at": lambda at: at is None or 1990 <= at.year <= 2026}
        yield Case(f"dated {shown!r}", head(b"Date: " + date), told=sane)
    for ids in (b"", b"<>", b"<a>", b"a@b", b"<a b@c>", b"<" + b"a" * 300 + b"@b>", b"<1@x> <2@x>"):
        yield Case(f"Message-ID {ids[:20].decode()!r}", head(b"Message-ID: " + ids))
    yield Case("no head", b"\r\nx", "rejected")
    yield Case("no blank line", FROM.rstrip(), told={"text": "[empty]"})
    yield Case("a mbox line first", b"From iryna Mon Mar 2 09:00:00 2026\r\n" + HEAD + b"\r\nx")
    yield Case("a BOM first", b"\xef\xbb\xbf" + HEAD + b"\r\nx")


def cases() -> Iterator[Case]:
    """Give the class."""
    yield from long()
    yield from numerous()
    yield from broken()
