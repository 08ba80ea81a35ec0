"""tickets' command handler (load, decide, append, commit) against raw single INSERTs: ≥ 2."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from bench.bed import compared, figures, single_inserts, timed
from tickets.command_bus import Command, Desk
from tickets.domain import decisions
from tickets.domain import events as e
from tickets.domain.rules import Graph, Rules, Topic
from tickets.group_commit import Loader, Writer
from tickets.handlers import SAY

if TYPE_CHECKING:
    from world import World

    from tickets.domain.request import Request

IN_FLIGHT, COMMANDS, REQUESTS = 64, 6000, 2000
RULES = Rules(
    version=1,
    types={"chat": Graph("new", {"new": ("closed",)}, ("closed",))},
    topics={"general": Topic("first-line")},
    fields={},
    priorities=("medium",),
    type="chat",
    topic="general",
    priority="medium",
)
NOW = datetime(2026, 11, 25, 9, tzinfo=UTC)


async def run(world: World) -> dict[str, Any]:
    """Measure both in turn."""
    dsn = world.dsn("tickets")
    loader, writer = Loader(dsn), Writer(dsn, SAY)
    tasks = [asyncio.create_task(work.run()) for work in (loader, writer)]

    async def nothing(_: str) -> None:
        return None

    desk = Desk(loader, writer, lambda: NOW, nothing)
    ids = [uuid4() for _ in range(REQUESTS)]
    await _all(desk, [_open(id_) for id_ in ids])
    turn = itertools.cycle(ids)

    async def ours() -> float:
        commands = [_note(next(turn)) for _ in range(COMMANDS)]
        return await timed(lambda: _all(desk, commands))

    rounds = [pair async for pair in compared(ours, lambda: single_inserts(world))]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {"tickets_commands": figures(rounds, 2.0, in_flight=IN_FLIGHT)}


async def _all(desk: Desk, commands: list[Command]) -> int:
    todo = iter(commands)

    async def hand() -> None:
        for command in todo:
            await desk.take(command)

    await asyncio.gather(*(hand() for _ in range(IN_FLIGHT)))
    return len(commands)


def _told(after: Request) -> dict[str, Any]:
    return {"id": str(after.id), "version": after.version}


def _open(id_: UUID) -> Command:
    message = e.Message(uuid4(), "How much does it cost?", NOW)
    maria = e.Contact(uuid4(), "Maria")
    draft = e.Opened("chat", "telegram", "main", maria, "", "", "", "", {}, message)
    return Command(id_, lambda _: decisions.open_request(RULES, draft), _told)


def _note(id_: UUID) -> Command:
    def deed(request: Request | None) -> decisions.Events:
        assert request is not None
        return decisions.note(request, "Asked for the catalogue, has bought before.", "anna")

    return Command(id_, deed, _told)
