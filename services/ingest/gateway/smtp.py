"""Receive mail over SMTP for declared addresses; the reply 250 means that it is stored.

A transient failure is answered 451, so the sending server tries again, for days if necessary. The
port belongs to one process; another replica waits until the port is free.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, Envelope, Session
from opentelemetry.trace import SpanKind

from chassis.observability.tracing import continued
from chassis.web.problems import Problem
from ingest.channels.email.mime import MAX_MAIL_BYTES
from ingest.gateway.receiver import Receiver

log = logging.getLogger(__name__)

TRY_AGAIN_REPLY = "451 4.3.0 it could not be stored; send it again"
NO_MAILBOX_REPLY = "550 5.1.1 no such mailbox here"
NOT_OUR_SERVER_REPLY = "550 5.7.1 mail is accepted from our own mail servers only"
BANNED_REPLY = "550 5.7.1 mail from this address is refused"
SESSION_IDLE_TIMEOUT_S = 60.0


class SmtpHandler:
    """Handles the commands of SMTP sessions; aiosmtpd calls its methods."""

    def __init__(
        self,
        receiver: Receiver,
        account_for_address: Callable[[str], str | None],
        peers: Sequence[IPv4Network | IPv6Network],
        is_banned: Callable[[str], bool],
    ) -> None:
        self._receiver = receiver
        self._account_for_address = account_for_address
        self._peers = peers
        self._is_banned = is_banned

    async def handle_RCPT(  # noqa: N802 (the name aiosmtpd calls)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, _: list[str]
    ) -> str:
        """Accept a recipient with a declared address, from a server that may deliver."""
        peer = ip_address(session.peer[0]) if session.peer else None
        if peer is None or not any(peer in network for network in self._peers):
            return NOT_OUR_SERVER_REPLY
        if self._is_banned(str(peer)):
            return BANNED_REPLY
        if self._account_for_address(address) is None:
            return NO_MAILBOX_REPLY
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 (the same)
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Store the mail once for each mailbox; the reply is 250 if all of them are stored."""
        content = envelope.content or b""
        body = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        accounts = dict.fromkeys(map(self._account_for_address, envelope.rcpt_tos))
        if None in accounts or not accounts:
            return NO_MAILBOX_REPLY
        with continued("", "SMTP DATA", kind=SpanKind.SERVER):
            try:
                ids = [await self._store(name, body, envelope) for name in accounts if name]
            except Problem as why:
                log.warning("a mail could not be stored: %s", why)
                return TRY_AGAIN_REPLY
        return f"250 2.0.0 {' '.join(ids)}"

    async def _store(self, account: str, body: bytes, envelope: Envelope) -> str:
        """Store a mail for one mailbox, and return its inbound id."""
        self._receiver.check_rate("email", account)
        raw = self._receiver.new_delivery("email", account, body)
        sender = (envelope.mail_from or "").strip("<>")  # an empty sender is written `<>`
        raw = replace(raw, envelope=(sender, *envelope.rcpt_tos))
        await self._receiver.store(raw, content_type="message/rfc822")
        return raw.inbound_id

    async def handle_exception(self, error: Exception) -> str:
        """Log an unexpected error, and ask for another attempt: no mail is refused for our bug."""
        log.error("an SMTP session failed", exc_info=error)
        return TRY_AGAIN_REPLY


class SmtpSession(SMTP):
    """A session that accepts lines longer than the standard's 998 characters, which are common."""

    line_length_limit = 64 * 1024

    def hang_up(self) -> None:
        """Close the connection."""
        if self.transport is not None:
            self.transport.close()


async def listen(handler: SmtpHandler, host: str, port: int) -> None:
    """Serve SMTP until cancelled, then end all sessions; unanswered mail is sent again."""
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # it logs senders and recipients
    loop = asyncio.get_running_loop()
    sessions: WeakSet[SmtpSession] = WeakSet()

    def new_session() -> SmtpSession:
        session = SmtpSession(
            handler,
            data_size_limit=MAX_MAIL_BYTES,
            enable_SMTPUTF8=True,
            hostname="trunkline",
            ident="trunkline",
            timeout=SESSION_IDLE_TIMEOUT_S,
            loop=loop,
        )
        sessions.add(session)
        return session

    server = await loop.create_server(new_session, host, port)
    try:
        await server.serve_forever()
    finally:
        server.close()
        for session in list(sessions):
            session.hang_up()
