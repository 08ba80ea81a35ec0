"""The sender of e-mail: one SMTP session for each message.

The Message-ID is the same for every attempt. A session that fails before the mail itself is sent
means that it was not accepted. A connection that breaks afterwards leaves the outcome unknown.
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
"""Purposes of a tagged address, as ingest reads them: the customer's reply, or a bounce."""
QUIT_TIMEOUT_S = 1.0
"""Seconds a server has to respond to QUIT."""
SESSION_TIMEOUT_S = ATTEMPT_TIMEOUT_S + QUIT_TIMEOUT_S
"""Seconds an attempt may take."""
NO_MAILBOX_CODES = frozenset({550, 551, 553})
"""Codes of a server that has no such mailbox (RFC 5321, section 4.2.3)."""
_STATUS = re.compile(r"5\.\d{1,3}\.\d{1,3}(?=\s|$)")
MAX_LOCAL_PART_CHARS = 64
"""Characters before the @ that every server accepts (RFC 5321, section 4.5.3.1.1)."""


async def email(transport: Transport, account: Account, attempt: ClaimedMessage) -> Outcome:
    """Send a message by mail."""
    to = mail_address(attempt.address or "")
    if not is_address(to):
        return Refused("the customer has no address mail can be sent to")
    if not is_address(account.address):
        return Retry(
            "the account's address is not valid", CREDENTIAL_PAUSE_S, account_suspended=True
        )
    headers = attempt.reply_headers or ReplyHeaders("", (), automatic=False)
    own = mail_id(attempt.message_id, account.address)
    conversation = UUID(conversation_key(attempt.channel, attempt.account, attempt.chat))
    reply_to = tagged_address(account, conversation, REPLY)
    try:
        body = compose(account, to, own, headers, attempt.text, datetime.now(UTC), reply_to)
    except Exception as error:  # noqa: BLE001 (a retry would fail too; the operator has to know)
        log.warning("a mail cannot be composed: %s", type(error).__name__)
        return Refused(f"it cannot be written as a mail ({type(error).__name__})")
    # An empty sender keeps machines from answering an automatic mail; the tag of any other mail
    # identifies it when it bounces.
    sender = "" if headers.automatic else tagged_address(account, attempt.message_id, BOUNCE)
    server = session(account)
    try:
        await transport.egress.addresses_of(server.hostname or "")
    except HostNotFound as error:
        return Retry(f"not reached: {error}")
    try:
        return await _hand_over(server, account, sender, to, body, own)
    finally:
        await _quit(server)


def session(account: Account) -> SMTP:
    """Return a session with the account's server; `smtps` uses TLS from the first byte."""
    url = urlsplit(account.base)
    is_implicit_tls = url.scheme == "smtps"
    return SMTP(
        hostname=url.hostname or "",
        port=url.port or (465 if is_implicit_tls else 25),
        use_tls=is_implicit_tls,
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
    except SMTPResponseException as error:
        return _refusal_outcome(error)
    except (SMTPException, OSError) as error:  # a timeout among them
        return Retry(f"not reached: {type(error).__name__}")
    try:
        async with asyncio.timeout_at(until):
            await server.data(body)
    except SMTPResponseException as error:
        return _refusal_outcome(error)
    except (SMTPException, OSError) as error:
        return Unknown(f"no answer: {type(error).__name__}")
    return Sent(own)


async def _quit(server: SMTP) -> None:
    """End the session with QUIT if it is still open, and close the connection in any case.

    The outcome is known by then; a server that does not respond to QUIT does not change it.
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
            cast(asyncio.WriteTransport, transport).abort()  # unread data is discarded


def _refusal_outcome(error: SMTPResponseException) -> Outcome:
    """Return the outcome of an error response: 5xx is final, any other may be retried.

    A refusal of `RCPT TO` may concern the address; an enhanced status (RFC 2034) is more precise
    than the code.
    """
    if not 500 <= error.code < 600:
        return Retry(f"answered {error.code}")
    if not isinstance(error, aiosmtplib.SMTPRecipientRefused):
        return Refused(f"refused ({error.code})")
    status = _STATUS.match(error.message)
    if status is None:
        return Refused(f"refused ({error.code})", permanent=error.code in NO_MAILBOX_CODES)
    return Refused(f"refused ({error.code} {status[0]})", permanent=takes_no_mail(status[0]))


def tagged_address(account: Account, id: UUID, purpose: str) -> str:
    """Return the account's address with a signed tag that identifies a conversation or a message.

    The address stays unchanged when there is no secret to sign with, when it has a tag already, or
    when the result would be longer than `MAX_LOCAL_PART_CHARS`.
    """
    local, _, domain = account.address.rpartition("@")
    if not account.secrets or "+" in local:
        return account.address
    named = f"{local}+{signed_ids.write(id, purpose, account.secrets[0])}"
    return f"{named}@{domain}" if len(named) <= MAX_LOCAL_PART_CHARS else account.address
