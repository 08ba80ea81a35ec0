"""What a mail says, out of its parts: as text, as HTML, and what came along.

Parts of a `multipart/mixed` are read one after the other; of a `multipart/alternative`, which says
the same several times, the text that is plain (RFC 2046, 5.1.3 and 5.1.4).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from html import escape

from ingest.channels.email import mime, sanitize
from ingest.channels.email.mime import Excessive, Part
from ingest.channels.parsing import MAX_NAME_CHARS
from trunkline_contracts.parts import Attachment

MAX_TEXT_BYTES, MAX_HTML_BYTES = 100_000, 200_000
"""Bytes of a text, and of markup, that go into a request; the mail itself is kept whole."""
MAX_SCANNED_CHARS = 500_000
"""Characters that are enough to know what is more than that."""


@dataclass(slots=True)
class Section:
    """What is said at one place of a mail, in one form or in several."""

    texts: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    def text(self, room: int) -> str:
        """Give it as text; of HTML so many characters are read."""
        plain = "\n\n".join(text for text in self.texts if text.strip())
        return plain or mime.html_to_text("\n".join(self.pages)[:room])

    def page(self) -> str:
        """Give it as HTML."""
        told = mime.body_text("\n\n".join(self.texts)[:MAX_SCANNED_CHARS])
        return "\n".join(self.pages) or f"<p>{escape(told).replace(chr(10), '<br>')}</p>"


@dataclass(frozen=True, slots=True)
class Bodies:
    """What is read of a mail."""

    text: str
    html: str | None
    files: list[Attachment]
    flags: tuple[str, ...]
    """What of it is left out."""


def extract(mail: Part) -> Bodies:
    """Sort a mail's parts."""
    pieces: dict[str, Section] = {}
    files: list[Attachment] = []
    for place, part, among in mime.leaves(mail):
        kind = part.get_content_type()
        name = mime.none_on_error(part.get_filename)
        attached = name or mime.none_on_error(part.get_content_disposition) == "attachment"
        if kind == "text/plain" and not attached:
            pieces.setdefault(among, Section()).texts.append(mime.text_of(part))
        elif kind == "text/html" and not attached:
            pieces.setdefault(among, Section()).pages.append(mime.text_of(part))
        else:
            files.append(_attachment(place, kind, name, part))
    if len(files) > mime.MAX_FILES:
        raise Excessive(f"more than {mime.MAX_FILES} files")
    flags: list[str] = []
    text, cut = mime.truncate(mime.body_text("\n\n".join(_texts(pieces.values()))), MAX_TEXT_BYTES)
    if cut:
        flags.append(f"text may have {MAX_TEXT_BYTES} bytes")
    html, why = _html(list(pieces.values()))
    if why is not None:
        flags.append(f"html {why}")
    return Bodies(text, html, files, tuple(flags))


def _texts(pieces: Collection[Section]) -> Iterator[str]:
    """Give what is said, as much of it as may be needed; no page that repeats a plain text."""
    plain = {_normalized(text) for piece in pieces for text in piece.texts}
    room, left = mime.MAX_TEXT_PART_BYTES, MAX_TEXT_BYTES
    for piece in pieces:
        text = piece.text(room)
        room = max(room - sum(map(len, piece.pages)), 0)
        page_alone = not any(map(str.strip, piece.texts))
        if text.strip() and left >= 0 and not (page_alone and _normalized(text) in plain):
            left -= len(text)
            yield text[:MAX_SCANNED_CHARS]


def _normalized(text: str) -> str:
    return " ".join(text[:MAX_SCANNED_CHARS].split())


def _html(pieces: Collection[Section]) -> tuple[str | None, str | None]:
    """Give what is shown, if there is a page at all, or why it is not."""
    if not any(piece.pages for piece in pieces):
        return None, None
    told = "\n".join(piece.page()[:MAX_SCANNED_CHARS] for piece in pieces)
    return sanitize.sanitize(mime.body_text(told[:MAX_SCANNED_CHARS]), MAX_HTML_BYTES)


def _attachment(place: str, kind: str, name: str | None, part: Part) -> Attachment:
    return Attachment(
        name=mime.header_line(name, MAX_NAME_CHARS) or None if name else None,
        content_type=mime.header_line(kind, 100),
        size=mime.size_of(part),
        external_id=place,
    )
