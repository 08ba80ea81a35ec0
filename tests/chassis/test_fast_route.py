"""What is answered before the framework is asked, is answered as the framework would."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import APIRouter, FastAPI, Request
from prometheus_client import generate_latest
from starlette.responses import PlainTextResponse, Response

from chassis.errors import NotReady, Refused
from chassis.observability import metrics, tracing
from chassis.web import conventions, fast_route, problems
from chassis.web.fast_route import FastRoute
from chassis.web.problems import Problem

BAD = {
    "problem": Problem(418, "teapot", "no coffee here"),
    "refused": Refused("not today"),
    "away": NotReady("nobody is there"),
    "unexpected": RuntimeError("a secret of the inside"),
}


class Guarded(FastRoute):
    """Tells that it was asked."""

    async def answer(self, request: Request) -> Response:
        response = await super().answer(request)
        response.headers["Guarded"] = request.scope["route"].path
        return response


def make(*, fronted: bool) -> FastAPI:
    """Make the same app with a front, and without."""
    app = FastAPI()
    router, plain = APIRouter(route_class=Guarded), APIRouter(prefix="/v1")

    @router.post("/doors/{account}")
    @router.post("/doors/{account}/{part}")
    async def door(request: Request) -> Response:
        body = await request.body()
        return PlainTextResponse(f"{sorted(request.path_params.items())} {len(body)}")

    @router.get("/doors/{account}", status_code=203)
    @router.get("/whole")
    async def look(request: Request) -> Response:
        return PlainTextResponse(f"{request.path_params} {request.query_params.multi_items()}")

    @router.get("/fails/{why}")
    async def fail(request: Request) -> Response:
        raise BAD[request.path_params["why"]]

    @plain.get("/requests/{id}")
    async def show(id: int) -> dict[str, int]:
        return {"id": id}

    if fronted:
        fast_route.install(app, [router, plain])
    problems.install(app)
    conventions.install(app)
    tracing.install(app, "fronted" if fronted else "plain")
    app.include_router(router)
    app.include_router(plain)
    return app


@pytest_asyncio.fixture
async def clients() -> AsyncGenerator[list[httpx.AsyncClient]]:
    opened = [
        httpx.AsyncClient(
            transport=httpx.ASGITransport(make(fronted=fronted)), base_url="http://test"
        )
        for fronted in (True, False)
    ]
    yield opened
    for client in opened:
        await client.aclose()


ASKED: list[tuple[str, str, bytes]] = [
    ("POST", "/doors/main", b"hello"),
    ("POST", "/doors/ma%20in", b""),
    ("POST", "/doors/%D0%BA", b"x"),
    ("POST", "/doors/a%2Fb", b"two parts, then"),
    ("POST", "/doors/a/b", b"two"),
    ("POST", "/doors/", b""),
    ("POST", "/doors", b""),
    ("POST", "/doors/main/", b""),
    ("POST", "//doors/main", b""),
    ("POST", "/doors/main", b"x" * (conventions.MAX_BODY_BYTES + 1)),
    ("GET", "/doors/main?a=1&a=2", b""),
    ("HEAD", "/doors/main", b""),
    ("PUT", "/doors/main", b""),
    ("DELETE", "/whole", b""),
    ("GET", "/whole", b""),
    ("GET", "/whole?x", b""),
    ("GET", "/whole/", b""),
    ("GET", "/nothing", b""),
    ("GET", "/v1/requests/7", b""),
    ("GET", "/v1/requests/seven", b""),
    *(("GET", f"/fails/{why}", b"") for why in BAD),
]


@pytest.mark.parametrize(("method", "path", "body"), ASKED)
async def test_the_answer_is_the_same_with_and_without_a_front(
    clients: list[httpx.AsyncClient], method: str, path: str, body: bytes
) -> None:
    answers = [await client.request(method, path, content=body) for client in clients]
    ours, theirs = [(each.status_code, dict(each.headers), each.content) for each in answers]
    assert ours == theirs
    assert b"secret" not in answers[0].content


async def test_what_is_in_front_does_not_reach_the_framework(
    clients: list[httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: Any, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError(scope["path"])

    monkeypatch.setattr(APIRouter, "__call__", never)
    assert (await clients[0].post("/doors/main")).status_code == 200
    assert (await clients[1].post("/doors/main")).status_code == 500


async def test_it_is_counted_by_its_route(clients: list[httpx.AsyncClient]) -> None:
    for client in clients:
        await client.post("/doors/main")
    told = generate_latest(metrics.REGISTRY).decode()
    for service in ("fronted", "plain"):
        labels = f'method="POST",route="/doors/{{account}}",service="{service}",status="200"'
        assert f"trunkline_http_requests_total{{{labels}}}" in told, told
