"""Wiring of the routing service."""

from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.service import Service, utc_now
from chassis.settings import Settings
from routing import handlers
from routing.api import routes
from routing.configuration import load_rules


def readers(service: Service) -> list[Reader]:
    """Return the readers; they decide by the workspace versions this replica follows."""
    return handlers.readers(lambda version: load_rules(service.workspaces, version), service.clock)


def make(settings: Settings, clock: Callable[[], datetime] = utc_now) -> FastAPI:
    """Build the application of one replica."""
    return build("routing", settings, readers=readers, routers=[routes.router], clock=clock)


app = make(Settings())
