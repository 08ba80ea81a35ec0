"""Liveness and readiness of a service."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter

from chassis.web.problems import Problem

Check = Callable[[], str | Awaitable[str | None] | None]
"""Returns a short reason why the service makes no progress; None when it does."""

CHECK_TIMEOUT_S = 2.0
"""Seconds a check may take."""


class Health:
    """Named checks behind `/health/ready`, and heartbeats behind `/health/live`."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without checks; `clock` times the heartbeats."""
        self._clock = clock
        self._checks: dict[str, Check] = {}
        self._notes: dict[str, Callable[[], str | None]] = {}
        self._beats: dict[str, tuple[float, float]] = {}
        self.router = APIRouter(prefix="/health", tags=["operations"])
        for path, answer in (("/live", self.live), ("/ready", self.ready)):
            self.router.add_api_route(path, answer, responses={503: {"description": "It is not"}})

    def add(self, name: str, check: Check) -> None:
        """Add a check of `/health/ready`."""
        self._checks[name] = check

    def note(self, name: str, note: Callable[[], str | None]) -> None:
        """Add a note to the answer of a ready service, for people to look at."""
        self._notes[name] = note

    def remove(self, name: str) -> None:
        """Remove a check."""
        self._checks.pop(name, None)

    def beat(self, name: str, within: float = 30.0) -> None:
        """Record a heartbeat of a part; the next one must come within `within` seconds."""
        self._beats[name] = (self._clock(), within)

    async def heartbeat(self) -> None:
        """Record heartbeats of the event loop until cancelled."""
        while True:
            self.beat("event loop")
            await asyncio.sleep(1)

    async def live(self) -> dict[str, str]:
        """Return 200 while all parts send heartbeats; else 503: restart the process."""
        now = self._clock()
        silent = [
            {"name": name, "why": f"silent for {now - beaten:.0f} s"}
            for name, (beaten, within) in self._beats.items()
            if now - beaten > within
        ]
        if silent:
            raise _problem("not_live", silent)
        return {"status": "live"}

    async def ready(self) -> dict[str, Any]:
        """Return 200 while the service makes progress; else 503 with the failing checks.

        The answer of a ready service may have notes for people to look at.
        """
        answers = await asyncio.gather(*map(_ask, self._checks.values()))
        failing = [
            {"name": name, "why": why}
            for name, why in zip(self._checks, answers, strict=True)
            if why
        ]
        if failing:
            raise _problem("not_ready", failing)
        notes = [{"name": name, "why": why} for name, n in self._notes.items() if (why := n())]
        return {"status": "ready"} | ({"notes": notes} if notes else {})


def _problem(slug: str, failing: list[dict[str, str]]) -> Problem:
    detail = "; ".join(f"{check['name']}: {check['why']}" for check in failing)
    listed: dict[str, Any] = {slug: failing}
    return Problem(503, slug, detail, headers={"Retry-After": "1"}, **listed)


async def _ask(check: Check) -> str | None:
    try:
        answer = check()
        if inspect.isawaitable(answer):
            return await asyncio.wait_for(answer, CHECK_TIMEOUT_S)
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:.0f} s"
    except Exception as error:  # noqa: BLE001 (a check that raises has failed)
        return f"the check failed: {type(error).__name__}"
    return answer
