"""E-mail: one mail per delivery, as its sender's program wrote it (RFC 5322, 2045, 3834, 3464)."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parseaddr, parsedate_to_datetime

from ingest.adapters import markup, mime, quoted
from ingest.adapters.item import Asked, Item, Person, Raw, Thread, Unreadable
from ingest.adapters.mime import Excessive, Part
from ingest.adapters.plain import SHORT, clean
from trunkline_contracts.parts import Attachment

TEXT, HTML = 100_000, 200_000
"""Bytes of a text, and of markup, that go into a request; the mail itself is kept whole."""
REMEMBERED = 50
_ID = re.compile(r"<[!-;=?-~]{1,250}>")
_ADDRESS = re.compile(r"[^\s@<>]{1,200}@[^\s@<>]{1,200}")


def read(raw: Raw) -> tuple[Item, ...]:
    """Read one mail; raises `Excessive` when it is more than is taken apart here."""
    if not raw.body.strip():
        raise Unreadable("the mail is empty")
    mail = mime.parse(raw.body)
    ids = ids_in(_header(mail, "message-id"))
    own = ids[0] if ids else None
    external_id = own or f"sha256:{raw.sha256}"
    report = _report(mail)
    if report is not None:
        return (Item("noted", external_id, raw.sha256, reason=report),)
    answers = _answers(mail, own)
    texts, html, files = _bodies(mail)
    text = mime.page("\n\n".join(texts), TEXT) or mime.page(mime.plain_of(html), TEXT)
    written, below = quoted.split(text)
    return (
        Item(
            "message",
            external_id,
            raw.sha256,
            conversation=raw.sha256,
            person=_sender(mail),
            text=written or _nothing(files),
            quoted=below,
            html=markup.safe(mime.page(html, HTML + 1), HTML),
            sent_at=_date(mail, raw.received_at),
            platform_id=own,
            asked=Asked(title=mime.line(_header(mail, "subject"), SHORT) or None),
            attachments=tuple(files),
            thread=Thread(own or f"<{raw.sha256}@unnamed>", answers),
            automatic=_automatic(mail),
        ),
    )


def _header(mail: Part, name: str) -> str:
    """Give a header as it was written; of several the first."""
    return next((value for key, value in mail.raw_items() if key.lower() == name), "")


def ids_in(value: str) -> list[str]:
    """Find message ids, `<…>`, in a header."""
    return _ID.findall(re.sub(r"[\r\n]+[ \t]*", " ", value))


def _answers(mail: Part, own: str | None) -> tuple[str, ...]:
    """Name the mails this one answers, the nearest first."""
    near = ids_in(_header(mail, "in-reply-to"))
    far = ids_in(_header(mail, "references"))
    named = dict.fromkeys([*near, *reversed(far)])
    named.pop(own or "", None)
    return tuple(named)[:REMEMBERED]


def _sender(mail: Part) -> Person:
    for name in ("from", "sender", "reply-to", "return-path"):
        told, address = _address(_header(mail, name))
        if address is not None:
            return Person(address, told, email=address)
    raise Unreadable("nobody is named as its sender")


def _address(value: str) -> tuple[str | None, str | None]:
    """Take a mailbox apart; encoded words are read after that, for they may hold anything."""
    try:
        name, address = parseaddr(value)
    except RecursionError:
        name, address = "", ""
    if not _ADDRESS.fullmatch(address):
        found = _ADDRESS.search(value)
        name, address = "", found[0] if found else ""
    shown = mime.line(name, SHORT) or None
    return shown, clean(address.lower().strip(".")) or None


def _date(mail: Part, received_at: datetime) -> datetime | None:
    """Give when it was written, as far as that can be: not before there was mail, not tomorrow."""
    try:
        at = parsedate_to_datetime(_header(mail, "date"))
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return min(at, received_at) if at.year >= 1990 else None


def _bodies(mail: Part) -> tuple[list[str], str, list[Attachment]]:
    """Sort the parts: what is read, its markup, and what came along."""
    texts: list[str] = []
    markup: list[str] = []
    files: list[Attachment] = []
    for place, part in mime.leaves(mail):
        kind = part.get_content_type()
        name = mime.quietly(part.get_filename)
        attached = name or mime.quietly(part.get_content_disposition) == "attachment"
        if kind == "text/plain" and not attached:
            texts.append(mime.text_of(part))
        elif kind == "text/html" and not attached:
            markup.append(mime.text_of(part))
        else:
            files.append(_file(place, kind, name, part))
    if len(files) > mime.FILES:
        raise Excessive(f"more than {mime.FILES} files")
    return [text for text in texts if text.strip()], "\n".join(markup), files


def _file(place: str, kind: str, name: str | None, part: Part) -> Attachment:
    return Attachment(
        name=mime.line(name, SHORT) or None if name else None,
        content_type=mime.line(kind, 100),
        size=mime.size_of(part),
        external_id=place,
    )


def _nothing(files: list[Attachment]) -> str:
    names = ", ".join(each.name or each.content_type or "?" for each in files[:5])
    return f"[attached: {names}]" if names else "[empty]"


def _report(mail: Part) -> str | None:
    """Say which kind of report it is, if it is one: whoever wrote it is a machine."""
    if mail.get_content_type() != "multipart/report":
        return None
    kind = mime.quietly(lambda: str(mail.get_param("report-type") or "")) or "unnamed"
    return mime.line(f"a report of a machine: {kind.lower()}", 100)


def _signs(mail: Part) -> Iterator[str]:
    submitted = _header(mail, "auto-submitted").split(";")[0].strip().lower()
    if submitted not in {"", "no"}:
        yield "auto-submitted"
    if _header(mail, "precedence").strip().lower() in {"bulk", "junk", "auto_reply"}:
        yield "precedence"
    if _header(mail, "return-path").strip() == "<>":
        yield "null return-path"
    for name in ("x-autoreply", "x-autorespond", "x-autoresponder"):
        if _header(mail, name).strip().lower() not in {"", "no"}:
            yield name


def _automatic(mail: Part) -> str | None:
    """Say by which sign no person wrote it, if there is one."""
    return next(_signs(mail), None)
