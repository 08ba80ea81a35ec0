"""Extract text, HTML and attachments from the parts of a mail.

Parts of a `multipart/mixed` are read one after the other. Of a `multipart/alternative`, whose parts
have the same content, the plain text is read (RFC 2046, 5.1.3 and 5.1.4).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from html import escape

from ingest.channels.email import mime, sanitize
from ingest.channels.email.mime import Excessive, Part
from ingest.channels.parsing import MAX_NAME_CHARS
from trunkline_contracts.parts import Attachment

MAX_TEXT_BYTES, MAX_HTML_BYTES = 100_000, 200_000
"""Bytes kept of the text, and of the HTML; the mail itself is stored whole."""
MAX_SCANNED_CHARS = 500_000
"""Characters that are enough to find that the limits are exceeded."""


@dataclass(slots=True)
class Section:
    """The content of one place in a mail, in one form or several."""

    texts: list[str] = field(default_factory=list)
    html_parts: list[str] = field(default_factory=list)

    def text(self, room: int) -> str:
        """Return the content as text, reading at most `room` characters of HTML."""
        plain = "\n\n".join(text for text in self.texts if text.strip())
        return plain or mime.html_to_text("\n".join(self.html_parts)[:room])

    def html(self) -> str:
        """Return the content as HTML."""
        text = mime.body_text("\n\n".join(self.texts)[:MAX_SCANNED_CHARS])
        return "\n".join(self.html_parts) or f"<p>{escape(text).replace(chr(10), '<br>')}</p>"


@dataclass(frozen=True, slots=True)
class Bodies:
    """The text, HTML and attachments of a mail."""

    text: str
    html: str | None
    attachments: list[Attachment]
    flags: tuple[str, ...]
    """Which parts were left out."""


def extract(mail: Part) -> Bodies:
    """Return the bodies of a mail; raises `Excessive` for too many files."""
    pieces: dict[str, Section] = {}
    files: list[Attachment] = []
    for place, part, among in mime.leaves(mail):
        kind = part.get_content_type()
        name = mime.none_on_error(part.get_filename)
        attached = name or mime.none_on_error(part.get_content_disposition) == "attachment"
        if kind == "text/plain" and not attached:
            pieces.setdefault(among, Section()).texts.append(mime.text_of(part))
        elif kind == "text/html" and not attached:
            pieces.setdefault(among, Section()).html_parts.append(mime.text_of(part))
        else:
            files.append(_attachment(place, kind, name, part))
    if len(files) > mime.MAX_FILES:
        raise Excessive(f"more than {mime.MAX_FILES} files")
    flags: list[str] = []
    text, is_cut = mime.truncate(
        mime.body_text("\n\n".join(_texts(pieces.values()))), MAX_TEXT_BYTES
    )
    if is_cut:
        flags.append(f"text may have {MAX_TEXT_BYTES} bytes")
    html, reason = _html(list(pieces.values()))
    if reason is not None:
        flags.append(f"html {reason}")
    return Bodies(text, html, files, tuple(flags))


def _texts(pieces: Collection[Section]) -> Iterator[str]:
    """Yield the texts, as far as needed, without pages that repeat a plain text."""
    plain = {_normalized(text) for piece in pieces for text in piece.texts}
    room, left = mime.MAX_TEXT_PART_BYTES, MAX_TEXT_BYTES
    for piece in pieces:
        text = piece.text(room)
        room = max(room - sum(map(len, piece.html_parts)), 0)
        page_alone = not any(map(str.strip, piece.texts))
        if text.strip() and left >= 0 and not (page_alone and _normalized(text) in plain):
            left -= len(text)
            yield text[:MAX_SCANNED_CHARS]


def _normalized(text: str) -> str:
    return " ".join(text[:MAX_SCANNED_CHARS].split())


def _html(pieces: Collection[Section]) -> tuple[str | None, str | None]:
    """Return the sanitized HTML, if the mail has any, or the reason why it is left out."""
    if not any(piece.html_parts for piece in pieces):
        return None, None
    markup = "\n".join(piece.html()[:MAX_SCANNED_CHARS] for piece in pieces)
    return sanitize.sanitize(mime.body_text(markup[:MAX_SCANNED_CHARS]), MAX_HTML_BYTES)


def _attachment(place: str, kind: str, name: str | None, part: Part) -> Attachment:
    return Attachment(
        name=mime.header_line(name, MAX_NAME_CHARS) or None if name else None,
        content_type=mime.header_line(kind, 100),
        size=mime.size_of(part),
        external_id=place,
    )
