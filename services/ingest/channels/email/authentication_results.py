"""DMARC verdicts in `Authentication-Results` headers (RFC 8601; DMARC: RFC 7489).

Senders control words in our own server's header, too: the address in `MAIL FROM`, the domain of a
signature. So a failure counts wherever it is found, in either reading: the header as written, and
the header without comments and quoted strings. A sender who forges a failure into their own mail is
only doubted; a pass counts only if nothing else is found.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from ingest.domain.text import clean

_DELIMITER = re.compile(r'\\.|["()]|[^\\"()]+|\\', re.DOTALL)
_NAME = re.compile(r"[^\s;]+")
_RESULT = re.compile(r"\s*dmarc\s*(?:/\s*\d{1,9}\s*)?=\s*([a-z]{1,20})", re.IGNORECASE)


class HeaderPiece(NamedTuple):
    """A stretch of a header (RFC 5322, section 3.2), without its delimiters."""

    kind: Literal["text", "quoted", "comment"]
    text: str


def dmarc_verdicts(headers: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return each server that is named, and its verdict: `pass` only if nothing else is found."""
    results: dict[str, list[str]] = {}
    for value in headers:
        pieces = list(header_pieces(value))
        results.setdefault(server_name(pieces), []).extend(_results(value, pieces))
    return tuple((server, _verdict(words)) for server, words in results.items())


def _verdict(words: list[str]) -> str:
    if "fail" in words:
        return "fail"
    return next((word for word in words if word != "pass"), "pass" if words else "none")


def server_name(pieces: Iterable[HeaderPiece]) -> str:
    """Return the name of the server a header comes from, in lower case: its first word or quoted
    string."""
    for kind, text in pieces:
        if kind == "quoted":
            return clean(re.sub(r"\\(.)", r"\1", text).strip().lower())
        if kind == "text" and text.strip():
            name = _NAME.match(text.lstrip())
            return clean(name[0].lower()) if name else ""
    return ""


def _results(value: str, pieces: list[HeaderPiece]) -> Iterator[str]:
    """Yield the DMARC results of both readings; a `pass` that only the raw header shows is
    ignored."""
    bare = "".join(text if kind == "text" else " " for kind, text in pieces)
    yield from _results_in(bare)
    yield from (result for result in _results_in(value) if result != "pass")


def _results_in(value: str) -> Iterator[str]:
    for clause in value.split(";")[1:]:
        result = _RESULT.match(clause)
        if result is not None:
            yield result[1].lower()


def header_pieces(value: str) -> Iterator[HeaderPiece]:
    """Yield the pieces of a header; an unclosed comment or quotation is plain text."""
    kind: Literal["text", "quoted", "comment"] = "text"
    start = depth = 0
    for sign in _DELIMITER.finditer(value):
        at, mark = sign.start(), sign[0]
        if kind == "text" and mark in {'"', "("}:
            yield HeaderPiece(kind, value[start:at])
            kind, start, depth = ("quoted" if mark == '"' else "comment"), at, 1
        elif kind == "comment" and mark in {"(", ")"}:
            depth += 1 if mark == "(" else -1
        if (kind == "quoted" and mark == '"' and at > start) or (kind == "comment" and depth == 0):
            yield HeaderPiece(kind, value[start + 1 : at])
            kind, start = "text", at + 1
    yield HeaderPiece("text", value[start:])
