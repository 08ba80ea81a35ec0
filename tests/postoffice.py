"""Mail between services of a test: carried well, or as bad servers carry it, and written down."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import SMTP as WIRE
from email.policy import default
from email.utils import make_msgid
from typing import TYPE_CHECKING, Any

import aiosmtplib
from aiosmtpd.smtp import SMTP, Envelope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def written(author: str, to: str, text: str = "hello", **headers: str) -> bytes:
    """A mail as a person's program writes it."""
    mail = EmailMessage(policy=WIRE)
    mail["From"], mail["To"], mail["Subject"] = author, to, headers.pop("Subject", "Order")
    mail["Message-ID"] = headers.pop("Message_ID", make_msgid(domain=author.rpartition("@")[2]))
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content(text)
    return mail.as_bytes()


@dataclass
class Carried:
    """A mail that went by."""

    sender: str
    to: str
    mail: Message
    body: bytes
    """It as it came."""


@dataclass
class Office:
    """Takes every mail, and hands it on to where its receiver's domain is."""

    port: int = field(default_factory=free_port)
    doors: dict[str, int] = field(default_factory=dict)
    """Ports of mail servers, by domain; mail to others ends here."""
    away: set[str] = field(default_factory=set)
    """Domains where a machine answers every mail, and leaves no sign that it did."""
    forgetful: bool = False
    """Whether only author, subject and text are carried, as if a person had written anew."""
    closed: bool = False
    refusing: dict[str, str] = field(default_factory=dict)
    """What is answered to whoever has mail for these addresses."""
    asked: list[str] = field(default_factory=list)
    """For whom there was mail, whatever became of it."""
    carried: list[Carried] = field(default_factory=list)

    @property
    def place(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_RCPT(  # noqa: N802 (the same)
        self, _: Any, __: Any, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        self.asked.append(address)
        if address in self.refusing:
            return self.refusing[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 (the name aiosmtpd calls)
        self, _: Any, __: Any, envelope: Envelope
    ) -> str:
        body, sender = envelope.content, (envelope.mail_from or "").strip("<>")
        assert isinstance(body, bytes)
        for to in envelope.rcpt_tos:
            mail = message_from_bytes(body, policy=default)
            self.carried.append(Carried(sender, to, mail, body))
            if not self.closed:
                await self._hand_on(sender, to, body)
        return "250 taken"

    async def _hand_on(self, sender: str, to: str, body: bytes) -> None:
        domain = to.rpartition("@")[2]
        if domain in self.away:
            author = str(message_from_bytes(body, policy=default)["From"])
            await self.send(to, author, written(to, author, "I am away."))
        elif self.forgetful:
            mail = message_from_bytes(body, policy=default)
            author = str(mail["From"])
            anew = written(author, to, str(mail.get_content()), Subject=str(mail["Subject"]))
            await self.send(author, to, anew)
        else:
            await self.send(sender, to, body)

    async def send(self, sender: str, to: str, body: bytes) -> None:
        """Deliver to the mail server of the receiver, as theirs would."""
        port = self.doors.get(to.rpartition("@")[2])
        if port is not None:
            async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, timeout=10) as client:
                await client.mail(sender)
                await client.rcpt(to)
                await client.data(body)


@asynccontextmanager
async def open_office() -> AsyncGenerator[Office]:
    """Take mail as long as the block runs."""
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    office = Office()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(office, enable_SMTPUTF8=True, hostname="office", loop=loop),
        "127.0.0.1",
        office.port,
    )
    try:
        yield office
    finally:
        server.close()
