"""What a mail says, out of its parts: as text, as HTML, and what came along.

Parts of a `multipart/mixed` are read one after the other; of a `multipart/alternative`, which says
the same several times, the text that is plain (RFC 2046, 5.1.3 and 5.1.4).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from html import escape

from ingest.channels.email import mime, sanitize
from ingest.channels.email.mime import Excessive, Part
from ingest.channels.parsing import SHORT
from trunkline_contracts.parts import Attachment

TEXT, HTML = 100_000, 200_000
"""Bytes of a text, and of markup, that go into a request; the mail itself is kept whole."""
LOOKED_AT = 500_000
"""Characters that are enough to know what is more than that."""


@dataclass(slots=True)
class Piece:
    """What is said at one place of a mail, in one form or in several."""

    texts: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    def text(self, room: int) -> str:
        """Give it as text; of HTML so many characters are read."""
        plain = "\n\n".join(text for text in self.texts if text.strip())
        return plain or mime.plain_of("\n".join(self.pages)[:room])

    def page(self) -> str:
        """Give it as HTML."""
        told = mime.page("\n\n".join(self.texts)[:LOOKED_AT])
        return "\n".join(self.pages) or f"<p>{escape(told).replace(chr(10), '<br>')}</p>"


@dataclass(frozen=True, slots=True)
class Bodies:
    """What is read of a mail."""

    text: str
    html: str | None
    files: list[Attachment]
    flags: tuple[str, ...]
    """What of it is left out."""


def of(mail: Part) -> Bodies:
    """Sort a mail's parts."""
    pieces: dict[str, Piece] = {}
    files: list[Attachment] = []
    for place, part, among in mime.leaves(mail):
        kind = part.get_content_type()
        name = mime.quietly(part.get_filename)
        attached = name or mime.quietly(part.get_content_disposition) == "attachment"
        if kind == "text/plain" and not attached:
            pieces.setdefault(among, Piece()).texts.append(mime.text_of(part))
        elif kind == "text/html" and not attached:
            pieces.setdefault(among, Piece()).pages.append(mime.text_of(part))
        else:
            files.append(_file(place, kind, name, part))
    if len(files) > mime.FILES:
        raise Excessive(f"more than {mime.FILES} files")
    flags: list[str] = []
    text, cut = mime.cut(mime.page("\n\n".join(_texts(pieces.values()))), TEXT)
    if cut:
        flags.append(f"text may have {TEXT} bytes")
    html, why = _page(list(pieces.values()))
    if why is not None:
        flags.append(f"html {why}")
    return Bodies(text, html, files, tuple(flags))


def _texts(pieces: Collection[Piece]) -> Iterator[str]:
    """Give what is said, as much of it as may be needed; no page that repeats a plain text."""
    plain = {_words(text) for piece in pieces for text in piece.texts}
    room, left = mime.BODY, TEXT
    for piece in pieces:
        text = piece.text(room)
        room = max(room - sum(map(len, piece.pages)), 0)
        page_alone = not any(map(str.strip, piece.texts))
        if text.strip() and left >= 0 and not (page_alone and _words(text) in plain):
            left -= len(text)
            yield text[:LOOKED_AT]


def _words(text: str) -> str:
    return " ".join(text[:LOOKED_AT].split())


def _page(pieces: Collection[Piece]) -> tuple[str | None, str | None]:
    """Give what is shown, if there is a page at all, or why it is not."""
    if not any(piece.pages for piece in pieces):
        return None, None
    told = "\n".join(piece.page()[:LOOKED_AT] for piece in pieces)
    return sanitize.safe(mime.page(told[:LOOKED_AT]), HTML)


def _file(place: str, kind: str, name: str | None, part: Part) -> Attachment:
    return Attachment(
        name=mime.line(name, SHORT) or None if name else None,
        content_type=mime.line(kind, 100),
        size=mime.size_of(part),
        external_id=place,
    )
