"""Composition of mails, without I/O; raises `CannotCompose` for values that no mail can contain.

Every header is written here as printable ASCII, and not through the email package: that package
parses the values assigned to a header, decodes encoded words nested in encoded words, and writes
the line breaks it finds in them. Untrusted text is therefore encoded as a whole, after anything
that looks like an encoded word was broken up, so that no later program decodes one in it either
(RFC 2047, sections 5 and 6.1).
"""

import re
from datetime import datetime
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime

from notify.email.threads import AUTO_SUBJECT_PREFIX, ReplyHeaders
from notify.transport.http_post import Account

AUTOMATIC_HEADERS = {
    "Auto-Submitted": "auto-replied",
    "Precedence": "bulk",
    "X-Auto-Response-Suppress": "All",
}
"""Headers that ask machines not to answer: RFC 3834, older programs, and Exchange."""
MAX_PLAIN_CHARS = 60
"""The longest header value that is written unencoded; longer ones are encoded, and so folded."""
_LOCAL = r"""(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,250}|"[!#-;=?A-Z^-~]{1,250}")"""
_ADDRESS = re.compile(rf"(?!.*=\?){_LOCAL}@[A-Za-z0-9_.-]{{1,250}}")
_ID = re.compile(r"(?!.*=\?)<[!-;=?-~]{1,250}>")


class CannotCompose(ValueError):
    """A value that no mail can contain."""


def is_address(text: str) -> bool:
    """Return whether mail can be sent to it: atoms or a quoted string, at a name (RFC 5322)."""
    return _ADDRESS.fullmatch(text) is not None


def compose(
    account: Account,
    to: str,
    own: str,
    headers: ReplyHeaders,
    text: str,
    now: datetime,
    reply_to: str,
) -> bytes:
    """Return a mail with the message id `own`; raise `CannotCompose` when that is impossible."""
    lines = [f"Message-ID: {_checked_id(own)}", *_thread_headers(headers, account)]
    lines.append(f"From: {_mailbox(account.name, account.address)}")
    if reply_to != account.address:
        lines.append(f"Reply-To: {_mailbox(account.name, reply_to)}")
    lines += [f"To: {_mailbox(None, to)}", f"Subject: {_text(subject_of(headers.subject))}"]
    lines.append(f"Date: {format_datetime(now)}")
    if headers.automatic:
        lines += [f"{name}: {value}" for name, value in AUTOMATIC_HEADERS.items()]
    body = EmailMessage(policy=WIRE)
    try:
        body.set_content(text)
        return "\r\n".join([*lines, ""]).encode("ascii") + body.as_bytes()
    except UnicodeError:
        raise CannotCompose("the text cannot be encoded") from None


def subject_of(title: str) -> str:
    """Return the subject of a reply to a request with this title."""
    line = _line(title)
    if not line:
        return "Re: your request"
    return (
        line
        if line[:3].lower() == "re:" or title.startswith(AUTO_SUBJECT_PREFIX)
        else f"Re: {line}"
    )


def mail_id_of(id: str, account: Account) -> str:
    """Return the message id of one of our own messages."""
    return f"<{id}@{account.address.rpartition('@')[2]}>"


def _thread_headers(headers: ReplyHeaders, account: Account) -> list[str]:
    """Return `In-Reply-To` and `References`; ids are not folded, or they would not match."""
    pairs = [(id, id if id.startswith("<") else mail_id_of(id, account)) for id in headers.ids]
    ids = [id for _, id in pairs if _ID.fullmatch(id)]
    theirs = [id for stored, id in pairs if stored == id and id in ids]
    if not ids:
        return []
    return [f"In-Reply-To: {(theirs or ids)[-1]}", "References: " + "\r\n ".join(ids)]


def _checked_id(own: str) -> str:
    if not _ID.fullmatch(own):
        raise CannotCompose("the message id is not valid")
    return own


def _mailbox(name: str | None, address: str) -> str:
    if not is_address(address):
        raise CannotCompose("an address is not valid")
    phrase = _line(name or "")
    return f"{_phrase(phrase)} <{address}>" if phrase else address


def _phrase(name: str) -> str:
    """Return a display name (RFC 5322, section 3.2.5): quoted if it is ASCII, else encoded."""
    if not name.isascii() or len(name) > MAX_PLAIN_CHARS:
        return _text(name)
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(line: str) -> str:
    """Return a line of text: unchanged if it is short ASCII, else encoded and folded."""
    if line.isascii() and len(line) <= MAX_PLAIN_CHARS:
        return line
    return Header(line, "utf-8", header_name="Subject").encode(linesep="\r\n")


def _line(text: str) -> str:
    """Return the text as one printable line in which nothing looks like an encoded word."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line.replace("=?", "= ?")
