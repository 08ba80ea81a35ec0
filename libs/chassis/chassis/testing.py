"""Test helpers: a settable clock, polling, and a service run in the test's event loop."""

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
    """A clock that only the test moves."""

    def __init__(self, at: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)) -> None:
        self.at = at

    def __call__(self) -> datetime:
        """Return the current time."""
        return self.at

    def forward(self, **by: float) -> datetime:
        """Move the time forward: `clock.forward(minutes=15)`."""
        self.at += timedelta(**by)
        return self.at


async def eventually(ask: Callable[[], Awaitable[T]], within: float = EVENTUALLY_TIMEOUT_S) -> T:
    """Call until the result is truthy, and return it; raise the last failure after `within` s."""
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
    """Run a service in this event loop; yield an HTTP client of it."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield client
