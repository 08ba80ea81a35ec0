"""tickets, put together."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import FastAPI

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.service import Service, utc_now
from tickets import handlers
from tickets.api import commands, routes
from tickets.command_bus import ANSWERED, Desk
from tickets.configuration import rules_in_force
from tickets.group_commit import Loader, Writer
from tickets.settings import Settings


def readers(service: Service) -> list[Reader]:
    """Open the desk, and hear under the workspace in force."""
    loader = Loader(service.db.dsn)
    writer = Writer(service.db.dsn, handlers.SAY, lambda: service.spawn(service.wake()))

    async def answered(key: str) -> Any:
        async with service.db.connection() as conn:
            return await (await conn.execute(ANSWERED, (key,), prepare=True)).fetchone()

    service.state["loader"], service.state["writer"] = loader, writer
    service.state["desk"] = Desk(loader, writer, service.clock, answered)
    return handlers.readers(lambda: rules_in_force(service.workspaces))


async def load(service: Service) -> None:
    """Load requests for commands."""
    loader: Loader = service.state["loader"]
    await loader.run()


async def write(service: Service) -> None:
    """Write what commands decided."""
    writer: Writer = service.state["writer"]
    await writer.run()


def make(settings: Settings, clock: Callable[[], datetime] = utc_now) -> FastAPI:
    """Put one replica together; this schema is the workspace's record."""
    return build(
        "tickets",
        settings,
        readers=readers,
        routers=[commands.router, routes.router],
        tasks=[load, write],
        keeps_workspace=True,
        clock=clock,
    )


app = make(Settings())
