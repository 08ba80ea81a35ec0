"""The one way a service's app is put together: `build` is called by every `app.py`."""

import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig

from chassis.auth import dependencies
from chassis.auth.claims import Trust
from chassis.messaging.reader import Reader
from chassis.observability import tracing
from chassis.service import Service, Task, utc_now
from chassis.settings import Settings
from chassis.web import conventions, fast_route, openapi, problems
from chassis.web.asyncapi import RequestReply, document

if TYPE_CHECKING:
    from chassis.web.parked_api import SubjectToken

SILENT: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""The framework's own telemetry: ours says as much,
and repeats no values."""


def build(  # noqa: PLR0913 (here a service says all that it is)
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
    """Put a service together.

    `answers` are for its document. `keeps_workspace`: this schema is the workspace's record, so
    it refills the stream. `subjects`: by which tokens of its messages' subjects what is parked
    can be asked for.
    """
    tracing.configure(name, settings)
    service = Service(name, settings, clock=clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        app.state.service = service
        try:
            await service.start(readers(service), tasks, refill=keeps_workspace)
            yield
        finally:
            await service.stop()

    from chassis.web import parked_api

    about = getattr(sys.modules.get(name), "__doc__", None) or ""
    describe = partial(document, name, answers=answers, about=about)
    app = FastAPI(
        title=f"Trunkline {name}",
        description=about.strip(),
        lifespan=lifespan,
        version="1",
        openapi_url="/openapi.json",
        telemetry=SILENT,
        docs_url=None,  # its pages would load scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.service = service
    app.state.described = lambda: describe(readers(service))
    fast_route.install(app, routers)
    problems.install(app)
    dependencies.install(app, settings.jwks_url, Trust(settings.jwt_issuer, settings.jwt_audience))
    conventions.install(app)
    tracing.install(app, name)
    for router in (*routers, service.health.router, parked_api.routes(subjects or {})):
        app.include_router(router)

    @app.get("/asyncapi", tags=["operations"])
    async def asyncapi() -> dict[str, Any]:
        """Give the AsyncAPI document: what this service says and hears."""
        return describe(service.readers)

    openapi.install(app)
    return app
