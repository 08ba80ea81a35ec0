"""The way out by mail: one SMTP session per answer, whose Message-ID is the same for every attempt.

What happens before the mail itself is sent says that it was not taken; a connection that breaks
afterwards says nothing, and the outcome is unknown. Longer than other files: a session, and what
each of its answers means, are read together.
"""

import asyncio
import logging
import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import cast
from urllib.parse import urlsplit
from uuid import UUID

import aiosmtplib
from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from chassis.auth import signed_ids
from notify.delivery.queue import ClaimedMessage
from notify.domain.outcomes import Outcome, Refused, Retry, Sent, Unknown
from notify.domain.retry import CREDENTIAL_PAUSE_S
from notify.email.compose import compose, is_address
from notify.email.threads import ReplyHeaders
from notify.transport.egress_policy import HostNotFound
from notify.transport.http_post import ATTEMPT_TIMEOUT_S, Account, Transport
from trunkline_contracts.addresses import mail_address, takes_no_mail
from trunkline_contracts.ids import conversation_key, mail_id

log = logging.getLogger(__name__)

REPLY, BOUNCE = "reply", "bounce"
"""What an address's tag is for, as intake reads it: an answer to us, or our mail come back."""
QUIT_TIMEOUT_S = 1.0
"""Seconds a server has to answer QUIT."""
SESSION_TIMEOUT_S = ATTEMPT_TIMEOUT_S + QUIT_TIMEOUT_S
"""Seconds an attempt may take."""
NO_MAILBOX_CODES = frozenset({550, 551, 553})
"""Codes by which a server says that it has no such mailbox (RFC 5321, section 4.2.3)."""
_STATUS = re.compile(r"5\.\d{1,3}\.\d{1,3}(?=\s|$)")
MAX_LOCAL_PART_CHARS = 64
"""Characters before the @ that every server takes."""


async def email(ways: Transport, account: Account, attempt: ClaimedMessage) -> Outcome:
    """Send an answer by mail."""
    to = mail_address(attempt.address or "")
    if not is_address(to):
        return Refused("the customer has no address mail can be sent to")
    if not is_address(account.address):
        return Retry("the account's address is not one", CREDENTIAL_PAUSE_S, account_suspended=True)
    letter = attempt.reply_headers or ReplyHeaders("", (), automatic=False)
    own = mail_id(attempt.message_id, account.address)
    talk = UUID(conversation_key(attempt.channel, attempt.account, attempt.chat))
    reply_to = tagged_address(account, talk, REPLY)
    try:
        body = compose(account, to, own, letter, attempt.text, datetime.now(UTC), reply_to)
    except Exception as why:  # noqa: BLE001 (it would break again; who asked for it is to be told)
        log.warning("a mail cannot be written: %s", type(why).__name__)
        return Refused(f"it cannot be written as a mail ({type(why).__name__})")
    # Nobody's machine should answer what a machine of ours wrote; other mail says which it was
    # when it comes back.
    sender = "" if letter.automatic else tagged_address(account, attempt.message_id, BOUNCE)
    server = session(account)
    try:
        await ways.egress.addresses_of(server.hostname or "")
    except HostNotFound as why:
        return Retry(f"not reached: {why}")
    try:
        return await _hand_over(server, account, sender, to, body, own)
    finally:
        await _quit(server)


def session(account: Account) -> SMTP:
    """Prepare a session with the account's server; TLS from the first byte for `smtps`."""
    place = urlsplit(account.base)
    direct = place.scheme == "smtps"
    return SMTP(
        hostname=place.hostname or "",
        port=place.port or (465 if direct else 25),
        use_tls=direct,
        timeout=ATTEMPT_TIMEOUT_S,
        local_hostname=account.address.rpartition("@")[2],
    )


async def _hand_over(
    server: SMTP, account: Account, sender: str, to: str, body: bytes, own: str
) -> Outcome:
    until = asyncio.get_running_loop().time() + ATTEMPT_TIMEOUT_S
    try:
        async with asyncio.timeout_at(until):
            await server.connect()
            if account.user:
                await server.login(account.user, account.token)
            await server.mail(sender)
            await server.rcpt(to)
    except aiosmtplib.SMTPAuthenticationError:
        return Retry("the credential was refused", CREDENTIAL_PAUSE_S, account_suspended=True)
    except SMTPResponseException as why:
        return _refusal_outcome(why)
    except (SMTPException, OSError) as why:  # what took too long among them
        return Retry(f"not reached: {type(why).__name__}")
    try:
        async with asyncio.timeout_at(until):
            await server.data(body)
    except SMTPResponseException as why:
        return _refusal_outcome(why)
    except (SMTPException, OSError) as why:
        return Unknown(f"no answer: {type(why).__name__}")
    return Sent(own)


async def _quit(server: SMTP) -> None:
    """Take leave, if there is somebody to take it of; whatever comes of it, nothing is left open.

    What became of the mail is known by then, and a server that answers no QUIT changes nothing.
    """
    transport = server.transport
    try:
        if server.is_connected:
            with suppress(SMTPException, OSError):
                async with asyncio.timeout(QUIT_TIMEOUT_S):
                    await server.quit(timeout=QUIT_TIMEOUT_S)
    finally:
        server.close()
        if transport is not None:
            cast(asyncio.WriteTransport, transport).abort()  # what is not read by now never will be


def _refusal_outcome(why: SMTPResponseException) -> Outcome:
    """Understand a refusal: 5xx is for good, everything else may pass.

    What is said to `RCPT TO` may be about the address; a status (RFC 2034) says more than a code.
    """
    if not 500 <= why.code < 600:
        return Retry(f"answered {why.code}")
    if not isinstance(why, aiosmtplib.SMTPRecipientRefused):
        return Refused(f"refused ({why.code})")
    status = _STATUS.match(why.message)
    if status is None:
        return Refused(f"refused ({why.code})", permanent=why.code in NO_MAILBOX_CODES)
    return Refused(f"refused ({why.code} {status[0]})", permanent=takes_no_mail(status[0]))


def tagged_address(account: Account, id: UUID, purpose: str) -> str:
    """Give the account's address with a tag that names a conversation or a message.

    The address itself when there is no secret to sign with, when it has a tag already, or when a
    server may refuse one so long (RFC 5321, 4.5.3.1.1).
    """
    local, _, domain = account.address.rpartition("@")
    if not account.secrets or "+" in local:
        return account.address
    named = f"{local}+{signed_ids.write(id, purpose, account.secrets[0])}"
    return f"{named}@{domain}" if len(named) <= MAX_LOCAL_PART_CHARS else account.address
