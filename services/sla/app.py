"""The wiring of sla."""

from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.service import Service, utc_now
from chassis.settings import Settings
from sla import handlers
from sla.api import routes
from sla.configuration import policies_of


def readers(service: Service) -> list[Reader]:
    """Return the readers; each request keeps the policies of the version it was opened with."""
    return handlers.readers(lambda version: policies_of(service.workspaces, version))


def make(settings: Settings, clock: Callable[[], datetime] = utc_now) -> FastAPI:
    """Build the app of one replica."""
    return build("sla", settings, readers=readers, routers=[routes.router], clock=clock)


app = make(Settings())
