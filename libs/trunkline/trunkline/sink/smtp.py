"""The sink's mailbox: it takes mail for everybody, shows it with the rest, and misbehaves alike."""

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

    from trunkline.sink.server import Fault, Memory

LARGEST = 40 * 1024 * 1024


class Mailbox:
    """What happens when a mail has been sent."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def handle_DATA(  # noqa: N802 (the name aiosmtpd calls)
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Keep the mail for each of its receivers, or misbehave."""
        body = envelope.content or b""
        data = body if isinstance(body, bytes) else body.encode()
        faults = [self._keep(to, data) for to in envelope.rcpt_tos]
        fault = next((fault for fault in faults if fault is not None), None)
        if fault is None:
            return "250 2.0.0 taken"
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
        if fault.kind == "drop" and server.transport is not None:
            server.transport.close()
        return f"{fault.status} a fault"

    def _keep(self, to: str, data: bytes) -> Fault | None:
        fault = self._memory.next_fault("email", to)
        if fault is None or fault.taken:
            text, headers = read(data)
            self._memory.keep("email", to, text, headers, data.decode(errors="replace"))
        return fault


def read(body: bytes) -> tuple[str, dict[str, str]]:
    """Read a mail's text and headers, decoded."""
    mail = message_from_bytes(body, policy=default)
    part = mail.get_body(("plain", "html"))
    try:
        text = "" if part is None else str(part.get_content())
    except (KeyError, LookupError, MessageError):
        text = body.decode(errors="replace")
    return text.replace("\r\n", "\n").removesuffix("\n"), {k: str(v) for k, v in mail.items()}


def opened(host: str, port: int) -> Callable[[FastAPI], AbstractAsyncContextManager[Any]]:
    """Give the app's life: as long as it runs, mail is taken on this port."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncGenerator[None]:
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        mailbox = Mailbox(app.state.memory)

        def begin() -> SMTP:
            return SMTP(
                mailbox, data_size_limit=LARGEST, enable_SMTPUTF8=True, hostname="sink", loop=loop
            )

        server = await loop.create_server(begin, host, port)
        try:
            yield
        finally:
            server.close()

    return life
