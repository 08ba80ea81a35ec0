"""Fast routes, which are answered without the framework's dependencies and validation.

FastAPI documents them, and also serves them when they are not found here first. One table lookup
replaces its machinery: measured, a small answer costs a third of what FastAPI takes.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


class FastRoute(APIRoute):
    """A route whose endpoint takes only the request."""

    async def answer(self, request: Request) -> Response:
        """Return the endpoint's response; a subclass may add checks before it."""
        response: Response = await self.endpoint(request)
        return response

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler that FastAPI calls: `answer`, too."""
        return self.answer


class FastRouteMiddleware:
    """Answers the requests of `FastRoute`s, and passes the others on to the framework.

    It supports fixed paths, and paths with one parameter at the end. Unknown paths and methods are
    left to the framework.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[FastRoute]) -> None:
        """Answer requests of `routes`, and pass others on to `app`."""
        self.app = app
        self._whole: dict[tuple[str, str], FastRoute] = {}
        self._open: dict[tuple[str, str], tuple[FastRoute, str]] = {}
        for route in routes:
            fixed, _, parameter = route.path.partition("{")
            for method in route.methods or ():
                if not parameter:
                    self._whole[method, fixed] = route
                elif fixed.endswith("/") and parameter[:-1].isidentifier():
                    self._open[method, fixed[:-1]] = route, parameter[:-1]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._find(scope) if scope["type"] == "http" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.answer(request)
        except Exception as error:
            handlers = request.app.exception_handlers
            fitting = (handlers[kind] for kind in type(error).__mro__ if kind in handlers)
            if (handler := next(fitting, None)) is None:
                raise
            response = await handler(request, error)
        await response(scope, receive, send)

    def _find(self, scope: Scope) -> FastRoute | None:
        method, path = scope["method"], scope["path"]
        if (whole := self._whole.get((method, path))) is not None:
            scope["path_params"] = {}
            return whole
        before, _, last = path.rpartition("/")
        if last and (found := self._open.get((method, before))) is not None:
            scope["path_params"] = {found[1]: last}
            return found[0]
        return None


def install(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Install the fast routes of these routers, which are included without a prefix.

    Call it before other middleware is installed, which then applies to fast routes, too.
    """
    routes = [
        route for router in routers for route in router.routes if isinstance(route, FastRoute)
    ]
    if routes:
        app.add_middleware(FastRouteMiddleware, routes=routes)
