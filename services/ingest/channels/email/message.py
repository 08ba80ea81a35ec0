"""E-mail: one mail per delivery, as its sender's program wrote it (RFC 5322, 2045, 3834, 3464).

Long, as a mail says many things, each read once.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parseaddr, parsedate_to_datetime

from ingest.channels.email import (
    authentication_results,
    bodies,
    fingerprint,
    mime,
)
from ingest.channels.email import (
    quotations as quoted,
)
from ingest.channels.email.delivery_reports import Report, report_of
from ingest.channels.email.mime import Part
from ingest.channels.parsing import SHORT
from ingest.domain.items import Asked, Item, Person, Raw, Thread, Unreadable
from ingest.domain.text import clean
from trunkline_contracts.addresses import mail_address
from trunkline_contracts.parts import Attachment

REMEMBERED = 50
_ID = re.compile(r"<[!-;=?-~]{1,250}>")
RECIPIENTS = frozenset(
    {"to", "cc", "delivered-to", "x-original-to", "envelope-to", "apparently-to"}
)
STRAY = "\"'(),.;:"
"""What may stand around an address, and is none of it."""
_ADDRESS = re.compile(r"[^\s@<>,;:()\"]{1,200}@[^\s@<>,;:()\"]{1,200}")
_ODD = re.compile(r'"[^"\r\n]{1,64}"@[^\s@<>,;:()"]{1,200}')
_COMMENT = re.compile(r"\([^()]{0,1000}\)")
_IN_BRACKETS = re.compile(r"<[^<>]{1,500}>")
_AROUND_DOTS, _AROUND_AT = re.compile(r"\s{0,9}\.\s{0,9}"), re.compile(r"\s{0,9}@\s{0,9}")
_ANGLED = re.compile(r'<\s{0,9}((?:"[0-9]{1,9}"|[^\s@<>"]{1,200})@[^\s@<>"]{1,200})\s{0,9}>')
_NUMBERED = re.compile(r'"([0-9]{1,9})"(?=@)')
_FOLD = re.compile(r"\r?\n(?=[ \t])")
"""The end of a line that goes on in the next (RFC 5322, 2.2.3)."""
SUPPRESS = "X-Auto-Response-Suppress"
AUTORESPONDERS = ("x-autoreply", "x-autorespond", "x-autoresponder")
AUTO_REPLY = frozenset({"auto_reply", "auto-reply", "autoreply"})
_NO_REPLY = "no[-_.]?reply|do[-_.]?not[-_.]?reply"
UNREAD = re.compile(rf"(?:{_NO_REPLY})(?:\+.*)?")
"""What stands before the @ where nobody reads answers, though a person may have written."""
_MACHINE = re.compile(
    rf"(?:mailer-daemon|postmaster|majordomo|listserv|{_NO_REPLY}|owner-.*"
    r"|.*-(?:request|owner|relay|bounces?|errors?)|bounces?[+=-].*|bounces?)(?:\+.*)?"
)
"""What stands before the @ where nobody reads: RFC 3834, section 2, and usage."""
SEVERAL = "it names several senders"
NAMELESS = "it names no author: who sent it is taken for them"


def read(raw: Raw) -> tuple[Item, ...]:
    """Read one mail; raises `Excessive` when it is more than is taken apart here."""
    if not raw.body.strip():
        raise Unreadable("the mail is empty")
    mail = mime.parse(raw.body)
    ids = ids_in(_header(mail, "message-id"))
    own = ids[0] if ids else None
    external_id = own or f"sha256:{raw.sha256}"
    report = report_of(mail)
    if report is not None:
        return (_reported(raw, mail, external_id, report),)
    answers = _answers(mail, own)
    said = bodies.of(mail)
    written, below = quoted.split(said.text)
    person, doubt = _sender(mail, raw)
    return (
        Item(
            "message",
            external_id,
            raw.sha256,
            conversation=raw.sha256,
            person=person,
            flags=said.flags,
            text=written or _nothing(said.files),
            quoted=below,
            html=said.html,
            sent_at=_date(mail, raw.received_at),
            platform_id=own,
            asked=Asked(title=mime.line(_header(mail, "subject"), SHORT) or None),
            attachments=tuple(said.files),
            thread=Thread(
                own or f"<{raw.sha256}@unnamed>",
                answers,
                _to(mail, raw),
                authentication_results.found(_every(mail, "authentication-results")),
                reply_to=_reply_to(mail, person),
                doubt=_doubt(mail) or doubt,
                content=fingerprint.content_of(mail, raw.body) if own else raw.sha256,
            ),
            automatic=next(_signs(mail, raw), None),
            auto_reply=next(_replies(mail, raw), None),
            no_auto_response=next(_wishes(mail, raw), None),
        ),
    )


def _header(mail: Part, name: str) -> str:
    """Give a header as it was written; of several the first."""
    return mime.letters(next((value for key, value in mail.raw_items() if key.lower() == name), ""))


def _every(mail: Part, name: str) -> Iterator[str]:
    """Give every header of a name, as it was written."""
    return (mime.letters(value) for key, value in mail.raw_items() if key.lower() == name)


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


def _to(mail: Part, raw: Raw) -> tuple[str, ...]:
    """Give the addresses it was sent to, by its envelope and by its headers."""
    told = [mime.letters(v) for key, v in mail.raw_items() if key.lower() in RECIPIENTS]
    named = (each for value in told for form in (_ADDRESS, _ODD) for each in form.findall(value))
    return tuple(dict.fromkeys(map(_known, (*raw.envelope[1:], *named))))[:REMEMBERED]


def _sender(mail: Part, raw: Raw) -> tuple[Person, str | None]:
    """Give who wrote it, and the doubt: whom `From` does not name, DMARC says nothing of."""
    sent_by = (_header(mail, "sender"), *raw.envelope[:1], _header(mail, "return-path"))
    for value in (_header(mail, "from"), *sent_by, _header(mail, "reply-to")):
        told, address = _address(value)
        if address is not None:
            named = value == _header(mail, "from")
            return Person(address, told, email=address), None if named else NAMELESS
    raise Unreadable("nobody is named as its sender")


def _reply_to(mail: Part, author: Person) -> Person | None:
    """Give where it asks to be answered; a list's wish is to have everybody told."""
    asked = list(_every(mail, "reply-to"))
    named = {mail_address(each) for value in asked for each in _addresses_in(value)}
    if len(asked) != 1 or len(named) != 1 or any(key.lower().startswith("list-") for key in mail):
        return None
    told, address = _address(asked[0])
    if address is None or address == author.address:
        return None
    return Person(address, told, email=address)


def _addresses_in(value: str) -> list[str]:
    """Find the addresses that count: those in angle brackets; without any, those that are bare.

    Comments and white space may stand around an @, and around the dots of what stands in brackets
    (RFC 5322, section 4.4); whoever reads that otherwise than our server would see another author.
    """
    pieces = list(authentication_results.pieces_of(value))
    quoted = [_FOLD.sub("", text) for kind, text in pieces if kind == "quoted"]
    numbers = itertools.count()
    bare = "".join(
        f'"{next(numbers)}"' if kind == "quoted" else text if kind == "text" else " "
        for kind, text in pieces
    )
    bare = _IN_BRACKETS.sub(lambda found: _AROUND_DOTS.sub(".", found[0]), bare)
    bare = _AROUND_AT.sub("@", bare)
    angled = [_requoted(address, quoted) for address in _ANGLED.findall(bare)]
    return angled or _ADDRESS.findall(bare) or _ODD.findall(_FOLD.sub("", value))


def _requoted(address: str, quoted: Sequence[str]) -> str:
    """Return an address with its quoted local part, which a number stands for."""
    number = _NUMBERED.match(address)
    return address if number is None else f'"{quoted[int(number[1])]}"{address[number.end() :]}'


def _doubt(mail: Part) -> str | None:
    """Say why nobody can tell who wrote it: each reader would show another sender."""
    told = [value for key, value in mail.raw_items() if key.lower() == "from"]
    named = {mail_address(each) for value in told for each in _addresses_in(value)}
    return SEVERAL if len(told) > 1 or len(named) > 1 else None


def _address(value: str) -> tuple[str | None, str | None]:
    """Take a mailbox apart; encoded words are read after that, for they may hold anything.

    What stands in angle brackets is the address, whatever looks like one before it.
    """
    try:
        name, address = parseaddr(value)
    except RecursionError:
        name, address = "", ""
    found = _addresses_in(value)
    if not found:
        return None, None
    if address != found[-1] or address not in value:
        value = _FOLD.sub("", value)
        whole = f"<{found[-1]}" if f"<{found[-1]}" in value else "<"
        name, angle, _ = value.partition(whole)
        name, address = name.strip(' "<') if angle else "", found[-1]
    known = _known(address)
    usable = _is_usable(known) and not any(map(_is_control, address))
    return mime.line(name, SHORT) or None, known if usable else None


def _known(address: str) -> str:
    """Give the form an address is known by, without what stands around it."""
    return mail_address(clean(address.strip("" if _ODD.fullmatch(address) else STRAY)))


def _is_usable(address: str) -> bool:
    """Return whether both parts of a normalised address have a visible character."""
    local, _, domain = address.rpartition("@")
    return any(map(_is_visible, local.strip('"'))) and any(map(_is_visible, domain))


def _is_visible(letter: str) -> bool:
    return letter.isprintable() and not letter.isspace()


def _is_control(letter: str) -> bool:
    """Return whether a character ends a line or controls a device (Cc, Zl, Zp)."""
    return unicodedata.category(letter) in {"Cc", "Zl", "Zp"}


def _date(mail: Part, received_at: datetime) -> datetime | None:
    """Give when it was written, as far as that can be: not before there was mail, not tomorrow."""
    try:
        at = parsedate_to_datetime(_header(mail, "date"))
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return min(at, received_at) if at.year >= 1990 else None


def _nothing(files: list[Attachment]) -> str:
    names = ", ".join(each.name or each.content_type or "?" for each in files[:5])
    return f"[attached: {names}]" if names else "[empty]"


def _reported(raw: Raw, mail: Part, external_id: str, report: Report) -> Item:
    """Give what a report says; which message of ours it is about is found where our secrets are."""
    if report.state is None:
        return Item("noted", external_id, raw.sha256, reason=report.reason)
    return Item(
        "receipt",
        external_id,
        raw.sha256,
        reason=report.reason,
        state=report.state,
        permanent=report.permanent,
        thread=Thread(external_id, (report.id,) if report.id else (), _to(mail, raw)),
    )


def _word(mail: Part, name: str) -> str:
    """Give the keyword of a header, without comments and parameters."""
    return _COMMENT.sub(" ", _header(mail, name)).partition(";")[0].strip().lower()


def _signs(mail: Part, raw: Raw) -> Iterator[str]:
    """Say by what it is seen that a machine sent it (RFC 3834, section 5, and usage)."""
    if _word(mail, "auto-submitted") not in {"", "no"}:
        yield "auto-submitted"
    if _word(mail, "precedence") in {"bulk", "junk", *AUTO_REPLY}:
        yield "precedence"
    if _from_nobody(mail, raw):
        yield "null return-path"
    for name in AUTORESPONDERS:
        if _word(mail, name) not in {"", "no"}:
            yield name


def _from_nobody(mail: Part, raw: Raw) -> bool:
    """Whether it is returned to nobody when it cannot be delivered."""
    return _header(mail, "return-path").strip() == "<>" or raw.envelope[:1] == ("",)


def _replies(mail: Part, raw: Raw) -> Iterator[str]:
    """Say by what it is seen that a machine answered by itself: no person wrote it.

    Exchange calls its notices of absence `auto-generated`; they are from nobody, as answers of
    machines should be (RFC 3834, section 3.3).
    """
    submitted = _word(mail, "auto-submitted")
    if submitted == "auto-replied" or (submitted not in {"", "no"} and _from_nobody(mail, raw)):
        yield "auto-submitted"
    if _word(mail, "precedence") in AUTO_REPLY:
        yield "precedence"
    for name in AUTORESPONDERS:
        if _word(mail, name) not in {"", "no"}:
            yield name


def _wishes(mail: Part, raw: Raw) -> Iterator[str]:
    """Say why no machine may answer it (RFC 3834, section 2; RFC 2919; RFC 2369)."""
    yield from _signs(mail, raw)
    if any(key.lower().startswith("list-") for key in mail):
        yield "a mailing list"
    if _word(mail, "precedence") == "list":
        yield "precedence"
    asked = set(re.split(r"[\s,;]+", _header(mail, SUPPRESS.lower()).lower()))
    if asked & {"all", "oof", "autoreply"}:
        yield SUPPRESS.lower()
    for name in ("from", "sender", "return-path"):
        _, address = _address(_header(mail, name))
        if address is not None and _MACHINE.fullmatch(address.rpartition("@")[0]):
            yield "the address of a machine"
    if raw.envelope and _MACHINE.fullmatch(raw.envelope[0].lower().rpartition("@")[0]):
        yield "the address of a machine"
