"""Who writes: names that look like addresses, several senders, and what no parser agrees about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mail_corpus import REJECTED, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

SEVERAL = "it names several senders"
A, B = "iryna@example.test", "petro@example.test"

ONE = {
    f"{A}": (A, None),
    f"<{A}>": (A, None),
    f"Iryna <{A}>": (A, "Iryna"),
    f'"Iryna" <{A}>': (A, "Iryna"),
    f'"Koval, Iryna" <{A}>': (A, "Koval, Iryna"),
    f"Iryna <{A.upper()}>": (A, "Iryna"),
    f"  Iryna   <{A}>  ": (A, "Iryna"),
    f"{A} (Iryna)": (A, "Iryna"),
    f"(a comment) {A}": (A, None),
    f"Iryna < {A} >": (A, "Iryna"),
    f"Iryna <{A}>;": (A, "Iryna"),
    f"Iryna<{A}>": (A, "Iryna"),
    f"'{A}'": (A, None),
    f"{A}.": (A, None),
    f"=?utf-8?b?0IbRgNC40L3QsA==?= <{A}>": (A, "Ірина"),
    f"=?utf-8?q?=D0=86?= =?utf-8?q?=D1=80?= <{A}>": (A, "Ір"),
    f'"=?utf-8?q?a?=" <{A}>': (A, "a"),
    f"=?utf-8?q?x=40evil.test?= <{A}>": (A, "x@evil.test"),
    f"=?utf-8?q?=3Cx=40evil.test=3E?= <{A}>": (A, "<x@evil.test>"),
    f'"{B}" <{A}>': (A, B),
    f"{B} <{A}>": (A, B),
    f'"{B} via Desk" <{A}>': (A, f"{B} via Desk"),
    f'"<{B}>" <{A}>': (A, f"<{B}>"),
    f'"Iryna \\"{B}\\"" <{A}>': (A, f'Iryna "{B}"'),
    f"Iryna ({B}) <{A}>": (A, None),
    f"Iryna\r\n <{A}>": (A, "Iryna"),
    f"Iryna\t<{A}>": (A, "Iryna"),
    "iryna+tag@example.test": ("iryna+tag@example.test", None),
    "o'brien@example.test": ("o'brien@example.test", None),
    "!#$%&*-/=?^_`{|}~@example.test": ("!#$%&*-/=?^_`{|}~@example.test", None),
    "iryna@sub.sub.sub.example.test": ("iryna@sub.sub.sub.example.test", None),
    "iryna@[192.0.2.7]": ("iryna@[192.0.2.7]", None),
    "iryna@localhost": ("iryna@localhost", None),
    "iryna@xn--80aaa.test": ("iryna@xn--80aaa.test", None),
    '"iryna"@example.test': (A, None),
    f"iryna@Example.TEST, {A}": (A, None),
    "ірина@приклад.test": ("ірина@xn--80aikifvh.test", None),
    "Ірина <ірина@приклад.test>": ("ірина@xn--80aikifvh.test", "Ірина"),
    "iryna@приклад.test": ("iryna@xn--80aikifvh.test", None),
    '"iryna koval"@example.test': ('"iryna koval"@example.test', None),
    "group:" + A + ";": (A, None),
    "Iryna <@relay.test:" + A + ">": (A, None),
    f"Support <{A}> <{A}>": (A, None),
    # Comments and white space where they may stand (RFC 5322, section 4.4).
    "iryna(c)@example.test": (A, None),
    "iryna (c) @ (d) example.test": (A, None),
    "iryna@(a (b) c)example.test": (A, None),
    "<iryna@ example.test>": (A, None),
    "<iryna @example.test>": (A, None),
    "Iryna <iryna(c)@example.test>": (A, "Iryna"),
    "Iryna <iryna@example . test>": (A, "Iryna"),
    "Iryna <(a)iryna@\r\n example.test(b)>": (A, "Iryna"),
    f'"a" (b "c) <{A}>': (A, None),
    f'"({B})" <{A}>': (A, f"({B})"),
    f"({B} \\) <{B}>) <{A}>": (A, None),
    'iryna "koval x"@example.test': ('"koval x"@example.test', None),
    # Quoted local parts in angle brackets, folded ones too.
    'Iryna <"iryna"@example.test>': (A, "Iryna"),
    '<"iryna koval"@example.test>': ('"iryna koval"@example.test', None),
    '"iryna\r\n koval"@example.test': ('"iryna koval"@example.test', None),
    'Iryna <"iryna\r\n koval"@example.test>': ('"iryna koval"@example.test', "Iryna"),
    '"Iryna\r\n K" <"iryna\r\n k"@example.test>': ('"iryna k"@example.test', None),
    '<"a@b"@example.test>': ('"a@b"@example.test', None),
}
"""What one author may be written like: the address, and the name where all agree about it."""

SOME = {
    f"{A}, {B}", f"{B}, {A}", f"<{A}> <{B}>", f"<{B}> <{A}>", f"Iryna <{A}>, Petro <{B}>",
    f"x:{A},{B};", f"{A};{B}", f"{A} {B}", f'"a" <{A}>, "b" <{B}>', f"{A},\r\n {B}",
    f"<iryna@ example.test> <{B}>", f"iryna @example.test, {B}",
    f"<{A}>{B}<{B}>", f"undisclosed:; <{A}> <{B}>",
}  # fmt: skip

NOBODY = ("", "nobody", "<>", "Iryna", '"Iryna"', "Iryna <>", "@", "@example.test", "iryna@",
          "iryna at example.test", "group:;", "(((", '"', "\x00", "=?utf-8?q?a=40b.test?=",
          "<iryna>", ",,,,", "<<<<>>>>",
          # No visible local part or domain, or control characters in it.
          '"a\r\n\tb"@example.test', '<"a\r\n\tb"@example.test>', '"a\x00b"@example.test',
          '<"a\x01b"@example.test>', '"\x7f"@example.test', '""@example.test',
          '<""@example.test>', '" "@example.test', '<" "@example.test>', '"\r\n "@example.test',
          '<"\r\n "@example.test>', '"\u200b"@example.test', "\u200b@example.test",
          '"a\u2028b"@example.test', ".@example.test", "<''@example.test>", "iryna@.",
          '<iryna@"">', '<iryna@"example.test">')  # fmt: skip

CUT = ('"a\r\nb"@example.test', '"a\rb"@example.test', '"a\nb"@example.test')
"""What ends the line, and with it the headers."""

LONG = {
    "a local part of 200": ("a" * 200 + "@x.test", True),
    "a local part of 300": ("a" * 300 + "@x.test", None),
    "a domain of 200": ("a@" + "b." * 99 + "x", True),
    "a domain of 400": ("a@" + "b." * 200 + "x", None),
    "a name of 5000": ("N" * 5000 + f" <{A}>", True),
    "comments within comments": ("(" * 50 + ")" * 50 + A, True),
    "comments that do not end": ("(" * 2000 + A, None),
    "quotes that do not end": ('"' * 999 + A, None),
}


def cases() -> Iterator[Case]:
    """Give the class."""
    for written, (address, name) in ONE.items():
        told = {"person.address": address, "thread.doubt": None}
        if name is not None:
            told["person.name"] = name
        yield Case(f"from {written!r}", f"From: {written}\r\n\r\nx".encode(), told=told)
    for written in sorted(SOME):
        told = {"thread.doubt": SEVERAL}
        yield Case(f"from {written!r}", f"From: {written}\r\n\r\nx".encode(), told=told)
    for first, second in ((A, B), (B, A), (A, A)):
        body = f"From: {first}\r\nFrom: {second}\r\n\r\nx".encode()
        yield Case(f"from {first}, from {second}", body, told={"thread.doubt": SEVERAL})
    for written in NOBODY:
        yield Case(f"from {written!r}", f"From: {written}\r\n\r\nx".encode(), REJECTED)
        body = f"From: {written}\r\nSender: {B}\r\n\r\nx".encode()
        yield Case(f"from {written!r}, sent by another", body, told={"person.address": B})
    for written in CUT:
        yield Case(f"from {written!r}", f"From: {written}\r\n\r\nx".encode(), REJECTED)
    for what, (written, some) in LONG.items():
        told = {"person.address": bool} if some else {}
        yield Case(what, f"From: {written}\r\nReply-To: {B}\r\n\r\nx".encode(), told=told)
