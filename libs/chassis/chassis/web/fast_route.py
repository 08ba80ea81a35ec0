"""Addresses that are answered without the framework's machinery, for what must cost little.

They are FastAPI's for their documents, and found by it where they are not found here first: no
dependencies, no validation, no serialisation, one look into a table. Measured, that is a third of
what a small answer costs.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


class FastRoute(APIRoute):
    """A route whose endpoint is given the request and nothing else."""

    async def answer(self, request: Request) -> Response:
        """Answer; what comes before every endpoint of a kind is said by its subclass."""
        response: Response = await self.endpoint(request)
        return response

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Answer the same where the framework is asked."""
        return self.answer


class FastRouteMiddleware:
    """Stands before the framework, and answers what is asked of `FastRoute` routes.

    It knows paths that are all text, or text and one parameter at the end. The rest, wrong methods
    and paths among it, is the framework's.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[FastRoute]) -> None:
        """Answer these, and leave the rest to `app`."""
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
    """Answer the direct routes of these routers, which are included without a prefix.

    Comes before anything else is installed: what that does is done for these addresses, too.
    """
    routes = [route for each in routers for route in each.routes if isinstance(route, FastRoute)]
    if routes:
        app.add_middleware(FastRouteMiddleware, routes=routes)
