"""Replicas of routing for tests of the service, and facts to publish to them."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from chassis.settings import Settings
from chassis.testing import eventually, running
from routing.app import make
from trunkline_contracts import Closed, Contact, Message, Opened

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from telling import Teller
    from world import World

    from trunkline_contracts import Fact


class RoutingStack:
    """Replicas of routing on a test's own servers, and a publisher of TICKETS facts."""

    def __init__(self, world: World, teller: Teller) -> None:
        self.world = world
        self.publish = teller.tell
        self._stack = AsyncExitStack()
        self.clients: list[httpx.AsyncClient] = []
        self.supervisor = world.token("supervisor", subject="boss")

    async def start(self, clock: Callable[[], datetime] | None = None, **more: str) -> None:
        """Start another replica."""
        given = {} if clock is None else {"clock": clock}
        app = make(self.world.settings("routing", Settings, **more), **given)
        self.clients.append(await self._stack.enter_async_context(running(app)))
        client = self.clients[-1]

        async def ready() -> bool:
            return (await client.get("/v1/operators", headers=self.supervisor)).status_code == 200

        await eventually(ready)

    async def stop(self) -> None:
        """Stop every replica."""
        await self._stack.aclose()

    @property
    def http(self) -> httpx.AsyncClient:
        return self.clients[0]

    def operator(self, name: str) -> dict[str, str]:
        return self.world.token("operator", subject=name)

    async def get(self, path: str) -> dict[str, Any]:
        response = await self.http.get(path, headers=self.supervisor)
        assert response.status_code == 200, response.text
        return response.json()

    async def set_presence(self, name: str, status: str = "online", **more: int) -> dict[str, Any]:
        response = await self.http.put(
            f"/v1/operators/{name}/presence",
            json={"status": status, **more},
            headers=self.supervisor,
        )
        assert response.status_code == 200, response.text
        return response.json()

    async def claim(self, id_: UUID, name: str, replica: int = 0) -> httpx.Response:
        return await self.clients[replica].post(
            f"/v1/requests/{id_}/claim", headers=self.operator(name)
        )

    async def waiting(self, n: int) -> list[dict[str, Any]]:
        """Wait until `n` requests wait; return them."""

        async def has_count() -> bool:
            return len((await self.get("/v1/queue?limit=200"))["items"]) == n

        await eventually(has_count)
        return (await self.get("/v1/queue?limit=200"))["items"]

    async def load(self, name: str, n: int) -> dict[str, Any]:
        """Wait until an operator's load is `n`; return the operator."""

        async def has_count() -> bool:
            return (await self.get(f"/v1/operators/{name}"))["load"] == n

        await eventually(has_count)
        return await self.get(f"/v1/operators/{name}")

    async def facts(self, kind: str | None = None) -> list[dict[str, Any]]:
        rows = await self.world.sql(
            "routing", "SELECT type, body, key, sequence FROM outbox ORDER BY position"
        )
        return [
            {"fact": name, "key": key, "sequence": n, **json.loads(bytes(body))["data"]}
            for type_, body, key, n in rows
            if (name := type_.rsplit(".", 1)[1]) == (kind or name)
        ]


def opened(id_: UUID, topic: str = "general", at: datetime | None = None, **more: Any) -> Fact:
    at = at or datetime.now(UTC)
    return Opened(
        time=at, workspace=1, request_id=id_, request_type="chat", account="main", topic=topic,
        contact=Contact(id=uuid4(), address="77"), status="new",
        message=Message(id=uuid4(), text="hi", sent_at=at),
        **{"channel": "telegram", "priority": "medium", **more},
    )  # fmt: skip


def closed(id_: UUID) -> Fact:
    now = datetime.now(UTC)
    return Closed(time=now, request_id=id_, resolution="done", by="operator", status="closed")
