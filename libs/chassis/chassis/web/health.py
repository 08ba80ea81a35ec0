"""Whether a service lives, and whether it gets on with its work."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter

from chassis.web.problems import Problem

Check = Callable[[], str | Awaitable[str | None] | None]
"""Says in a few words what is wrong, or nothing: about progress made, not about being there."""

CHECK_TIMEOUT_S = 2.0
"""Seconds a check may take."""


class Health:
    """Named checks behind `/health/ready`, and heartbeats behind `/health/live`."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without checks; heartbeats are timed by `clock`."""
        self._clock = clock
        self._checks: dict[str, Check] = {}
        self._notes: dict[str, Callable[[], str | None]] = {}
        self._beats: dict[str, tuple[float, float]] = {}
        self.router = APIRouter(prefix="/health", tags=["operations"])
        for path, answer in (("/live", self.live), ("/ready", self.ready)):
            self.router.add_api_route(path, answer, responses={503: {"description": "It is not"}})

    def add(self, name: str, check: Check) -> None:
        """Ask this check whenever somebody wants to know whether the service is ready."""
        self._checks[name] = check

    def note(self, name: str, note: Callable[[], str | None]) -> None:
        """Add to the answer of a ready service what a person should look at."""
        self._notes[name] = note

    def remove(self, name: str) -> None:
        """Ask it no more."""
        self._checks.pop(name, None)

    def beat(self, name: str, within: float = 30.0) -> None:
        """Tell that this part lives, and within how many seconds it will tell so again."""
        self._beats[name] = (self._clock(), within)

    async def heartbeat(self) -> None:
        """Beat for the event loop, for ever."""
        while True:
            self.beat("event loop")
            await asyncio.sleep(1)

    async def live(self) -> dict[str, str]:
        """Tell whether everything vital has given a sign of life; if not, restart the process."""
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
        """Tell whether the service gets on with its work; if not, what does not, and why.

        A ready one may have notes for a person to look at.
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
    told = "; ".join(f"{each['name']}: {each['why']}" for each in failing)
    listed: dict[str, Any] = {slug: failing}
    return Problem(503, slug, told, headers={"Retry-After": "1"}, **listed)


async def _ask(check: Check) -> str | None:
    try:
        answer = check()
        if inspect.isawaitable(answer):
            return await asyncio.wait_for(answer, CHECK_TIMEOUT_S)
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:.0f} s"
    except Exception as error:  # noqa: BLE001 - a check that fails has given its answer
        return f"the check failed: {type(error).__name__}"
    return answer
