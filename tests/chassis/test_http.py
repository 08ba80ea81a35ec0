"""Pages, versions, keys, and limits to bodies."""

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI, Request

from chassis.web import conventions, problems
from chassis.web.conventions import IdempotencyKey, IfMatch, Json, Pages, cursor_of, etag

ROOT = UUID(int=7)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ROWS = [(NOON + timedelta(seconds=n), uuid5(ROOT, str(n))) for n in range(5)]


@pytest_asyncio.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    conventions.install(app, {"/mail/": 2_000_000})

    @app.get("/rows")
    async def rows(pages: Pages) -> Json:
        after = pages.after(datetime, UUID)
        found = [row for row in ROWS if after is None or row > after][: pages.fetch]
        return Json(pages.page(found, lambda row: row, lambda row: {"at": row[0], "id": row[1]}))

    @app.post("/rows")
    async def change(version: IfMatch, key: IdempotencyKey = None) -> Any:
        return [version, key]

    @app.post("/mail/{account}")
    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @app.post("/model")
    async def model(body: dict[str, str]) -> int:
        return len(body)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


async def test_a_collection_is_read_page_by_page(client: httpx.AsyncClient) -> None:
    seen: list[str] = []
    cursor: str | None = None
    sizes: list[int] = []
    while not sizes or cursor:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/rows", params=params)).json()
        sizes.append(len(page["items"]))
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]

    assert sizes == [2, 2, 1]
    assert seen == [str(key) for _, key in ROWS]


async def test_a_full_last_page_has_no_next(client: httpx.AsyncClient) -> None:
    page = (await client.get("/rows", params={"limit": 5})).json()

    assert (len(page["items"]), page["next"]) == (5, None)
    assert page["items"][0]["at"] == "2030-01-01T12:00:00Z"


@pytest.mark.parametrize(
    "cursor",
    ["x", "ж", "====", cursor_of(1), cursor_of("now", "me"), cursor_of(1, 2, 3), "W1tb" * 99],
)
async def test_a_cursor_of_ones_own_making_is_refused(
    client: httpx.AsyncClient, cursor: str
) -> None:
    answer = await client.get("/rows", params={"cursor": cursor})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["at"] == "query.cursor"


@pytest.mark.parametrize("limit", ["0", "201", "many"])
async def test_a_page_has_its_limits(client: httpx.AsyncClient, limit: str) -> None:
    assert (await client.get("/rows", params={"limit": limit})).status_code == 422


@pytest.mark.parametrize(
    ("header", "version"), [(etag(7), 7), ("7", 7), ('W/"7"', 7), ("*", None), (None, None)]
)
async def test_a_version_is_read(
    client: httpx.AsyncClient, header: str | None, version: int | None
) -> None:
    headers = {"Idempotency-Key": "once"} | ({"If-Match": header} if header else {})

    assert (await client.post("/rows", headers=headers)).json() == [version, "once"]


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": '"x"'},
        {"If-Match": '"7", "8"'},
        {"If-Match": "9" * 40},
        {"Idempotency-Key": "x" * 201},
        {"Idempotency-Key": ""},
    ],
)
async def test_what_is_no_version_or_key_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await client.post("/rows", headers=headers)).status_code == 422


async def chunks(number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b"x" * 100_000


@pytest.mark.parametrize("path", ["/raw", "/model"])
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_too_large_is_refused(
    client: httpx.AsyncClient, path: str, announced: bool
) -> None:
    content = b"x" * 300_000 if announced else chunks(3)

    answer = await client.post(path, content=content, headers={"content-type": "application/json"})

    assert answer.status_code == 413
    assert answer.json()["type"] == "too_large"
    assert answer.json()["allowed"] == conventions.MAX_BODY_BYTES
    assert answer.headers["connection"] == "close"


async def test_an_address_may_allow_more(client: httpx.AsyncClient) -> None:
    assert (await client.post("/mail/main", content=chunks(20))).json() == 2_000_000
    assert (await client.post("/mail/main", content=chunks(21))).status_code == 413
