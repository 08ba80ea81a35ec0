"""A test kit: a clock in hand, patience, and a service run in the test's own loop."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import httpx
from fastapi import FastAPI

T = TypeVar("T")

EVENTUALLY_TIMEOUT_S = 10.0
MIN_PAUSE_S = 0.02


class Clock:
    """Time that moves when the test says so, and never by itself."""

    def __init__(self, at: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)) -> None:
        self.at = at

    def __call__(self) -> datetime:
        """What time it is."""
        return self.at

    def forward(self, **by: float) -> datetime:
        """Let time pass: `clock.forward(minutes=15)`."""
        self.at += timedelta(**by)
        return self.at


async def eventually(ask: Callable[[], Awaitable[T]], within: float = EVENTUALLY_TIMEOUT_S) -> T:
    """Ask until the answer is truthy and no assertion fails, and give it; else the last failure."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            answer = await ask()
            if answer:
                return answer
            failure = AssertionError(f"still {answer!r} after {within} s")
        except (AssertionError, KeyError, IndexError, httpx.TransportError) as why:
            failure = AssertionError(f"still failing after {within} s: {why!r}")
        waited = loop.time() - began
        if waited > within:
            raise failure
        await asyncio.sleep(max(MIN_PAUSE_S, waited / 20))


@asynccontextmanager
async def running(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    """Run a service in this loop, from its start to its end, and give a client of it."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield client
