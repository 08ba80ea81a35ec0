"""E-mail: one mail per delivery, as the sender's program wrote it (RFC 5322, 2045, 3834, 3464)."""

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parseaddr, parsedate_to_datetime

from ingest.channels.email import authentication_results, bodies, fingerprint, mime, quotations
from ingest.channels.email.delivery_reports import Report, report_of
from ingest.channels.email.mime import Part
from ingest.channels.parsing import MAX_NAME_CHARS
from ingest.domain.items import (
    InboundItem,
    Person,
    RawDelivery,
    RequestAttributes,
    ThreadingHeaders,
    Unreadable,
)
from ingest.domain.text import clean
from trunkline_contracts.addresses import mail_address
from trunkline_contracts.parts import Attachment

MAX_REFERENCES = 50
_ID = re.compile(r"<[!-;=?-~]{1,250}>")
RECIPIENT_HEADERS = frozenset(
    {"to", "cc", "delivered-to", "x-original-to", "envelope-to", "apparently-to"}
)
STRAY_CHARACTERS = "\"'(),.;:"
"""Characters that may surround an address without belonging to it."""
_ADDRESS = re.compile(r"[^\s@<>,;:()\"]{1,200}@[^\s@<>,;:()\"]{1,200}")
_QUOTED_ADDRESS = re.compile(r'"[^"\r\n]{1,64}"@[^\s@<>,;:()"]{1,200}')
_COMMENT = re.compile(r"\([^()]{0,1000}\)")
_IN_BRACKETS = re.compile(r"<[^<>]{1,500}>")
_AROUND_DOTS, _AROUND_AT = re.compile(r"\s{0,9}\.\s{0,9}"), re.compile(r"\s{0,9}@\s{0,9}")
_ANGLED = re.compile(r'<\s{0,9}((?:"[0-9]{1,9}"|[^\s@<>"]{1,200})@[^\s@<>"]{1,200})\s{0,9}>')
_NUMBERED = re.compile(r'"([0-9]{1,9})"(?=@)')
_FOLD = re.compile(r"\r?\n(?=[ \t])")
"""The end of a line that continues in the next one (RFC 5322, section 2.2.3)."""
SUPPRESS_HEADER = "X-Auto-Response-Suppress"
AUTORESPONDER_HEADERS = ("x-autoreply", "x-autorespond", "x-autoresponder")
AUTO_REPLY_PRECEDENCES = frozenset({"auto_reply", "auto-reply", "autoreply"})
_NO_REPLY = "no[-_.]?reply|do[-_.]?not[-_.]?reply"
NO_REPLY_LOCAL_PART = re.compile(rf"(?:{_NO_REPLY})(?:\+.*)?")
"""Local parts whose mailbox nobody reads, though a person may have written the mail."""
_MACHINE_LOCAL_PART = re.compile(
    rf"(?:mailer-daemon|postmaster|majordomo|listserv|{_NO_REPLY}|owner-.*"
    r"|.*-(?:request|owner|relay|bounces?|errors?)|bounces?[+=-].*|bounces?)(?:\+.*)?"
)
"""Local parts of machines (RFC 3834, section 2, and common usage)."""
SEVERAL_SENDERS = "it names several senders"
NO_AUTHOR = "it names no author: its sender is taken as the author"


def read(raw: RawDelivery) -> tuple[InboundItem, ...]:
    """Read one mail; raises `Unreadable`, and `Excessive` if it exceeds the limits."""
    if not raw.body.strip():
        raise Unreadable("the mail is empty")
    mail = mime.parse(raw.body)
    ids = ids_in(_header(mail, "message-id"))
    own = ids[0] if ids else None
    external_id = own or f"sha256:{raw.sha256}"
    report = report_of(mail)
    if report is not None:
        return (_report_item(raw, mail, external_id, report),)
    answers = _references(mail, own)
    body = bodies.extract(mail)
    written, quotation = quotations.split(body.text)
    person, doubt = _author(mail, raw)
    return (
        InboundItem(
            "message",
            external_id,
            raw.sha256,
            conversation=raw.sha256,
            person=person,
            flags=body.flags,
            text=written or _placeholder(body.attachments),
            quoted=quotation,
            html=body.html,
            sent_at=_sent_at(mail, raw.received_at),
            platform_id=own,
            asked=RequestAttributes(
                title=mime.header_line(_header(mail, "subject"), MAX_NAME_CHARS) or None
            ),
            attachments=tuple(body.attachments),
            thread=ThreadingHeaders(
                own or f"<{raw.sha256}@unnamed>",
                answers,
                _recipients(mail, raw),
                authentication_results.dmarc_verdicts(_headers(mail, "authentication-results")),
                reply_to=_reply_to(mail, person),
                doubt=_sender_doubt(mail) or doubt,
                content=fingerprint.content_digest(mail, raw.body) if own else raw.sha256,
            ),
            automatic=next(_machine_signs(mail, raw), None),
            auto_reply=next(_auto_reply_signs(mail, raw), None),
            no_auto_response=next(_no_response_signs(mail, raw), None),
        ),
    )


def _header(mail: Part, name: str) -> str:
    """Return a header as it was written; of several the first."""
    return mime.decode_raw_header(
        next((value for key, value in mail.raw_items() if key.lower() == name), "")
    )


def _headers(mail: Part, name: str) -> Iterator[str]:
    """Return all headers of a name as they were written."""
    return (mime.decode_raw_header(value) for key, value in mail.raw_items() if key.lower() == name)


def ids_in(value: str) -> list[str]:
    """Return the message ids, `<…>`, in a header."""
    return _ID.findall(re.sub(r"[\r\n]+[ \t]*", " ", value))


def _references(mail: Part, own: str | None) -> tuple[str, ...]:
    """Return the ids of the mails this one answers, the nearest first."""
    replied_to = ids_in(_header(mail, "in-reply-to"))
    references = ids_in(_header(mail, "references"))
    ids = dict.fromkeys([*replied_to, *reversed(references)])
    ids.pop(own or "", None)
    return tuple(ids)[:MAX_REFERENCES]


def _recipients(mail: Part, raw: RawDelivery) -> tuple[str, ...]:
    """Return the recipients in the envelope and in the headers."""
    headers = [
        mime.decode_raw_header(v) for key, v in mail.raw_items() if key.lower() in RECIPIENT_HEADERS
    ]
    addresses = (
        address
        for value in headers
        for form in (_ADDRESS, _QUOTED_ADDRESS)
        for address in form.findall(value)
    )
    return tuple(dict.fromkeys(map(_normalized, (*raw.envelope[1:], *addresses))))[:MAX_REFERENCES]


def _author(mail: Part, raw: RawDelivery) -> tuple[Person, str | None]:
    """Return the author, and a doubt if `From` names none: DMARC covers only `From`."""
    sent_by = (_header(mail, "sender"), *raw.envelope[:1], _header(mail, "return-path"))
    for value in (_header(mail, "from"), *sent_by, _header(mail, "reply-to")):
        name, address = _address(value)
        if address is not None:
            is_from = value == _header(mail, "from")
            return Person(address, name, email=address), None if is_from else NO_AUTHOR
    raise Unreadable("it names no sender")


def _reply_to(mail: Part, author: Person) -> Person | None:
    """Return the reply address if there is exactly one and it is not the author's.

    A mailing list's `Reply-To` is ignored: it leads to the whole list.
    """
    headers = list(_headers(mail, "reply-to"))
    addresses = {mail_address(address) for value in headers for address in _addresses_in(value)}
    if (
        len(headers) != 1
        or len(addresses) != 1
        or any(key.lower().startswith("list-") for key in mail)
    ):
        return None
    name, address = _address(headers[0])
    if address is None or address == author.address:
        return None
    return Person(address, name, email=address)


def _addresses_in(value: str) -> list[str]:
    """Return the addresses in angle brackets; without any, the bare ones.

    Comments and white space may surround an @, and dots within brackets (RFC 5322, section 4.4). A
    parser that reads this otherwise than the mail server would see another author.
    """
    pieces = list(authentication_results.header_pieces(value))
    quoted = [_FOLD.sub("", text) for kind, text in pieces if kind == "quoted"]
    numbers = itertools.count()
    bare = "".join(
        f'"{next(numbers)}"' if kind == "quoted" else text if kind == "text" else " "
        for kind, text in pieces
    )
    bare = _IN_BRACKETS.sub(lambda match: _AROUND_DOTS.sub(".", match[0]), bare)
    bare = _AROUND_AT.sub("@", bare)
    angled = [_restore_quoted(address, quoted) for address in _ANGLED.findall(bare)]
    return angled or _ADDRESS.findall(bare) or _QUOTED_ADDRESS.findall(_FOLD.sub("", value))


def _restore_quoted(address: str, quoted: Sequence[str]) -> str:
    """Return an address with its quoted local part, which a number stands for."""
    number = _NUMBERED.match(address)
    return address if number is None else f'"{quoted[int(number[1])]}"{address[number.end() :]}'


def _sender_doubt(mail: Part) -> str | None:
    """Return a doubt if several authors are named: every program would show another one."""
    headers = [value for key, value in mail.raw_items() if key.lower() == "from"]
    addresses = {mail_address(address) for value in headers for address in _addresses_in(value)}
    return SEVERAL_SENDERS if len(headers) > 1 or len(addresses) > 1 else None


def _address(value: str) -> tuple[str | None, str | None]:
    """Return the name and the address of a mailbox.

    Encoded words are decoded afterwards, because they may contain anything. The address is what
    stands in angle brackets, whatever looks like an address before it.
    """
    try:
        name, address = parseaddr(value)
    except RecursionError:
        name, address = "", ""
    addresses = _addresses_in(value)
    if not addresses:
        return None, None
    if address != addresses[-1] or address not in value:
        value = _FOLD.sub("", value)
        prefix = f"<{addresses[-1]}" if f"<{addresses[-1]}" in value else "<"
        name, angle, _ = value.partition(prefix)
        name, address = name.strip(' "<') if angle else "", addresses[-1]
    normalized = _normalized(address)
    is_usable = _is_usable(normalized) and not any(map(_is_control, address))
    return mime.header_line(name, MAX_NAME_CHARS) or None, normalized if is_usable else None


def _normalized(address: str) -> str:
    """Return the normalized form of an address, without surrounding characters."""
    return mail_address(
        clean(address.strip("" if _QUOTED_ADDRESS.fullmatch(address) else STRAY_CHARACTERS))
    )


def _is_usable(address: str) -> bool:
    """Return whether both parts of a normalized address have a visible character."""
    local, _, domain = address.rpartition("@")
    return any(map(_is_visible, local.strip('"'))) and any(map(_is_visible, domain))


def _is_visible(character: str) -> bool:
    return character.isprintable() and not character.isspace()


def _is_control(character: str) -> bool:
    """Return whether a character ends a line or controls a device (Cc, Zl, Zp)."""
    return unicodedata.category(character) in {"Cc", "Zl", "Zp"}


def _sent_at(mail: Part, received_at: datetime) -> datetime | None:
    """Return the date if it is plausible: not before 1990, and at most the time of receipt."""
    try:
        at = parsedate_to_datetime(_header(mail, "date"))
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return min(at, received_at) if at.year >= 1990 else None


def _placeholder(files: list[Attachment]) -> str:
    names = ", ".join(file.name or file.content_type or "?" for file in files[:5])
    return f"[attached: {names}]" if names else "[empty]"


def _report_item(raw: RawDelivery, mail: Part, external_id: str, report: Report) -> InboundItem:
    """Return the item of a delivery report.

    Our message is found later, where the mailbox's secrets are known.
    """
    if report.state is None:
        return InboundItem("noted", external_id, raw.sha256, reason=report.reason)
    return InboundItem(
        "receipt",
        external_id,
        raw.sha256,
        reason=report.reason,
        state=report.state,
        permanent=report.permanent,
        thread=ThreadingHeaders(
            external_id, (report.id,) if report.id else (), _recipients(mail, raw)
        ),
    )


def _keyword(mail: Part, name: str) -> str:
    """Return the keyword of a header, without comments and parameters."""
    return _COMMENT.sub(" ", _header(mail, name)).partition(";")[0].strip().lower()


def _machine_signs(mail: Part, raw: RawDelivery) -> Iterator[str]:
    """Yield the signs that a machine sent the mail (RFC 3834, section 5, and common usage)."""
    if _keyword(mail, "auto-submitted") not in {"", "no"}:
        yield "auto-submitted"
    if _keyword(mail, "precedence") in {"bulk", "junk", *AUTO_REPLY_PRECEDENCES}:
        yield "precedence"
    if _has_null_return_path(mail, raw):
        yield "null return-path"
    for name in AUTORESPONDER_HEADERS:
        if _keyword(mail, name) not in {"", "no"}:
            yield name


def _has_null_return_path(mail: Part, raw: RawDelivery) -> bool:
    """Return whether bounces of the mail go to nobody."""
    return _header(mail, "return-path").strip() == "<>" or raw.envelope[:1] == ("",)


def _auto_reply_signs(mail: Part, raw: RawDelivery) -> Iterator[str]:
    """Yield the signs that a machine answered on its own: no person wrote the mail.

    Exchange marks absence notices as `auto-generated`; they have a null return path, as automatic
    answers should (RFC 3834, section 3.3).
    """
    submitted = _keyword(mail, "auto-submitted")
    if submitted == "auto-replied" or (
        submitted not in {"", "no"} and _has_null_return_path(mail, raw)
    ):
        yield "auto-submitted"
    if _keyword(mail, "precedence") in AUTO_REPLY_PRECEDENCES:
        yield "precedence"
    for name in AUTORESPONDER_HEADERS:
        if _keyword(mail, name) not in {"", "no"}:
            yield name


def _no_response_signs(mail: Part, raw: RawDelivery) -> Iterator[str]:
    """Yield the reasons not to answer automatically (RFC 3834, section 2; RFC 2919; RFC 2369)."""
    yield from _machine_signs(mail, raw)
    if any(key.lower().startswith("list-") for key in mail):
        yield "a mailing list"
    if _keyword(mail, "precedence") == "list":
        yield "precedence"
    suppressed = set(re.split(r"[\s,;]+", _header(mail, SUPPRESS_HEADER.lower()).lower()))
    if suppressed & {"all", "oof", "autoreply"}:
        yield SUPPRESS_HEADER.lower()
    for name in ("from", "sender", "return-path"):
        _, address = _address(_header(mail, name))
        if address is not None and _MACHINE_LOCAL_PART.fullmatch(address.rpartition("@")[0]):
            yield "the address of a machine"
    if raw.envelope and _MACHINE_LOCAL_PART.fullmatch(raw.envelope[0].lower().rpartition("@")[0]):
        yield "the address of a machine"
