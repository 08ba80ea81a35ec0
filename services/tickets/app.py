"""The wiring of tickets."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import FastAPI

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.service import Service, utc_now
from chassis.settings import Settings
from tickets import handlers
from tickets.api import commands, routes
from tickets.command_bus import SELECT_ANSWER, CommandBus
from tickets.configuration import rules_in_force
from tickets.group_commit import Loader, Writer


def readers(service: Service) -> list[Reader]:
    """Create the command bus, and return the readers, which use the rules in force."""
    loader = Loader(service.db.dsn)
    writer = Writer(service.db.dsn, handlers.APPEND_LOCK, lambda: service.spawn(service.wake()))

    async def find_answer(key: str) -> Any:
        async with service.db.connection() as conn:
            return await (await conn.execute(SELECT_ANSWER, (key,), prepare=True)).fetchone()

    service.state["loader"], service.state["writer"] = loader, writer
    service.state["commands"] = CommandBus(loader, writer, service.clock, find_answer)
    return handlers.readers(lambda: rules_in_force(service.workspaces))


async def load(service: Service) -> None:
    """Load requests for commands."""
    loader: Loader = service.state["loader"]
    await loader.run()


async def write(service: Service) -> None:
    """Write the changes that commands decided."""
    writer: Writer = service.state["writer"]
    await writer.run()


def make(settings: Settings, clock: Callable[[], datetime] = utc_now) -> FastAPI:
    """Build the app of one replica; the schema of tickets also stores the workspace."""
    return build(
        "tickets",
        settings,
        readers=readers,
        routers=[commands.router(), routes.router],
        tasks=[load, write],
        keeps_workspace=True,
        clock=clock,
    )


app = make(Settings())
