"""Parse mails in a pool of separate processes, never in the service's own.

A mail may cost what `ingest.channels.email.parser_worker` allows. One that needs more is refused
and so parked with its reason; its process is replaced, and no other mail is affected.
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
    BROKEN,
    EXCESSIVE,
    ITEMS,
    ITEMS_ADAPTER,
    REQUEST_HEADER,
    RESPONSE_HEADER,
    UNREADABLE,
)
from ingest.domain.items import InboundItem, RawDelivery, Unreadable

log = logging.getLogger(__name__)

POOL_SIZE = 2
PARSE_TIMEOUT_S = 8.0
"""Wall-clock limit; the limit of processor time is reached long before, unless the machine is
busy."""
MAX_MAILS_PER_PROCESS = 500
"""Mails after which a process is replaced."""


def allow_all() -> None:
    """Refuse no mail."""


class ProcessEnded(Exception):
    """The process ended before it answered."""


class ParserProcess:
    """One process, which parses one mail at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.mails = 0

    @classmethod
    async def open(cls) -> "ParserProcess":
        """Start a process without our environment and outside the terminal's process group."""
        command = (sys.executable, "-I", "-m", "ingest.channels.email.parser_worker")
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env={}, start_new_session=True
        )
        return cls(process)

    async def parse(self, raw: RawDelivery) -> tuple[bytes, bytes]:
        """Parse a mail; return the kind of answer and the answer. Raises `ProcessEnded`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ProcessEnded
        self.mails += 1
        metadata = {
            "account": raw.account,
            "inbound_id": raw.inbound_id,
            "received_at": raw.received_at.isoformat(),
            "envelope": raw.envelope,
        }
        metadata_bytes = json.dumps(metadata).encode()
        try:
            stdin.write(REQUEST_HEADER.pack(len(metadata_bytes), len(raw.body)) + metadata_bytes)
            stdin.write(raw.body)
            await stdin.drain()
            kind, size = RESPONSE_HEADER.unpack(await stdout.readexactly(RESPONSE_HEADER.size))
            return kind, await stdout.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ProcessEnded from None

    async def close(self) -> int:
        """Kill the process; return its exit code."""
        with suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return await self._process.wait()

    async def exit_code(self) -> int:
        """Return the exit code of a process that has closed its output."""
        try:
            return await asyncio.wait_for(self._process.wait(), 1)
        except TimeoutError:
            return await self.close()


class ParserPool:
    """A pool of parser processes; `read` waits for a free one."""

    def __init__(self, size: int = POOL_SIZE) -> None:
        self._free: list[ParserProcess] = []
        self._slots = asyncio.Semaphore(size)

    async def open(self) -> None:
        """Start one process in advance; when cancelled, end all processes."""
        try:
            self._free.append(await ParserProcess.open())
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def read(
        self, raw: RawDelivery, first: Callable[[], None] = allow_all
    ) -> tuple[InboundItem, ...]:
        """Parse a mail; raises `Unreadable`, or `Refused` if it exceeds the limits.

        `first` is called when a process is free, and may refuse the mail.
        """
        async with self._slots:
            first()
            for last in (False, True):
                try:
                    return _decode_response(*await self._work(raw))
                except ProcessEnded:
                    if last:
                        raise Refused("the mail parser ended twice without an answer") from None
        raise Refused("unreachable")

    async def _work(self, raw: RawDelivery) -> tuple[bytes, bytes]:
        process = self._free.pop() if self._free else await ParserProcess.open()
        try:
            async with asyncio.timeout(PARSE_TIMEOUT_S):
                kind, answer = await process.parse(raw)
        except ProcessEnded:
            code = await process.exit_code()
            if code == -signal.SIGXCPU:
                raise Refused("parsing the mail takes too long") from None
            log.warning("a mail parser process ended: %s", code)
            raise
        except TimeoutError:
            await process.close()
            raise Refused("parsing the mail takes too long") from None
        except BaseException:
            await process.close()
            raise
        if kind not in (ITEMS, UNREADABLE) or process.mails >= MAX_MAILS_PER_PROCESS:
            await process.close()
            process = await ParserProcess.open()
        self._free.append(process)
        return kind, answer

    async def close(self) -> None:
        """End all processes."""
        processes, self._free = self._free, []
        for process in processes:
            await process.close()


def _decode_response(kind: bytes, answer: bytes) -> tuple[InboundItem, ...]:
    if kind == ITEMS:
        return ITEMS_ADAPTER.validate_json(answer)
    reason = answer.decode(errors="replace")
    if kind == UNREADABLE:
        raise Unreadable(reason)
    if kind == EXCESSIVE:
        raise Refused(f"the mail has {reason}")
    if kind == BROKEN:
        raise Refused(f"the parser of email failed: {reason}")
    raise Refused("the mail parser gave an unknown kind of answer")
