"""Assembly of a service's FastAPI application; every `app.py` calls `build`."""

import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.responses import Response
from starlette.types import Lifespan

from chassis.auth import dependencies
from chassis.auth.claims import Trust
from chassis.messaging.reader import Reader
from chassis.observability import tracing
from chassis.service import Service, Task, utc_now
from chassis.settings import Settings
from chassis.web import conventions, documents, fast_route, openapi, problems
from chassis.web.asyncapi import RequestReply, describe_service

if TYPE_CHECKING:
    from chassis.web.parked_api import SubjectToken

NO_FRAMEWORK_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""Turns off the framework's telemetry: ours covers the same, and repeats no values."""


def build(  # noqa: PLR0913 (the complete declaration of a service)
    name: str,
    settings: Settings,
    *,
    readers: Callable[[Service], Iterable[Reader]] = lambda _: (),
    routers: Sequence[APIRouter] = (),
    tasks: Sequence[Task] = (),
    answers: Sequence[RequestReply] = (),
    keeps_workspace: bool = False,
    subjects: "Mapping[str, SubjectToken] | None" = None,
    clock: Callable[[], datetime] = utc_now,
) -> FastAPI:
    """Return the application of a service.

    `answers` are the request subjects of its AsyncAPI document. With `keeps_workspace` the
    service's schema is the record of the workspace, from which it refills the stream. `subjects`
    are the tokens of its messages' subjects by which parked messages can be filtered.
    """
    from chassis.web import parked_api

    tracing.configure(name, settings)
    service = Service(name, settings, clock=clock)
    about = getattr(sys.modules.get(name), "__doc__", None) or ""
    describe = partial(describe_service, name, answers=answers, about=about)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        app.state.service = service
        try:
            await service.start(readers(service), tasks, refill=keeps_workspace)
            yield
        finally:
            await service.stop()

    app = _create_app(name, about, lifespan)
    app.state.service = service
    app.state.described = lambda: describe(readers(service))
    _install(app, settings, name, routers)
    for router in (*routers, service.health.router, parked_api.routes(subjects or {})):
        app.include_router(router)

    asyncapi_document = documents.AsyncApiDocument(describe)

    @app.get("/asyncapi", tags=["operations"], response_model=dict[str, Any])
    async def asyncapi() -> Response:
        """Return the AsyncAPI document: the facts that this service publishes and reads."""
        return asyncapi_document.response(service.readers)

    openapi.install(app)
    documents.install_openapi(app)
    return app


def _create_app(name: str, about: str, lifespan: Lifespan[FastAPI]) -> FastAPI:
    return FastAPI(
        title=f"Trunkline {name}",
        description=about.strip(),
        lifespan=lifespan,
        version="1",
        openapi_url=None,  # `documents` serves it
        telemetry=NO_FRAMEWORK_TELEMETRY,
        docs_url=None,  # its pages would load scripts from other servers
        redoc_url=None,
        generate_unique_id_function=openapi.operation_id,
    )


def _install(app: FastAPI, settings: Settings, name: str, routers: Sequence[APIRouter]) -> None:
    """Install the middleware and error handlers; fast routes come first, below all others."""
    fast_route.install(app, routers)
    problems.install(app)
    dependencies.install(app, settings.jwks_url, Trust(settings.jwt_issuer, settings.jwt_audience))
    conventions.install(app)
    tracing.install(app, name)
