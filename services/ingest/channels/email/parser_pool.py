"""Where mails are taken apart: never in the service's own process, in a few that are kept warm.

A mail may cost what `ingest.channels.email.parser_worker` allows. One that needs more is refused,
so it is parked with its reason; the process is thrown away, and nothing else is harmed. Long: it is
the whole life of such a process.
"""

import asyncio
import json
import logging
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress

from chassis.errors import Refused
from ingest.channels.email.parser_worker import (
    ANSWERED,
    ASKED,
    BROKEN,
    EXCESSIVE,
    ITEMS,
    UNREADABLE,
    items_of,
)
from ingest.domain.items import Item, Raw, Unreadable

log = logging.getLogger(__name__)

PROCESSES = 2
PATIENCE = 8.0
"""Seconds on the clock; processor time runs out long before, unless the machine is busy."""
MAILS = 500
"""Mails after which a process is replaced."""


def anybody() -> None:
    """Turn nobody away."""


class Ended(Exception):
    """The process ended while it worked."""


class Desk:
    """One process, which works on one mail at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.mails = 0

    @classmethod
    async def open(cls) -> "Desk":
        """Start a process: without our environment, and out of reach of the terminal's signals."""
        words = (sys.executable, "-I", "-m", "ingest.channels.email.parser_worker")
        process = await asyncio.create_subprocess_exec(
            *words, stdin=PIPE, stdout=PIPE, env={}, start_new_session=True
        )
        return cls(process)

    async def work(self, raw: Raw) -> tuple[bytes, bytes]:
        """Have a mail taken apart; gives the kind of answer, and the answer."""
        asked, answered = self._process.stdin, self._process.stdout
        if asked is None or answered is None:
            raise Ended
        self.mails += 1
        told = {
            "account": raw.account,
            "inbound_id": raw.inbound_id,
            "received_at": raw.received_at.isoformat(),
            "envelope": raw.envelope,
        }
        about = json.dumps(told).encode()
        try:
            asked.write(ASKED.pack(len(about), len(raw.body)) + about)
            asked.write(raw.body)
            await asked.drain()
            kind, size = ANSWERED.unpack(await answered.readexactly(ANSWERED.size))
            return kind, await answered.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Ended from None

    async def close(self) -> int:
        """End the process; gives what it ended with."""
        with suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return await self._process.wait()

    async def ended_with(self) -> int:
        """Wait for a process that has hung up."""
        try:
            return await asyncio.wait_for(self._process.wait(), 1)
        except TimeoutError:
            return await self.close()


class Mailroom:
    """A few desks; `read` waits for a free one."""

    def __init__(self, desks: int = PROCESSES) -> None:
        self._free: list[Desk] = []
        self._places = asyncio.Semaphore(desks)

    async def open(self) -> None:
        """Have a desk ready for the first mail; when told to stop, end all of them."""
        try:
            self._free.append(await Desk.open())
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def read(self, raw: Raw, first: Callable[[], None] = anybody) -> tuple[Item, ...]:
        """Take a mail apart; raises `Unreadable`, or `Refused` when it is more than can be.

        When its turn has come, `first` is asked, which may refuse it.
        """
        async with self._places:
            first()
            for last in (False, True):
                try:
                    return _items(*await self._work(raw))
                except Ended:
                    if last:
                        raise Refused("the mail's reader ended twice without a word") from None
        raise Refused("unreachable")

    async def _work(self, raw: Raw) -> tuple[bytes, bytes]:
        desk = self._free.pop() if self._free else await Desk.open()
        try:
            async with asyncio.timeout(PATIENCE):
                kind, said = await desk.work(raw)
        except Ended:
            code = await desk.ended_with()
            if code == -signal.SIGXCPU:
                raise Refused("the mail takes too long to take apart") from None
            log.warning("a mail's reader ended: %s", code)
            raise
        except TimeoutError:
            await desk.close()
            raise Refused("the mail takes too long to take apart") from None
        except BaseException:
            await desk.close()
            raise
        if kind not in (ITEMS, UNREADABLE) or desk.mails >= MAILS:
            await desk.close()
            desk = await Desk.open()
        self._free.append(desk)
        return kind, said

    async def close(self) -> None:
        """End all processes."""
        desks, self._free = self._free, []
        for desk in desks:
            await desk.close()


def _items(kind: bytes, said: bytes) -> tuple[Item, ...]:
    if kind == ITEMS:
        return items_of.validate_json(said)
    words = said.decode(errors="replace")
    if kind == UNREADABLE:
        raise Unreadable(words)
    if kind == EXCESSIVE:
        raise Refused(f"the mail has {words}")
    if kind == BROKEN:
        raise Refused(f"the adapter of email failed: {words}")
    raise Refused("the mail's reader gave an answer of no kind")
