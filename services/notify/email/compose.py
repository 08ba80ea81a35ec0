"""How a mail is written. No I/O; raises `Unwritable` for what no mail can say.

Every header is a line made here of printable ASCII, and none is read again once it is made: the
email package reads what is assigned to a header, takes encoded words apart that stand within
encoded words, and writes out the line breaks it finds there. What strangers wrote is therefore
encoded as a whole, after what looks like an encoded word was broken up, so that nobody further on
finds one in it either (RFC 2047, 5 and 6.1).
"""

import re
from datetime import datetime
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime

from notify.email.threads import AUTO, Letter
from notify.transport.http_post import Account

AUTOMATIC = {
    "Auto-Submitted": "auto-replied",
    "Precedence": "bulk",
    "X-Auto-Response-Suppress": "All",
}
"""What asks machines not to answer: by RFC 3834, and by what older ones and Exchange look for."""
PLAIN = 60
"""Characters of a header that are written as they are; what is longer is encoded, and so folded."""
_LOCAL = r"""(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,250}|"[!#-;=?A-Z^-~]{1,250}")"""
_ADDRESS = re.compile(rf"(?!.*=\?){_LOCAL}@[A-Za-z0-9_.-]{{1,250}}")
_ID = re.compile(r"(?!.*=\?)<[!-;=?-~]{1,250}>")


class Unwritable(ValueError):
    """No mail can say it."""


def is_address(told: str) -> bool:
    """Whether mail can be sent there: to atoms, or something quoted, at a name (RFC 5322)."""
    return _ADDRESS.fullmatch(told) is not None


def compose(
    account: Account, to: str, own: str, letter: Letter, text: str, now: datetime, reply_to: str
) -> bytes:
    """Write a mail under the message id `own`."""
    lines = [f"Message-ID: {_id(own)}", *_answered(letter, account)]
    lines.append(f"From: {_mailbox(account.name, account.address)}")
    if reply_to != account.address:
        lines.append(f"Reply-To: {_mailbox(account.name, reply_to)}")
    lines += [f"To: {_mailbox(None, to)}", f"Subject: {_words(subject_of(letter.subject))}"]
    lines.append(f"Date: {format_datetime(now)}")
    if letter.automatic:
        lines += [f"{header}: {value}" for header, value in AUTOMATIC.items()]
    body = EmailMessage(policy=WIRE)
    try:
        body.set_content(text)
        return "\r\n".join([*lines, ""]).encode("ascii") + body.as_bytes()
    except UnicodeError:
        raise Unwritable("its text is none") from None


def subject_of(title: str) -> str:
    """Give the subject of an answer."""
    line = _line(title)
    if not line:
        return "Re: your request"
    return line if line[:3].lower() == "re:" or title.startswith(AUTO) else f"Re: {line}"


def mail_id_of(id: str, account: Account) -> str:
    """Give the message id of an answer of ours."""
    return f"<{id}@{account.address.rpartition('@')[2]}>"


def _answered(letter: Letter, account: Account) -> list[str]:
    """Say which mails it answers; ids are never folded, for no program would know them."""
    named = [(id, id if id.startswith("<") else mail_id_of(id, account)) for id in letter.ids]
    ids = [id for _, id in named if _ID.fullmatch(id)]
    theirs = [id for kept, id in named if kept == id and id in ids]
    if not ids:
        return []
    return [f"In-Reply-To: {(theirs or ids)[-1]}", "References: " + "\r\n ".join(ids)]


def _id(own: str) -> str:
    if not _ID.fullmatch(own):
        raise Unwritable("its message id is none")
    return own


def _mailbox(name: str | None, address: str) -> str:
    if not is_address(address):
        raise Unwritable("an address is none")
    shown = _line(name or "")
    return f"{_phrase(shown)} <{address}>" if shown else address


def _phrase(name: str) -> str:
    """Write who somebody is (RFC 5322, 3.2.5): quoted where it is ASCII, else encoded."""
    if not name.isascii() or len(name) > PLAIN:
        return _words(name)
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _words(line: str) -> str:
    """Write a line of text: as it is if it can be, else encoded and folded."""
    if line.isascii() and len(line) <= PLAIN:
        return line
    return Header(line, "utf-8", header_name="Subject").encode(linesep="\r\n")


def _line(text: str) -> str:
    """Make one printable line of it, in which nothing looks like an encoded word."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line.replace("=?", "= ?")
