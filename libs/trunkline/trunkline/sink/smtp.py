"""The sink's SMTP server: it records e-mail for any recipient, and fails on demand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from email import message_from_bytes
from email.errors import MessageError
from email.policy import default
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP, Envelope, Session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fastapi import FastAPI

    from trunkline.sink.server import Fault, SinkState

MAX_MAIL_BYTES = 40 * 1024 * 1024


class SmtpHandler:
    """The handler of e-mail that was received."""

    def __init__(self, state: SinkState) -> None:
        self._state = state

    async def handle_DATA(  # noqa: N802 (the name aiosmtpd calls)
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Record the e-mail for each recipient, or fail as the next fault demands."""
        body = envelope.content or b""
        data = body if isinstance(body, bytes) else body.encode()
        faults = [self._record(to, data) for to in envelope.rcpt_tos]
        fault = next((fault for fault in faults if fault is not None), None)
        if fault is None:
            return "250 2.0.0 taken"
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
        if fault.kind == "drop" and server.transport is not None:
            server.transport.close()
        return f"{fault.status} a fault"

    def _record(self, to: str, data: bytes) -> Fault | None:
        fault = self._state.next_fault("email", to)
        if fault is None or fault.taken:
            text, headers = read(data)
            self._state.record("email", to, text, headers, data.decode(errors="replace"))
        return fault


def read(body: bytes) -> tuple[str, dict[str, str]]:
    """Return the decoded text and headers of an e-mail."""
    mail = message_from_bytes(body, policy=default)
    part = mail.get_body(("plain", "html"))
    try:
        text = "" if part is None else str(part.get_content())
    except (KeyError, LookupError, MessageError):
        text = body.decode(errors="replace")
    return text.replace("\r\n", "\n").removesuffix("\n"), {k: str(v) for k, v in mail.items()}


def smtp_lifespan(host: str, port: int) -> Callable[[FastAPI], AbstractAsyncContextManager[Any]]:
    """Return a lifespan that runs an SMTP server on this port while the app runs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        handler = SmtpHandler(app.state.memory)

        def new_session() -> SMTP:
            return SMTP(
                handler,
                data_size_limit=MAX_MAIL_BYTES,
                enable_SMTPUTF8=True,
                hostname="sink",
                loop=loop,
            )

        server = await loop.create_server(new_session, host, port)
        try:
            yield
        finally:
            server.close()

    return lifespan
