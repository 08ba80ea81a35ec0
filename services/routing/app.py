"""routing, put together."""

from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.service import Service, utc_now
from routing import handlers
from routing.api import routes
from routing.configuration import plan_of
from routing.settings import Settings


def readers(service: Service) -> list[Reader]:
    """Decide by the workspace version this replica has."""
    return handlers.readers(lambda version: plan_of(service.workspaces, version), service.clock)


def make(settings: Settings, clock: Callable[[], datetime] = utc_now) -> FastAPI:
    """Put one replica together."""
    return build("routing", settings, readers=readers, routers=[routes.router], clock=clock)


app = make(Settings())
