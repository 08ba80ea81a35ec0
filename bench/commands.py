"""tickets' command handler (load, decide, append, commit) against raw single INSERTs: ≥ 2."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from bench.bed import measure_in_turn, rate, single_inserts, summarise
from tickets.command_bus import Command, CommandBus
from tickets.domain import events as e
from tickets.domain.commands import lifecycle, messages
from tickets.domain.rules import Graph, Rules, Topic
from tickets.group_commit import Loader, Writer
from tickets.handlers import APPEND_LOCK

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
    """Measure commands and single inserts alternately."""
    dsn = world.dsn("tickets")
    loader, writer = Loader(dsn), Writer(dsn, APPEND_LOCK)
    tasks = [asyncio.create_task(work.run()) for work in (loader, writer)]

    async def no_answer(_: str) -> None:
        return None

    bus = CommandBus(loader, writer, lambda: NOW, no_answer)
    ids = [uuid4() for _ in range(REQUESTS)]
    await _all(bus, [_open(id_) for id_ in ids])
    turn = itertools.cycle(ids)

    async def ours() -> float:
        commands = [_note(next(turn)) for _ in range(COMMANDS)]
        return await rate(lambda: _all(bus, commands))

    rounds = [pair async for pair in measure_in_turn(ours, lambda: single_inserts(world))]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {"tickets_commands": summarise(rounds, 2.0, in_flight=IN_FLIGHT)}


async def _all(bus: CommandBus, commands: list[Command]) -> int:
    todo = iter(commands)

    async def worker() -> None:
        for command in todo:
            await bus.execute(command)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return len(commands)


def _result(after: Request) -> dict[str, Any]:
    return {"id": str(after.id), "version": after.version}


def _open(id_: UUID) -> Command:
    message = e.Message(uuid4(), "How much does it cost?", NOW)
    maria = e.Contact(uuid4(), "Maria")
    draft = e.Opened(
        type="chat", channel="telegram", account="main", contact=maria, title="", topic="",
        priority="", status="", fields={}, message=message,
    )  # fmt: skip
    return Command(id_, lambda _: lifecycle.open_request(RULES, draft), _result)


def _note(id_: UUID) -> Command:
    def decide(request: Request | None) -> e.Events:
        assert request is not None
        return messages.note(request, "Asked for the catalogue, has bought before.", "anna")

    return Command(id_, decide, _result)
