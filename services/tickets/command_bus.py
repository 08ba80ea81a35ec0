"""The desk: one command on one request, decided on what is true when it is written."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID
from weakref import WeakValueDictionary

from tickets.domain.decisions import Events, record
from tickets.domain.request import Request, replay
from tickets.group_commit import Loader, Writer
from tickets.store import Change

ANSWERED: Final[LiteralString] = "SELECT hash, answer FROM tickets_inbox WHERE msg_id = %s"

Decide = Callable[[Request | None], Events]
"""Says what follows, given how the request stands; may refuse."""


def anybody(_: Request | None) -> None:
    """Let everybody do it."""


class VersionDiffers(Exception):
    """The caller has seen another version than the one in force."""

    def __init__(self, current: int) -> None:
        super().__init__(f"the request is at version {current}")
        self.current = current


class KeyReused(Exception):
    """The idempotency key was used for a different command before."""


class Busy(Exception):
    """Others kept changing the request while this command was tried."""


@dataclass(frozen=True, slots=True)
class Command:
    """Who asks what of which request, and on which conditions."""

    request_id: UUID
    decide: Decide
    answer: Callable[[Request], Mapping[str, Any]]
    """What the caller is told when it is done."""
    permit: Callable[[Request | None], None] = anybody
    """Raises when the caller may not do this to the request as it stands."""
    expected: int | None = None
    key: str = ""
    hash: bytes = b""
    workspace: int = 0
    traceparent: str | None = None


TRIES = 20


class Desk:
    """Takes commands; many at once cost little more than one."""

    def __init__(
        self,
        loader: Loader,
        writer: Writer,
        clock: Callable[[], datetime],
        answered: Callable[[str], Any],
    ) -> None:
        self._loader = loader
        self._writer = writer
        self._clock = clock
        self._answered = answered
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def answered(self, key: str, hash_: bytes) -> dict[str, Any] | None:
        """Give what a command with this key was answered before."""
        if not key:
            return None
        row = await self._answered(key)
        if row is None:
            return None
        if bytes(row[0]) != hash_:
            raise KeyReused(key)
        answer: dict[str, Any] = json.loads(bytes(row[1]))
        return answer

    async def take(self, command: Command) -> dict[str, Any]:
        """Load, decide, append; again when somebody else was faster."""
        before = await self.answered(command.key, command.hash)
        if before is not None:
            return before
        turn = self._turns.setdefault(command.request_id, asyncio.Lock())
        async with turn:  # here one after the other; what other replicas do shows as a conflict
            for _ in range(TRIES):
                request = await self._loader.get(command.request_id)
                change, answer = self._decide(command, request)
                if not change.events and not command.key:
                    return answer
                verdict = await self._writer.append(change)
                if verdict == "ok":
                    return answer
                if verdict == "duplicate":
                    return await self.answered(command.key, command.hash) or answer
        raise Busy(command.request_id)

    def _decide(self, command: Command, request: Request | None) -> tuple[Change, dict[str, Any]]:
        command.permit(request)
        seen = request.version if request else 0
        if command.expected is not None and command.expected != seen:
            raise VersionDiffers(seen)
        now = self._clock()
        context = {
            "time": max(now, request.updated_at) if request else now,
            "workspace": command.workspace,
            "traceparent": command.traceparent,
        }
        events = record(command.request_id, seen, command.decide(request), context)
        after = replay(events, request)
        assert after is not None  # noqa: S101  for the type: `permit` has refused
        answer = dict(command.answer(after))
        change = Change(
            command.request_id,
            seen,
            events,
            after,
            command.key,
            command.hash,
            json.dumps(answer).encode() if command.key else b"",
        )
        return change, answer
