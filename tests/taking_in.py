"""Replicas of ingest in a test's own world, and what is asked of them."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import httpx
import uvicorn

from chassis.testing import eventually, running
from chassis.web.connections import ConnectionTable
from chassis.web.http_protocol import limited
from ingest.app import make
from ingest.settings import Settings
from trunkline_contracts import Closed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fastapi import FastAPI
    from telling import Teller
    from world import World

SECRET = "X-Telegram-Bot-Api-Secret-Token"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def named(number: int) -> int:
    """Give the id of the message in an update: never its update's number, but some other's."""
    return number + 3


def update(number: int, chat: int = 7, text: str = "hello") -> dict[str, Any]:
    message = {
        "message_id": named(number),
        "date": 1772442000 + number,
        "text": text,
        "chat": {"id": chat, "type": "private"},
        "from": {"id": chat, "first_name": f"Customer {chat}"},
    }
    return {"update_id": number, "message": message}


@asynccontextmanager
async def served(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    """Serve a running service as an instance does, on a free port; gives a client of it."""
    config = uvicorn.Config(
        app, port=0, log_config=None, access_log=False, lifespan="off", ws="none",
        http=cast("type[asyncio.Protocol]", limited(ConnectionTable("ingest", 100))),
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            yield http
    finally:
        server.should_exit = True
        await task


class Ingest:
    """Replicas of ingest in a test's own world."""

    def __init__(self, world: World, teller: Teller) -> None:
        self.world = world
        self.tell = teller.tell
        self._stack = AsyncExitStack()
        self.replicas: list[httpx.AsyncClient] = []
        self.apps: list[FastAPI] = []
        self.boss = world.token("supervisor")

    async def start(self, **more: str) -> None:
        """Run one replica more."""
        app = make(self.world.settings("ingest", Settings, **more))
        replica = await self._stack.enter_async_context(running(app))
        self.replicas.append(replica)
        self.apps.append(app)

        async def ready() -> bool:
            return (await replica.get("/health/ready")).status_code == 200

        await eventually(ready)

    async def stop(self) -> None:
        await self._stack.aclose()
        self.replicas.clear()
        self.apps.clear()

    @property
    def http(self) -> httpx.AsyncClient:
        return self.replicas[0]

    async def post(
        self, body: Any, secret: str | None = "telegram-secret", replica: int = 0
    ) -> httpx.Response:
        headers = {} if secret is None else {SECRET: secret}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.replicas[replica].post(
            "/channels/telegram/main", content=data, headers=headers
        )

    async def submit(
        self, body: Any, key: str | None = None, subject: str = "shop", role: str = "integrator"
    ) -> httpx.Response:
        headers = self.world.token(role, subject=subject)
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self.http.post("/v1/requests", json=body, headers=headers)

    async def outcome(self, accepted: httpx.Response, *, corrected: bool = False) -> dict[str, Any]:
        """Wait for what became of a delivery."""
        id = accepted.json()["inbound_id"]

        async def settled() -> dict[str, Any] | None:
            answer = await self.http.get(f"/v1/inbound/{id}", headers=self.boss)
            assert answer.status_code == 200
            told: dict[str, Any] = answer.json()
            if told["outcome"] == "pending" or (corrected and told["threaded_by"] != "returned"):
                return None
            return told

        told = await eventually(settled)
        assert told is not None
        return told

    async def ledger(self) -> dict[str, Any]:
        """Wait until nothing is pending."""

        async def settled() -> dict[str, Any] | None:
            found: dict[str, Any] = (await self.http.get("/v1/ledger", headers=self.boss)).json()
            return found if not found["pending"] else None

        found = await eventually(settled)
        assert found is not None
        return found

    async def said(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.world.sql(
            "ingest",
            "SELECT body FROM outbox WHERE type = %s ORDER BY position",
            f"trunkline.ingest.v1.{kind}",
        )
        return [json.loads(bytes(body))["data"] for (body,) in rows]

    async def stored(self) -> int:
        """How many deliveries INBOUND has had."""
        nc = await self.world.as_admin()
        try:
            return (await nc.jetstream().stream_info("INBOUND")).state.last_seq
        finally:
            await nc.close()

    async def close(self, request_id: str) -> None:
        """Have tickets say that a request is closed, and wait until it is known."""
        id = UUID(request_id)
        closed = Closed(time=NOW, request_id=id, resolution="done", by="operator", status="closed")
        await self.tell(closed)

        async def known() -> bool:
            rows = await self.world.sql(
                "ingest", "SELECT 1 FROM conversation WHERE open_request = %s", id
            )
            return not rows

        await eventually(known)
