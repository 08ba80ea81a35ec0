"""The way out by mail: one SMTP session per answer, whose Message-ID is the same for every attempt.

What happens before the mail itself is sent says that it was not taken; a connection that breaks
afterwards says nothing, and the outcome is unknown.
"""

import asyncio
import re
from contextlib import suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime
from urllib.parse import urlsplit
from uuid import UUID

import aiosmtplib
import httpx
from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from chassis import tags
from notify.domain import CREDENTIAL_PAUSE, Outcome, Refused, Retry, Sent, Unknown
from notify.ledger import Attempt
from notify.letters import AUTO, Letter
from notify.posting import WHOLE, Account
from trunkline_contracts.addresses import mail_address
from trunkline_contracts.ids import conversation_key, mail_id

REPLY, BOUNCE = "reply", "bounce"
"""What an address's tag is for, as intake reads it: an answer to us, or our mail come back."""
AUTOMATIC = {
    "Auto-Submitted": "auto-replied",
    "Precedence": "bulk",
    "X-Auto-Response-Suppress": "All",
}
"""What asks machines not to answer: by RFC 3834, and by what older ones and Exchange look for."""
LOCAL = 64
"""Characters before the @ that every server takes."""
_ADDRESS = re.compile(r"[!-;=?A-~]{1,250}@[!-;=?A-~]{1,250}")
_ID = re.compile(r"<[!-;=?-~]{1,250}>")


async def email(_: httpx.AsyncClient, account: Account, attempt: Attempt) -> Outcome:
    """Send an answer by mail."""
    to = mail_address(attempt.address or "")
    if not _ADDRESS.fullmatch(to):
        return Refused("the customer has no address mail can be sent to")
    letter = attempt.letter or Letter("", (), automatic=False)
    own = mail_id(attempt.message_id, account.address)
    talk = UUID(conversation_key(attempt.channel, attempt.account, attempt.chat))
    reply_to = tagged(account, talk, REPLY)
    body = compose(account, to, own, letter, attempt.text, datetime.now(UTC), reply_to)
    # Nobody's machine should answer what a machine of ours wrote; other mail says which it was
    # when it comes back.
    sender = "" if letter.automatic else tagged(account, attempt.message_id, BOUNCE)
    try:
        async with asyncio.timeout(WHOLE):
            return await _hand_over(session(account), account, sender, to, body, own)
    except TimeoutError:
        return Unknown("no answer in time")


def session(account: Account) -> SMTP:
    """Prepare a session with the account's server; TLS from the first byte for `smtps`."""
    place = urlsplit(account.base)
    direct = place.scheme == "smtps"
    return SMTP(
        hostname=place.hostname or "",
        port=place.port or (465 if direct else 25),
        use_tls=direct,
        timeout=WHOLE,
        local_hostname=account.address.rpartition("@")[2],
    )


async def _hand_over(
    server: SMTP, account: Account, sender: str, to: str, body: bytes, own: str
) -> Outcome:
    try:
        await server.connect()
        if account.user:
            await server.login(account.user, account.token)
        await server.mail(sender)
        await server.rcpt(to)
    except aiosmtplib.SMTPAuthenticationError:
        return Retry("the credential was refused", CREDENTIAL_PAUSE, exit_shut=True)
    except SMTPResponseException as why:
        return _answered(why.code)
    except (SMTPException, OSError) as why:
        return Retry(f"not reached: {type(why).__name__}")
    finally:
        if not server.is_connected:
            server.close()
    try:
        await server.data(body)
    except SMTPResponseException as why:
        return _answered(why.code)
    except (SMTPException, OSError) as why:
        return Unknown(f"no answer: {type(why).__name__}")
    finally:
        with suppress(SMTPException, OSError):
            await server.quit()
    return Sent(own)


def _answered(code: int) -> Outcome:
    """Understand a refusal: 5xx is for good, everything else may pass."""
    return Refused(f"refused ({code})") if 500 <= code < 600 else Retry(f"answered {code}")


def tagged(account: Account, id: UUID, purpose: str) -> str:
    """Give the account's address with a tag that names a conversation or a message.

    The address itself when there is no secret to sign with, when it has a tag already, or when a
    server may refuse one so long (RFC 5321, 4.5.3.1.1).
    """
    local, _, domain = account.address.rpartition("@")
    if not account.secrets or "+" in local:
        return account.address
    named = f"{local}+{tags.write(id, purpose, account.secrets[0])}"
    return f"{named}@{domain}" if len(named) <= LOCAL else account.address


def compose(
    account: Account, to: str, own: str, letter: Letter, text: str, now: datetime, reply_to: str
) -> bytes:
    """Write a mail. Message ids are written as they are: folded, no program would know them."""
    mail = EmailMessage(policy=WIRE)
    mail["From"] = _author(account, account.address)
    if reply_to != account.address:
        mail["Reply-To"] = _author(account, reply_to)
    mail["To"] = to
    mail["Subject"] = subject_of(letter.subject)
    mail["Date"] = format_datetime(now)
    if letter.automatic:
        for name, value in AUTOMATIC.items():
            mail[name] = value
    mail.set_content(text)
    names = [id if id.startswith("<") else mail_id_of(id, account) for id in letter.ids]
    ids = [id for id in names if _ID.fullmatch(id)]
    lines = [f"Message-ID: {own}"]
    if ids:
        theirs = [id for id, kept in zip(names, letter.ids, strict=True) if kept in ids]
        lines += [f"In-Reply-To: {(theirs or ids)[-1]}", "References: " + "\r\n ".join(ids)]
    return "\r\n".join([*lines, ""]).encode() + mail.as_bytes()


def mail_id_of(id: str, account: Account) -> str:
    """Give the message id of an answer of ours."""
    return f"<{id}@{account.address.rpartition('@')[2]}>"


def _author(account: Account, address: str) -> str | Address:
    name = " ".join((account.name or "").split())
    return Address(name, addr_spec=address) if name else address


def subject_of(title: str) -> str:
    """Give the subject of an answer."""
    line = " ".join("".join(c if c.isprintable() else " " for c in title).split())
    if not line:
        return "Re: your request"
    return line if line[:3].lower() == "re:" or title.startswith(AUTO) else f"Re: {line}"
