"""Parse MIME within limits, and decode text by charset without trusting the declared one.

This runs in a child process with limits of its own (`ingest.channels.email.parser_pool`). The
limits here refuse what is known to be costly before it costs anything.
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

MAX_MAIL_BYTES = 25 * 1024 * 1024
MAX_HEADERS_BYTES, MAX_HEADER_BYTES, MAX_HEADERS = 100 * 1024, 8 * 1024, 500
MAX_PARTS, MAX_DEPTH, MAX_FILES = 200, 20, 50
MAX_LINES = 1_200_000
"""Lines of a mail, which the parser reads one by one. A mail of maximum size that holds one file
has a quarter as many."""
MAX_TEXT_PART_BYTES = 2 * 1024 * 1024
"""Bytes that are read of a text part."""

FEED_BYTES = 64 * 1024

Part: TypeAlias = "Message[str, str]"


BOM = b"\xef\xbb\xbf"


class Excessive(Exception):
    """A mail that exceeds the limits; a person may look at it."""


_BOUNDARY = re.compile(
    rb'boundary\s{0,9}=\s{0,9}(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE
)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n|\r\r")
_NESTED_MAIL = re.compile(rb"^content-type:\s{0,9}message/", re.IGNORECASE | re.MULTILINE)


def scan(raw: bytes) -> None:
    """Refuse mails that would cost too much to parse, by their bytes alone; raises `Excessive`."""
    if len(raw) > MAX_MAIL_BYTES:
        raise Excessive(f"larger than {MAX_MAIL_BYTES} bytes")
    if raw.count(b"\n") + raw.count(b"\r") - raw.count(b"\r\n") > MAX_LINES:
        raise Excessive(f"more than {MAX_LINES} lines")
    end = _BLANK_LINE.search(raw, 0, MAX_HEADERS_BYTES + 4)
    if end is None and len(raw) > MAX_HEADERS_BYTES:
        raise Excessive(f"headers of more than {MAX_HEADERS_BYTES} bytes")
    boundaries = {b"\n--" + (quoted or bare) for quoted, bare in _BOUNDARY.findall(raw)}
    if len(boundaries) > MAX_FILES:
        raise Excessive("too many parts within parts")
    if sum(raw.count(boundary) for boundary in boundaries) > 2 * MAX_PARTS:
        raise Excessive(f"more than {MAX_PARTS} parts")
    if len(_NESTED_MAIL.findall(raw)) > MAX_DEPTH:
        raise Excessive(f"more than {MAX_DEPTH} mails within mails")


def headers_end(raw: bytes) -> int:
    """Return the offset at which a mail's body begins."""
    end = _BLANK_LINE.search(raw, 0, MAX_HEADERS_BYTES + 4)
    return end.end() if end else len(raw)


def parse(raw: bytes) -> Part:
    """Parse a mail within the limits; raises `Excessive`."""
    scan(raw)
    try:
        mail = _feed(raw.removeprefix(BOM))
    except RecursionError:
        raise Excessive(f"parts within parts deeper than {MAX_DEPTH}") from None
    size = count = 0
    for n, (part, depth) in enumerate(_walk(mail), 1):
        if n > MAX_PARTS or depth > MAX_DEPTH:
            raise Excessive(f"more than {MAX_PARTS} parts, or deeper than {MAX_DEPTH}")
        for name, value in part.raw_items():
            count += 1
            size += len(name) + len(value)
            if len(value) > MAX_HEADER_BYTES:
                raise Excessive(f"a header of more than {MAX_HEADER_BYTES} bytes")
    if count > MAX_HEADERS + MAX_PARTS or size > MAX_HEADERS_BYTES:
        raise Excessive(f"more than {MAX_HEADERS} headers, or {MAX_HEADERS_BYTES} bytes of them")
    return mail


def _feed(raw: bytes) -> Part:
    """Parse in pieces: parsing at once takes four times the memory."""
    parser = BytesFeedParser(policy=compat32)
    for at in range(0, len(raw), FEED_BYTES):
        parser.feed(raw[at : at + FEED_BYTES])
    return parser.close()


def _walk(mail: Part) -> Iterator[tuple[Part, int]]:
    """Yield a mail, all its parts and those of nested mails with their depth, without recursion."""
    waiting: list[tuple[Part, int]] = [(mail, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        waiting += [(subpart, depth + 1) for subpart in reversed(_subparts(part))]


def _subparts(part: Part) -> list[Part]:
    try:
        inner = part.get_payload()
    except (ValueError, OSError):  # the parser believes the charset, even one that is none
        part.del_param("charset")
        inner = part.get_payload()
    return (
        [member for member in inner if isinstance(member, Message)]
        if isinstance(inner, list)
        else []
    )


def leaves(mail: Part) -> Iterator[tuple[str, Part, str]]:
    """Yield the parts that are no containers; a nested mail is one part.

    Each comes with its path, and with the path of the outermost `multipart/alternative` around it,
    else its own path again.
    """
    waiting: list[tuple[str, Part, str]] = [("", mail, "")]
    while waiting:
        place, part, among = waiting.pop()
        if part.is_multipart() and part.get_content_maintype() == "multipart":
            inner = _subparts(part)
            dot = f"{place}." if place else ""
            if part.get_content_subtype() == "alternative":
                among = among or f"{dot}*"
            waiting += [(f"{dot}{n}", inner[n - 1], among) for n in range(len(inner), 0, -1)]
        else:
            yield place or "1", part, among or place


def text_of(part: Part) -> str:
    """Return the text of a part, decoded by the charset that fits."""
    data = part.get_payload(decode=True)
    return (
        decode(data[:MAX_TEXT_PART_BYTES], part.get_content_charset())
        if isinstance(data, bytes)
        else ""
    )


def size_of(part: Part) -> int | None:
    """Return the number of bytes of a file without decoding it."""
    payload = part.get_payload()
    if not isinstance(payload, str):
        return None
    if str(part.get("content-transfer-encoding", "")).strip().lower() != "base64":
        return len(payload)
    written = len(payload) - payload.count("\n") - payload.count("\r")
    return written * 3 // 4 - payload[-4:].count("=")


NON_TEXT_CODECS = frozenset(
    {"punycode", "idna", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"}
)
"""Python codecs that are not charsets of mails."""


CHARSET_ALIASES = {
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
"""Names of charsets that Python does not know."""


def decode(data: bytes, charset: str | None) -> str:
    """Decode by the declared charset, else by likely ones; never fails."""
    declared = (charset or "").strip().strip("'\"").lower()
    declared = CHARSET_ALIASES.get(declared, declared)
    for name in (declared, "utf-8"):
        if name and name.replace("-", "_") not in NON_TEXT_CODECS:
            try:
                return data.decode(name)
            except (LookupError, ValueError, OSError):  # a codec is a file
                continue
    try:
        return (
            data.decode(declared, "replace")
            if declared not in NON_TEXT_CODECS
            else data.decode("latin-1")
        )
    except (LookupError, ValueError, OSError):
        return data.decode("cp1252", "replace")


_ENCODED_WORD = re.compile(r"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?]*)\?=")


def decode_raw_header(value: str) -> str:
    """Decode the raw bytes of a header, which may be UTF-8 (RFC 6532)."""
    return decode(value.encode("utf-8", "surrogateescape"), "utf-8")


def decode_header(value: str) -> str:
    """Decode a header with encoded words, raw bytes and folded lines."""
    value = decode_raw_header(value)
    found = list(_ENCODED_WORD.finditer(value))
    if not found:
        return value
    pieces: list[str] = [value[: found[0].start()]]
    run: list[bytes] = []
    for word, then in zip(found, [*found[1:], None], strict=True):
        run.append(_decode_word(word))
        gap = value[word.end() : then.start() if then else None]
        adjacent = then is not None and not gap.strip()
        # Adjacent words of one charset are decoded together: some mailers split characters.
        if not adjacent or then is None or then[1].lower() != word[1].lower():
            pieces += [decode(b"".join(run), word[1]), "" if adjacent else gap]
            run = []
    return "".join(pieces)


def _decode_word(word: re.Match[str]) -> bytes:
    packed = word[3].encode("utf-8", "replace")
    if word[2] in "qQ":
        return binascii.a2b_qp(packed, header=True)
    try:
        return binascii.a2b_base64(packed + b"=" * (-len(packed) % 4))
    except binascii.Error:
        return packed


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def header_line(value: str, limit: int) -> str:
    """Return a header as one line of text."""
    return clean(" ".join(_CONTROLS.sub(" ", decode_header(value)).split())[:limit])


def body_text(text: str) -> str:
    """Return a body with normalized line ends and without control characters."""
    return clean(_CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))).strip()


def truncate(text: str, limit: int) -> tuple[str, bool]:
    """Return at most `limit` bytes of a text, and whether it was cut."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text, False
    return encoded[:limit].decode(errors="ignore").strip("\n"), True


_LINE_TAGS = (
    "address article blockquote br dd div dl dt footer h1 h2 h3 h4 h5 h6 header hr li ol p pre"
)
BLOCK_TAGS = frozenset([*_LINE_TAGS.split(), "section", "table", "tr", "ul"])


def html_to_text(markup: str) -> str:
    """Return the visible text of HTML: no markup, no scripts, a line per block."""
    pieces: list[str] = []
    for kind, name, rest in tokens(markup):
        if kind == "text":
            pieces.append(" ".join(unescape(f"x{rest}x").split())[1:-1])
        elif name in BLOCK_TAGS:
            pieces.append("\n")
    lines = (line.strip() for line in "".join(pieces).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def none_on_error(ask: Callable[[], str | None]) -> str | None:
    """Call a function of the e-mail parser; return None if it fails."""
    try:
        return ask()
    except (LookupError, ValueError, TypeError, RecursionError):
        return None
