"""Operators: they come, answer what is theirs, note, close, and one goes to lunch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import httpx

from trunkline.demo.client import Desk
from trunkline.demo.day import ANSWERS, NOTES, Day, Operator
from trunkline.paths import CannotStart

LOOKS = 0.15
"""Seconds between two looks at one's list."""
TRIES = 40


class Person:
    """One operator at work, through the API and nothing else."""

    def __init__(self, desk: Desk, day: Day, operator: Operator) -> None:
        self.desk, self.day, self.who = desk, day, operator
        self._rng = Random(f"{day.seed} {operator.name}")  # noqa: S311 (a story, not a secret)
        self._heard: dict[str, int] = {}
        """How many of a request's messages have been answered."""
        self._closing: dict[str, float] = {}

    async def work(self, began: float, may_return: Callable[[], Awaitable[None]]) -> None:
        """Work for ever, but for lunch; back when it is time and `may_return` says so."""
        await self._until(began + self.who.comes)
        await self._is("online")
        if self.who.lunch is not None and self.who.back is not None:
            await self._desk_work(began + self.who.lunch)
            await self._is("away")
            await self._until(began + self.who.back)
            await may_return()
            await self._is("online")
        await self._desk_work(None)

    async def _until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))

    async def _is(self, status: str) -> None:
        path = f"/v1/operators/{self.who.name}/presence"
        for _ in range(TRIES):
            if await self._do("routing", path, {"status": status}, "PUT"):
                return
            await asyncio.sleep(LOOKS)
        raise CannotStart(f"{self.who.name} cannot be {status}")

    async def _desk_work(self, until: float | None) -> None:
        loop = asyncio.get_running_loop()
        while until is None or loop.time() < until:
            try:
                await self._look()
            except httpx.HTTPError:
                await asyncio.sleep(1)  # the API is away: later
            await asyncio.sleep(LOOKS)

    async def _look(self) -> None:
        """Take the oldest that waits for an answer; else close one that has had its answer."""
        path = f"/v1/requests?assignee={self.who.name}&open=true&limit=50"
        mine: list[dict[str, Any]] = (await self._ask(path))["items"]
        for request in reversed(mine):
            written = await self._written(request["id"])
            if written > self._heard.get(request["id"], 0):
                await self._answer(request["id"], written)
                return
            if self._closing.get(request["id"], 0.0) < asyncio.get_running_loop().time():
                await self._close(request["id"])
                return

    async def _written(self, request_id: str) -> int:
        messages = (await self._ask(f"/v1/requests/{request_id}/messages"))["items"]
        return sum(message["direction"] == "in" for message in messages)

    async def _answer(self, request_id: str, written: int) -> None:
        await self._think(0.3, 0.9)
        path = f"/v1/requests/{request_id}"
        if request_id not in self._heard:
            await self._do("tickets", f"{path}/status", {"status": "open"})
        if await self._do("tickets", f"{path}/reply", {"text": self._rng.choice(ANSWERS)}):
            self._heard[request_id] = written
        if self._rng.random() < 0.25:
            await self._do("tickets", f"{path}/note", {"text": self._rng.choice(NOTES)})
        wait = self._rng.uniform(0.5, 2.0) * self.day.pace
        self._closing[request_id] = asyncio.get_running_loop().time() + wait

    async def _close(self, request_id: str) -> None:
        await self._think(0.1, 0.4)
        resolution = self._rng.choice(("solved", "explained", "sent again"))
        await self._do("tickets", f"/v1/requests/{request_id}/close", {"resolution": resolution})

    async def _think(self, least: float, most: float) -> None:
        await asyncio.sleep(self._rng.uniform(least, most) * self.day.pace)

    async def _ask(self, path: str) -> Any:
        return await self.desk.ask("tickets", path, "operator", self.who.name)

    async def _do(self, service: str, path: str, body: dict[str, str], verb: str = "POST") -> bool:
        return await self.desk.tell(service, path, body, self.who.name, verb)
