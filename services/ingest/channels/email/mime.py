"""Taking a mail apart, whoever made it: bounded before it is parsed, and no charset is believed.

This runs in a child process with limits (`ingest.channels.email.parser_pool`); the limits here make
sure that what is known to be costly is seen before it costs anything. Long: every limit stands
beside what it limits.
"""

import binascii
import re
from collections.abc import Callable, Iterator
from email.message import Message
from email.parser import BytesFeedParser
from email.policy import compat32
from html import unescape
from typing import TypeAlias

from ingest.channels.email.html_tokenizer import tokens
from ingest.domain.text import clean

LARGEST = 25 * 1024 * 1024
HEAD, HEADER, HEADERS = 100 * 1024, 8 * 1024, 500
PARTS, DEPTH, FILES = 200, 20, 50
LINES = 1_200_000
"""What a parser reads one by one; the largest mail has a quarter as many when a file fills it."""
BODY = 2 * 1024 * 1024
"""Bytes of a text that are looked at."""

PIECE = 64 * 1024

Part: TypeAlias = "Message[str, str]"


BOM = b"\xef\xbb\xbf"


class Excessive(Exception):
    """It is more than is taken apart here; a person may look at it."""


_BOUNDARY = re.compile(
    rb'boundary\s{0,9}=\s{0,9}(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE
)
_BLANK = re.compile(rb"\r?\n\r?\n|\r\r")
_WITHIN = re.compile(rb"^content-type:\s{0,9}message/", re.IGNORECASE | re.MULTILINE)


def scan(raw: bytes) -> None:
    """Refuse what would cost too much to parse, by looking at the bytes alone."""
    if len(raw) > LARGEST:
        raise Excessive(f"larger than {LARGEST} bytes")
    if raw.count(b"\n") + raw.count(b"\r") - raw.count(b"\r\n") > LINES:
        raise Excessive(f"more than {LINES} lines")
    end = _BLANK.search(raw, 0, HEAD + 4)
    if end is None and len(raw) > HEAD:
        raise Excessive(f"headers of more than {HEAD} bytes")
    boundaries = {b"\n--" + (quoted or bare) for quoted, bare in _BOUNDARY.findall(raw)}
    if len(boundaries) > FILES:
        raise Excessive("too many parts within parts")
    if sum(raw.count(each) for each in boundaries) > 2 * PARTS:
        raise Excessive(f"more than {PARTS} parts")
    if len(_WITHIN.findall(raw)) > DEPTH:
        raise Excessive(f"more than {DEPTH} mails within mails")


def end_of_headers(raw: bytes) -> int:
    """Say where a mail's body begins."""
    end = _BLANK.search(raw, 0, HEAD + 4)
    return end.end() if end else len(raw)


def parse(raw: bytes) -> Part:
    """Parse a mail, within the limits."""
    scan(raw)
    try:
        mail = _parsed(raw.removeprefix(BOM))
    except RecursionError:
        raise Excessive(f"parts within parts deeper than {DEPTH}") from None
    size = count = 0
    for n, (part, depth) in enumerate(_every(mail), 1):
        if n > PARTS or depth > DEPTH:
            raise Excessive(f"more than {PARTS} parts, or deeper than {DEPTH}")
        for name, value in part.raw_items():
            count += 1
            size += len(name) + len(value)
            if len(value) > HEADER:
                raise Excessive(f"a header of more than {HEADER} bytes")
    if count > HEADERS + PARTS or size > HEAD:
        raise Excessive(f"more than {HEADERS} headers, or {HEAD} bytes of them")
    return mail


def _parsed(raw: bytes) -> Part:
    """Parse piece by piece: all at once takes four times the memory."""
    parser = BytesFeedParser(policy=compat32)
    for at in range(0, len(raw), PIECE):
        parser.feed(raw[at : at + PIECE])
    return parser.close()


def _every(mail: Part) -> Iterator[tuple[Part, int]]:
    """Give a mail and all its parts, those of mails within it too, without recursion."""
    waiting: list[tuple[Part, int]] = [(mail, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        waiting += [(each, depth + 1) for each in reversed(_inner(part))]


def _inner(part: Part) -> list[Part]:
    try:
        inner = part.get_payload()
    except (ValueError, OSError):  # the parser believes the charset, even one that is none
        part.del_param("charset")
        inner = part.get_payload()
    return [each for each in inner if isinstance(each, Message)] if isinstance(inner, list) else []


def leaves(mail: Part) -> Iterator[tuple[str, Part, str]]:
    """Give the parts that hold something, each with its place; a mail within is one such part.

    Third comes the place of the outermost `multipart/alternative` it is in, else its own.
    """
    waiting: list[tuple[str, Part, str]] = [("", mail, "")]
    while waiting:
        place, part, among = waiting.pop()
        if part.is_multipart() and part.get_content_maintype() == "multipart":
            inner = _inner(part)
            dot = f"{place}." if place else ""
            if part.get_content_subtype() == "alternative":
                among = among or f"{dot}*"
            waiting += [(f"{dot}{n}", inner[n - 1], among) for n in range(len(inner), 0, -1)]
        else:
            yield place or "1", part, among or place


def text_of(part: Part) -> str:
    """Give a part's text in whatever charset it turns out to be."""
    data = part.get_payload(decode=True)
    return decode(data[:BODY], part.get_content_charset()) if isinstance(data, bytes) else ""


def size_of(part: Part) -> int | None:
    """Say how many bytes a file has, without unpacking it."""
    payload = part.get_payload()
    if not isinstance(payload, str):
        return None
    if str(part.get("content-transfer-encoding", "")).strip().lower() != "base64":
        return len(payload)
    written = len(payload) - payload.count("\n") - payload.count("\r")
    return written * 3 // 4 - payload[-4:].count("=")


NOT_TEXT = frozenset(
    {"punycode", "idna", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"}
)
"""Codecs Python knows which no mail is written in."""


ALIASES = {
    "x-mac-cyrillic": "mac-cyrillic",
    "x-mac-roman": "mac-roman",
    "windows-874": "cp874",
    "x-sjis": "shift_jis",
    "x-euc-jp": "euc-jp",
    "x-gbk": "gbk",
    "iso-8859-6-i": "iso-8859-6",
    "iso-8859-8-i": "iso-8859-8",
    "unicode-1-1-utf-7": "utf-7",
}
"""Charsets by names Python does not know them by."""


def decode(data: bytes, charset: str | None) -> str:
    """Decode by the charset that is told, else by the likely ones; never fails."""
    told = (charset or "").strip().strip("'\"").lower()
    told = ALIASES.get(told, told)
    for name in (told, "utf-8"):
        if name and name.replace("-", "_") not in NOT_TEXT:
            try:
                return data.decode(name)
            except (LookupError, ValueError, OSError):  # a codec is a file
                continue
    try:
        return data.decode(told, "replace") if told not in NOT_TEXT else data.decode("latin-1")
    except (LookupError, ValueError, OSError):
        return data.decode("cp1252", "replace")


_WORD = re.compile(r"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?]*)\?=")


def letters(value: str) -> str:
    """Read the raw bytes of a header; they are UTF-8 today (RFC 6532)."""
    return decode(value.encode("utf-8", "surrogateescape"), "utf-8")


def words_of(value: str) -> str:
    """Read a header: encoded words, raw bytes of any charset, folded lines."""
    value = letters(value)
    found = list(_WORD.finditer(value))
    if not found:
        return value
    said: list[str] = [value[: found[0].start()]]
    run: list[bytes] = []
    for word, then in zip(found, [*found[1:], None], strict=True):
        run.append(_unpack(word))
        gap = value[word.end() : then.start() if then else None]
        adjacent = then is not None and not gap.strip()
        # Adjacent words of one charset are one text: some mailers cut letters in two.
        if not adjacent or then is None or then[1].lower() != word[1].lower():
            said += [decode(b"".join(run), word[1]), "" if adjacent else gap]
            run = []
    return "".join(said)


def _unpack(word: re.Match[str]) -> bytes:
    packed = word[3].encode("utf-8", "replace")
    if word[2] in "qQ":
        return binascii.a2b_qp(packed, header=True)
    try:
        return binascii.a2b_base64(packed + b"=" * (-len(packed) % 4))
    except binascii.Error:
        return packed


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def line(value: str, limit: int) -> str:
    """Give a header as one line of text."""
    return clean(" ".join(_CONTROLS.sub(" ", words_of(value)).split())[:limit])


def page(text: str) -> str:
    """Give a body as text that can be kept."""
    return clean(_CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))).strip()


def cut(text: str, limit: int) -> tuple[str, bool]:
    """Give so many bytes of a text, and whether there was more."""
    whole = text.encode()
    if len(whole) <= limit:
        return text, False
    return whole[:limit].decode(errors="ignore").strip("\n"), True


_LINES = "address article blockquote br dd div dl dt footer h1 h2 h3 h4 h5 h6 header hr li ol p pre"
BLOCKS = frozenset([*_LINES.split(), "section", "table", "tr", "ul"])


def plain_of(markup: str) -> str:
    """Give the text of HTML as a person would read it: no markup, no scripts, a line per block."""
    said: list[str] = []
    for kind, name, rest in tokens(markup):
        if kind == "text":
            said.append(" ".join(unescape(f"x{rest}x").split())[1:-1])
        elif name in BLOCKS:
            said.append("\n")
    lines = (each.strip() for each in "".join(said).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def quietly(ask: Callable[[], str | None]) -> str | None:
    """Ask the parser for something it may stumble over."""
    try:
        return ask()
    except (LookupError, ValueError, TypeError, RecursionError):
        return None
