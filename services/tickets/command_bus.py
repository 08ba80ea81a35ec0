"""The execution of commands: load the request, decide, append, and decide again on a conflict."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID
from weakref import WeakValueDictionary

from tickets.domain.events import Events, number
from tickets.domain.request import Request, replay
from tickets.group_commit import Loader, Writer
from tickets.store import Change

SELECT_ANSWER: Final[LiteralString] = "SELECT hash, answer FROM tickets_inbox WHERE msg_id = %s"

MAX_ATTEMPTS = 20
"""Decisions of one command before it is given up as `Busy`."""

Decide = Callable[[Request | None], Events]
"""Returns the events that follow from a command, given the request; may refuse."""


def allow_anyone(_: Request | None) -> None:
    """Authorise every caller."""


class VersionDiffers(Exception):
    """The request has another version than the caller expects."""

    def __init__(self, current: int) -> None:
        super().__init__(f"the request is at version {current}")
        self.current = current


class KeyReused(Exception):
    """The idempotency key was used for a different command."""


class Busy(Exception):
    """Other replicas changed the request during every attempt."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command on one request, and the conditions under which it is executed."""

    request_id: UUID
    decide: Decide
    answer: Callable[[Request], Mapping[str, Any]]
    """Returns the caller's answer, given the request after the command."""
    authorize: Callable[[Request | None], None] = allow_anyone
    """Raises when the caller may not do this to the request as it stands."""
    expected: int | None = None
    """The version the request must have; any version if None."""
    key: str = ""
    """The caller's idempotency key; a command without one may be executed twice."""
    hash: bytes = b""
    """Tells a repetition of a command from another command with the same key."""
    workspace: int = 0
    traceparent: str | None = None


class CommandBus:
    """Executes commands; those on different requests share loads and transactions."""

    def __init__(
        self,
        loader: Loader,
        writer: Writer,
        clock: Callable[[], datetime],
        find_answer: Callable[[str], Any],
    ) -> None:
        self._loader = loader
        self._writer = writer
        self._clock = clock
        self._find_answer = find_answer
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def recorded_answer(self, key: str, hash_: bytes) -> dict[str, Any] | None:
        """Return the answer to an earlier command with this key, or None.

        Raises `KeyReused` when that command was a different one.
        """
        if not key:
            return None
        row = await self._find_answer(key)
        if row is None:
            return None
        if bytes(row[0]) != hash_:
            raise KeyReused(key)
        answer: dict[str, Any] = json.loads(bytes(row[1]))
        return answer

    async def execute(self, command: Command) -> dict[str, Any]:
        """Execute a command once and return its answer.

        Raises `VersionDiffers`, `KeyReused`, `Busy`, and whatever `authorize` and `decide` raise.
        """
        recorded = await self.recorded_answer(command.key, command.hash)
        if recorded is not None:
            return recorded
        lock = self._locks.setdefault(command.request_id, asyncio.Lock())
        async with lock:  # avoids conflicts within this replica; others show up as conflicts
            for _ in range(MAX_ATTEMPTS):
                request = await self._loader.get(command.request_id)
                change, answer = self._decide(command, request)
                if not change.events and not command.key:
                    return answer
                outcome = await self._writer.append(change)
                if outcome == "ok":
                    return answer
                if outcome == "duplicate":
                    return await self.recorded_answer(command.key, command.hash) or answer
        raise Busy(command.request_id)

    def _decide(self, command: Command, request: Request | None) -> tuple[Change, dict[str, Any]]:
        command.authorize(request)
        version = request.version if request else 0
        if command.expected is not None and command.expected != version:
            raise VersionDiffers(version)
        now = self._clock()
        context = {
            "time": max(now, request.updated_at) if request else now,
            "workspace": command.workspace,
            "traceparent": command.traceparent,
        }
        events = number(command.request_id, version, command.decide(request), context)
        after = replay(events, request)
        assert after is not None  # noqa: S101  for the type: `authorize` has refused
        answer = dict(command.answer(after))
        change = Change(
            command.request_id,
            version,
            events,
            after,
            key=command.key,
            hash=command.hash,
            answer=json.dumps(answer).encode() if command.key else b"",
        )
        return change, answer
