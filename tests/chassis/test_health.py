"""Whether a service lives, and whether it gets on."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from chassis.web import health as module
from chassis.web import problems
from chassis.web.health import Health


class Hand:
    """A clock in hand."""

    now = 100.0


@pytest.fixture
def health() -> Health:
    return Health(clock=lambda: Hand.now)


@pytest_asyncio.fixture
async def client(health: Health) -> AsyncGenerator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.include_router(health.router)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


async def test_without_complaints_it_is_ready(health: Health, client: httpx.AsyncClient) -> None:
    health.add("relay", lambda: None)

    answer = await client.get("/health/ready")

    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_what_does_not_get_on_is_told_and_why(
    health: Health, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_TIMEOUT_S", 0.05)

    async def stuck() -> str | None:
        return "no progress for 12 s"

    async def silent() -> None:
        await asyncio.Event().wait()

    def broken() -> None:
        raise KeyError("somebody's name")

    health.add("relay", lambda: None)
    health.add("TICKETS", stuck)
    health.add("silent", silent)
    health.add("broken", broken)

    answer = await client.get("/health/ready")

    assert answer.status_code == 503
    assert answer.json()["not_ready"] == [
        {"name": "TICKETS", "why": "no progress for 12 s"},
        {"name": "silent", "why": "no answer within 0 s"},
        {"name": "broken", "why": "the check failed: KeyError"},
    ]
    for name in ("TICKETS", "silent", "broken"):
        health.remove(name)
    assert (await client.get("/health/ready")).status_code == 200


async def test_it_lives_while_its_heart_beats(health: Health, client: httpx.AsyncClient) -> None:
    beating = asyncio.create_task(health.heartbeat())
    await asyncio.sleep(0)
    assert (await client.get("/health/live")).json() == {"status": "live"}
    beating.cancel()

    Hand.now += 31

    answer = await client.get("/health/live")
    assert answer.status_code == 503
    assert answer.json()["not_live"] == [{"name": "event loop", "why": "silent for 31 s"}]
