"""SMTP sessions with odd commands and line ends: one mail stays one mail (no smuggling)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from mail_corpus.door import BEGUN, END, ENDS, HEAD, SAID, SMUGGLED, TEXTS
from postoffice import free_port
from taking_in import Ingest
from telling import Teller

from chassis.testing import eventually

if TYPE_CHECKING:
    from world import World


async def talk(port: int, *lines: bytes, hang_up: bool = False) -> list[bytes]:
    """Send lines, each after the reply to the one before; return the codes of the replies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    codes = [await _code(reader)]
    try:
        for line in lines:
            writer.write(line)
            await writer.drain()
            if not hang_up or line is not lines[-1]:
                codes.append(await _code(reader))
    finally:
        writer.close()
    return codes


async def _code(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        while True:
            line = await reader.readline()
            if line[3:4] != b"-":
                return line[:3]


async def test_smtp_with_odd_commands_and_line_ends_stores_one_mail(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAIL_MAIN_SECRET", "mail-secret")
    await world.apply()
    port, taken, wrong = free_port(), 0, []
    async with Teller(world) as teller:
        ingest = Ingest(world, teller)
        await ingest.start(SMTP_PORT=str(port))
        try:

            async def listening() -> bool:
                try:
                    return await talk(port) == [b"220"]
                except OSError:
                    return False

            await eventually(listening)
            for name, end in ENDS.items():
                codes = await talk(port, *BEGUN, HEAD + b"x\r\n\r\nhello" + end + SMUGGLED + END)
                taken += codes[-1] == b"250"
                if codes[-1] != b"250":
                    wrong.append(f"{name}: {codes}")
            for name, text in TEXTS.items():
                codes = await talk(port, *BEGUN, HEAD + name.encode() + b"\r\n\r\n" + text + END)
                taken += codes[-1] == b"250"
                if codes[-1] != b"250":
                    wrong.append(f"{name}: {codes}")
            for name, (lines, code) in SAID.items():
                codes = await talk(port, *lines)
                if codes[-1] != code:
                    wrong.append(f"{name}: {codes}")
            # A mail whose session ends early is not stored.
            await talk(port, *BEGUN, HEAD + b"half a mail", hang_up=True)
            ledger = await ingest.ledger()
            opened = await ingest.said("request_opened")
        finally:
            await ingest.stop()

    assert not wrong
    assert taken == len(ENDS) + len(TEXTS)
    assert ledger["accepted"] == ledger["taken_in"] == taken
    assert ledger["balanced"]
    assert {each["contact"]["address"] for each in opened} == {"iryna@example.test"}
