"""Simulated operators: they answer, note and close their requests; one goes to lunch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import httpx

from trunkline.demo.client import Client
from trunkline.demo.day import ANSWERS, NOTES, Day, Operator
from trunkline.paths import CannotStart

POLL_INTERVAL_S = 0.15
"""Interval between two queries of an operator's requests."""
MAX_TRIES = 40


class OperatorSimulation:
    """The simulation of one operator, through the API only."""

    def __init__(self, client: Client, day: Day, operator: Operator) -> None:
        self.client, self.day, self.operator = client, day, operator
        self._rng = Random(f"{day.seed} {operator.name}")  # noqa: S311 (a story, not a secret)
        self._answered: dict[str, int] = {}
        """Number of answered messages by request."""
        self._close_after: dict[str, float] = {}
        """Time of the event loop at which to close a request."""

    async def work(self, began: float, may_return: Callable[[], Awaitable[None]]) -> None:
        """Serve requests until cancelled; return from lunch on time and after `may_return`."""
        await self._sleep_until(began + self.operator.arrives_at)
        await self._set_presence("online")
        if self.operator.leaves_at is not None and self.operator.returns_at is not None:
            await self._serve_until(began + self.operator.leaves_at)
            await self._set_presence("away")
            await self._sleep_until(began + self.operator.returns_at)
            await may_return()
            await self._set_presence("online")
        await self._serve_until(None)

    async def _sleep_until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))

    async def _set_presence(self, status: str) -> None:
        path = f"/v1/operators/{self.operator.name}/presence"
        for _ in range(MAX_TRIES):
            if await self._send_command("routing", path, {"status": status}, "PUT"):
                return
            await asyncio.sleep(POLL_INTERVAL_S)
        raise CannotStart(f"{self.operator.name} cannot be {status}")

    async def _serve_until(self, until: float | None) -> None:
        loop = asyncio.get_running_loop()
        while until is None or loop.time() < until:
            try:
                await self._serve_one()
            except httpx.HTTPError:
                await asyncio.sleep(1)  # the API is unavailable
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _serve_one(self) -> None:
        """Answer the oldest request that waits, or else close one that was answered."""
        path = f"/v1/requests?assignee={self.operator.name}&open=true&limit=50"
        mine: list[dict[str, Any]] = (await self._fetch(path))["items"]
        for request in reversed(mine):
            incoming = await self._count_incoming(request["id"])
            if incoming > self._answered.get(request["id"], 0):
                await self._answer(request["id"], incoming)
                return
            if self._close_after.get(request["id"], 0.0) < asyncio.get_running_loop().time():
                await self._close(request["id"])
                return

    async def _count_incoming(self, request_id: str) -> int:
        messages = (await self._fetch(f"/v1/requests/{request_id}/messages"))["items"]
        return sum(message["direction"] == "in" for message in messages)

    async def _answer(self, request_id: str, incoming: int) -> None:
        await self._think(0.3, 0.9)
        path = f"/v1/requests/{request_id}"
        if request_id not in self._answered:
            await self._send_command("tickets", f"{path}/status", {"status": "open"})
        if await self._send_command(
            "tickets", f"{path}/reply", {"text": self._rng.choice(ANSWERS)}
        ):
            self._answered[request_id] = incoming
        if self._rng.random() < 0.25:
            await self._send_command("tickets", f"{path}/note", {"text": self._rng.choice(NOTES)})
        wait = self._rng.uniform(0.5, 2.0) * self.day.pace
        self._close_after[request_id] = asyncio.get_running_loop().time() + wait

    async def _close(self, request_id: str) -> None:
        await self._think(0.1, 0.4)
        resolution = self._rng.choice(("solved", "explained", "sent again"))
        await self._send_command(
            "tickets", f"/v1/requests/{request_id}/close", {"resolution": resolution}
        )

    async def _think(self, least: float, most: float) -> None:
        await asyncio.sleep(self._rng.uniform(least, most) * self.day.pace)

    async def _fetch(self, path: str) -> Any:
        return await self.client.fetch("tickets", path, "operator", self.operator.name)

    async def _send_command(
        self, service: str, path: str, body: dict[str, str], method: str = "POST"
    ) -> bool:
        return await self.client.send_command(service, path, body, self.operator.name, method)
