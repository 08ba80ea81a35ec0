"""The door for mail servers: mail for declared addresses, answered 250 once it is stored.

Anything transient is 451, so that whoever delivers tries again, for days if need be. The port
belongs to one process; a replica that finds it taken waits for it.
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
NOT_OUR_SERVER_REPLY = "550 5.7.1 mail is taken from our own mail servers only"
BANNED_REPLY = "550 5.7.1 nothing is taken from this address"
SESSION_IDLE_TIMEOUT_S = 60.0
"""Seconds a silent session may last."""


class SmtpHandler:
    """What happens at each step of a session."""

    def __init__(
        self,
        door: Receiver,
        mailbox: Callable[[str], str | None],
        peers: Sequence[IPv4Network | IPv6Network],
        shut_out: Callable[[str], bool],
    ) -> None:
        self._door = door
        self._mailbox = mailbox
        self._peers = peers
        self._shut_out = shut_out

    async def handle_RCPT(  # noqa: N802 (the name aiosmtpd calls)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, _: list[str]
    ) -> str:
        """Take what is for a declared address, from a server that may deliver."""
        peer = ip_address(session.peer[0]) if session.peer else None
        if peer is None or not any(peer in each for each in self._peers):
            return NOT_OUR_SERVER_REPLY
        if self._shut_out(str(peer)):
            return BANNED_REPLY
        if self._mailbox(address) is None:
            return NO_MAILBOX_REPLY
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 (the same)
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Store it once for each mailbox it is for; say 250 when all of them have it."""
        body = envelope.content or b""
        data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogateescape")
        found = dict.fromkeys(map(self._mailbox, envelope.rcpt_tos))
        if None in found or not found:
            return NO_MAILBOX_REPLY
        with continued("", "SMTP DATA", kind=SpanKind.SERVER):
            try:
                ids = [await self._take(account, data, envelope) for account in found if account]
            except Problem as why:
                log.warning("a mail could not be taken: %s", why)
                return TRY_AGAIN_REPLY
        return f"250 2.0.0 {' '.join(ids)}"

    async def _take(self, account: str, data: bytes, envelope: Envelope) -> str:
        self._door.check_rate("email", account)
        raw = self._door.raw("email", account, data)
        sender = (envelope.mail_from or "").strip("<>")  # nobody is `<>` there
        raw = replace(raw, envelope=(sender, *envelope.rcpt_tos))
        await self._door.store(raw, content_type="message/rfc822")
        return raw.inbound_id

    async def handle_exception(self, error: Exception) -> str:
        """Whatever broke here is no reason to turn a mail away for good."""
        log.error("a session broke", exc_info=error)
        return TRY_AGAIN_REPLY


class SmtpSession(SMTP):
    """A session. Lines may be longer than they should, for many are."""

    line_length_limit = 64 * 1024

    def hang_up(self) -> None:
        """End it, wherever it stands."""
        if self.transport is not None:
            self.transport.close()


async def listen(handler: SmtpHandler, host: str, port: int) -> None:
    """Listen until told to stop. Sessions end with that; what was not answered is sent again."""
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # it tells who writes to whom
    loop = asyncio.get_running_loop()
    talks: WeakSet[SmtpSession] = WeakSet()

    def begin() -> SmtpSession:
        talk = SmtpSession(
            handler,
            data_size_limit=MAX_MAIL_BYTES,
            enable_SMTPUTF8=True,
            hostname="trunkline",
            ident="trunkline",
            timeout=SESSION_IDLE_TIMEOUT_S,
            loop=loop,
        )
        talks.add(talk)
        return talk

    server = await loop.create_server(begin, host, port)
    try:
        await server.serve_forever()
    finally:
        server.close()
        for talk in list(talks):
            talk.hang_up()
