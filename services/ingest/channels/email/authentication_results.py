"""What servers found of a mail's sender, as they wrote it down (RFC 8601; DMARC: RFC 7489).

A sender chooses words that get into our server's header, too: the address in `MAIL FROM`, the
domain of a signature. So a failure counts wherever it is read, and by either reading: the header as
it stands, and the header without its comments and quoted strings. Whoever has a failure read into
their own mail is doubted, and no more; a pass counts where nothing else is read.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from ingest.domain.text import clean

_SIGN = re.compile(r'\\.|["()]|[^\\"()]+|\\', re.DOTALL)
_NAME = re.compile(r"[^\s;]+")
_RESULT = re.compile(r"\s*dmarc\s*(?:/\s*\d{1,9}\s*)?=\s*([a-z]{1,20})", re.IGNORECASE)


class Piece(NamedTuple):
    """A stretch of a header (RFC 5322, section 3.2): its delimiters are not in its text."""

    kind: Literal["text", "quoted", "comment"]
    text: str


def found(headers: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Give each server that is named, and its verdict: `pass` where all it says is that."""
    said: dict[str, list[str]] = {}
    for value in headers:
        pieces = list(pieces_of(value))
        said.setdefault(server_of(pieces), []).extend(_results(value, pieces))
    return tuple((server, _verdict(words)) for server, words in said.items())


def _verdict(words: list[str]) -> str:
    if "fail" in words:
        return "fail"
    return next((each for each in words if each != "pass"), "pass" if words else "none")


def server_of(pieces: Iterable[Piece]) -> str:
    """Give the name of the server that says it, in small letters: a word or quoted, and first."""
    for kind, text in pieces:
        if kind == "quoted":
            return clean(re.sub(r"\\(.)", r"\1", text).strip().lower())
        if kind == "text" and text.strip():
            name = _NAME.match(text.lstrip())
            return clean(name[0].lower()) if name else ""
    return ""


def _results(value: str, pieces: list[Piece]) -> Iterator[str]:
    """Give what it says of DMARC, by either reading; a sender's word for `pass` is none."""
    bare = "".join(text if kind == "text" else " " for kind, text in pieces)
    yield from _words(bare)
    yield from (each for each in _words(value) if each != "pass")


def _words(value: str) -> Iterator[str]:
    for each in value.split(";")[1:]:
        result = _RESULT.match(each)
        if result is not None:
            yield result[1].lower()


def pieces_of(value: str) -> Iterator[Piece]:
    """Take a header apart; what is opened and never closed is text like any other."""
    kind: Literal["text", "quoted", "comment"] = "text"
    start = depth = 0
    for sign in _SIGN.finditer(value):
        at, mark = sign.start(), sign[0]
        if kind == "text" and mark in {'"', "("}:
            yield Piece(kind, value[start:at])
            kind, start, depth = ("quoted" if mark == '"' else "comment"), at, 1
        elif kind == "comment" and mark in {"(", ")"}:
            depth += 1 if mark == "(" else -1
        if (kind == "quoted" and mark == '"' and at > start) or (kind == "comment" and depth == 0):
            yield Piece(kind, value[start + 1 : at])
            kind, start = "text", at + 1
    yield Piece("text", value[start:])
