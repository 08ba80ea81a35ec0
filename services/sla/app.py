"""sla, put together."""

from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.service import Service, utc_now
from sla import handlers
from sla.api import routes
from sla.configuration import policies_of
from sla.settings import Settings


def readers(service: Service) -> list[Reader]:
    """Hear under the policies of the version each request was opened with."""
    return handlers.readers(lambda version: policies_of(service.workspaces, version))


def make(settings: Settings, clock: Callable[[], datetime] = utc_now) -> FastAPI:
    """Put one replica together."""
    return build("sla", settings, readers=readers, routers=[routes.router], clock=clock)


app = make(Settings())
