"""Whatever goes wrong is said as a problem document."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import httpx
import psycopg
import pytest
import pytest_asyncio
from fastapi import FastAPI, Header, HTTPException, Query
from pydantic import BaseModel, Field

from chassis.errors import NotReady, Refused, TooLarge
from chassis.web import problems
from chassis.web.problems import Problem, conflict, invalid, missing, refused, stale, unavailable


class Order(BaseModel):
    status: Literal["open", "closed"]
    amount: int = Field(ge=1, le=10)
    fields: dict[str, Any] = {}
    note: str | None = None


RAISED: dict[str, Exception] = {
    "missing": missing("request", 7),
    "conflict": conflict("window_closed", "too late", until="2030-01-01T00:00:00Z"),
    "refused": refused("the rules forbid it"),
    "Refused": Refused("request is closed"),
    "TooLarge": TooLarge("it would have 2000000 bytes"),
    "stale": stale(7),
    "invalid": invalid("no such status", at="body.status", value="x" * 500, allowed=["open"]),
    "unavailable": unavailable("NATS is away", 3),
    "NotReady": NotReady("later"),
    "away": psycopg.OperationalError("connection refused"),
    "NUL": psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
    "teapot": HTTPException(418, "no coffee"),
    "of no kind": HTTPException(499, "gone"),
    "bug": RuntimeError("the inside"),
}


@pytest_asyncio.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)

    @app.post("/orders")
    async def order(order: Order) -> Order:
        return order

    @app.get("/raise/{kind}")
    async def fail(kind: str) -> None:
        raise RAISED[kind]

    @app.put("/list")
    async def put() -> None:
        """Another route of the same address."""

    @app.get("/list")
    async def some(
        limit: Annotated[int, Query(le=200)], x_secret: Annotated[str, Header(max_length=3)] = ""
    ) -> int:
        return limit

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


def told(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"]
    assert document["detail"]
    return document


@pytest.mark.parametrize(
    ("kind", "status", "slug"),
    [
        ("missing", 404, "not_found"),
        ("conflict", 409, "window_closed"),
        ("refused", 409, "refused"),
        ("Refused", 409, "refused"),
        ("TooLarge", 413, "too_large"),
        ("stale", 412, "version_changed"),
        ("invalid", 422, "invalid"),
        ("unavailable", 503, "unavailable"),
        ("NotReady", 503, "unavailable"),
        ("away", 503, "unavailable"),
        ("NUL", 422, "invalid"),
        ("teapot", 418, "http_418"),
        ("of no kind", 499, "http_499"),
        ("bug", 500, "unexpected"),
    ],
)
async def test_each_has_its_status_and_slug(
    client: httpx.AsyncClient, kind: str, status: int, slug: str
) -> None:
    document = told(await client.get(f"/raise/{kind}"))

    assert (document["status"], document["type"]) == (status, slug)


async def test_further_members_and_headers_are_told(client: httpx.AsyncClient) -> None:
    assert told(await client.get("/raise/conflict"))["until"] == "2030-01-01T00:00:00Z"
    assert (await client.get("/raise/unavailable")).headers["Retry-After"] == "3"
    old = await client.get("/raise/stale")
    assert (old.headers["ETag"], told(old)["version"]) == ('"7"', 7)
    error = told(await client.get("/raise/invalid"))["errors"][0]
    assert (error["at"], error["allowed"], len(error["value"])) == ("body.status", ["open"], 101)


async def test_nothing_of_the_inside_is_shown(client: httpx.AsyncClient) -> None:
    assert "inside" not in (await client.get("/raise/bug")).text
    assert "connection refused" not in (await client.get("/raise/away")).text


async def test_what_the_framework_refuses_is_a_problem_too(client: httpx.AsyncClient) -> None:
    assert told(await client.get("/nowhere"))["type"] == "not_found"
    wrong = await client.put("/orders")
    assert told(wrong)["type"] == "method_not_allowed"
    assert wrong.headers["Allow"] == "POST"


async def test_every_offending_value_is_told_with_what_is_allowed(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/orders", json={"status": "shut", "amount": 11, "note": ["a", "b"]})

    document = told(answer)
    assert document["status"] == 422
    status, amount, note = document["errors"]
    assert (status["at"], status["value"]) == ("body.status", "shut")
    assert status["allowed"] == "'open' or 'closed'"
    assert (amount["value"], amount["allowed"]) == (11, {"le": 10})
    assert note["value"] == "a list of 2"


async def test_a_query_is_told_and_a_secret_is_not(client: httpx.AsyncClient) -> None:
    answer = await client.get("/list?limit=900", headers={"X-Secret": "hunter2"})

    assert "query.limit" in told(answer)["detail"]
    assert "900" in answer.text
    assert "hunter2" not in answer.text


HOSTILE = {
    "cut off": b'{"status": ',
    "no JSON": b"status=open",
    "empty": b"",
    "no UTF-8": b'{"status": "\xff"}',
    "half a surrogate": b'{"status": "\\ud800", "amount": 1}',
    "deep": b'{"fields": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a long number": b'{"status": "open", "amount": ' + b"9" * 100_000 + b"}",
    "a big number": b'{"status": "open", "amount": ' + b"9" * 40 + b"}",
    "no number": b'{"status": "open", "amount": NaN}',
    "many errors": b'{"status": "open", "amount": 1, "note": 1' + b', "x": 1' * 50_000 + b"}",
    "a list": b"[1, 2]",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_body_is_the_callers_fault(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post(
        "/orders", content=body, headers={"content-type": "application/json"}
    )

    assert told(answer)["status"] in {400, 422}
    assert len(answer.content) < 4000


async def test_body_of_another_kind_is_refused_unquoted(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/orders", content=b"a secret", headers={"content-type": "text/x"})

    assert told(answer)["status"] == 422
    assert "a secret" not in answer.text


async def test_whoever_uses_another_method_is_told_which_there_are(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/list")

    assert told(answer)["type"] == "method_not_allowed"
    assert answer.headers["allow"] == "GET, PUT"


def test_a_problem_reads_as_its_detail() -> None:
    assert "too late" in str(Problem(409, "window_closed", "too late"))
