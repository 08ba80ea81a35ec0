"""notify, put together."""

import logging

from fastapi import FastAPI

from chassis.reader import Reader
from chassis.service import Service, build
from notify import api, handlers
from notify.accounts import Accounts
from notify.sender import Sender
from notify.settings import Settings


def make(settings: Settings) -> FastAPI:
    """Put one replica together: its readers intend, its sender sends."""
    # httpx's lines hold addresses, and those hold tokens
    logging.getLogger("httpx").setLevel(logging.WARNING)

    def readers(service: Service) -> list[Reader]:
        accounts = Accounts(service.workspaces, settings.sink_url)
        resend = settings.unknown_outcome == "resend"
        sender = Sender(service, accounts, resend=resend, lease=settings.send_lease)
        service.state["sender"] = sender
        return handlers.readers(handlers.Desk(sender.expect))

    async def send(service: Service) -> None:
        sender: Sender = service.state["sender"]
        await sender.run()

    return build("notify", settings, readers=readers, routers=[api.router], tasks=[send])


app = make(Settings())
