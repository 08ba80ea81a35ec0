"""Replicas of notify on real servers, with the sink as the outside world."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import uvicorn
from telling import Teller

from chassis.testing import eventually, running
from notify.app import make
from notify.settings import Settings
from trunkline.sink import server as the_sink
from trunkline_contracts import (
    AssigneeChanged,
    Contact,
    Message,
    Opened,
    ReplySent,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import ASGIApp, Receive, Scope, Send
    from world import World

    from trunkline_contracts import Fact


class DelayedSink:
    """The sink, with a delay before each call of the Bot API."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/bot"):
            await asyncio.sleep(self.seconds)
        await self.app(scope, receive, send)


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncGenerator[str]:
    """Serve an application on a free port, and yield its URL."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True
        await task


class Notify:
    """Replicas of notify in a test's own stack, the sink, and a publisher of facts."""

    def __init__(self, world: World, teller: Teller, sink: str, outside: DelayedSink) -> None:
        self.world, self.tell, self.sink, self.outside = world, teller.tell, sink, outside
        self._stack = AsyncExitStack()
        self.http: httpx.AsyncClient

    async def start(self, **more: str) -> None:
        """Start another replica."""
        app = make(self.world.settings("notify", Settings, SINK_URL=self.sink, **more))
        self.http = await self._stack.enter_async_context(running(app))

    async def stop(self) -> None:
        """Stop every replica."""
        await self._stack.aclose()

    async def bell(self, who: str) -> list[dict[str, Any]]:
        """Return an operator's notifications."""
        header = self.world.token("operator", subject=who)
        answer = await self.http.get(f"/v1/operators/{who}/notifications", headers=header)
        return list(answer.json()["items"])

    async def deliveries(self, request_id: UUID) -> dict[str, dict[str, Any]]:
        """Return the messages of a request, by id."""
        header = self.world.token("supervisor")
        path = f"/v1/deliveries?request_id={request_id}"
        items = (await self.http.get(path, headers=header)).json()["items"]
        return {item["id"]: item for item in items if item["what"] == "message"}

    async def arrived(self, to: str | None = None) -> list[dict[str, Any]]:
        """Return what the sink received, in all chats or in one."""
        query = {"channel": "telegram"} | ({"to": to} if to else {})
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self.sink}/sent", params=query)
        return list(answer.json()["items"])

    async def fault(self, **what: Any) -> None:
        """Make the sink fail."""
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{self.sink}/faults", json=what)
        answer.raise_for_status()

    async def said(self, kind: str) -> list[dict[str, Any]]:
        """Return the published facts of a kind."""
        rows = await self.world.sql(
            "notify",
            "SELECT body FROM outbox WHERE type = %s ORDER BY position",
            f"trunkline.notify.v1.{kind}",
        )
        return [json.loads(bytes(body))["data"] for (body,) in rows]

    async def until_state(self, reply: Fact, state: str) -> dict[str, Any]:
        """Wait until a reply has a state, and return its message."""
        assert isinstance(reply, ReplySent)

        async def there() -> dict[str, Any] | None:
            found = (await self.deliveries(reply.request_id))[str(reply.message.id)]
            return found if found["state"] == state else None

        found = await eventually(there)
        assert found is not None
        return found


@asynccontextmanager
async def notify_stack(world: World) -> AsyncGenerator[Notify]:
    """Yield the stack without a replica; replicas that a test starts are stopped."""
    await world.apply()
    outside = DelayedSink(the_sink.build())
    async with serving(outside) as sink, Teller(world) as teller:
        notify = Notify(world, teller, sink, outside)
        try:
            yield notify
        finally:
            await notify.stop()


def opened(request_id: UUID, chat: str = "77", channel: str = "telegram") -> Fact:
    now = datetime.now(UTC)
    return Opened(
        time=now, workspace=1, request_id=request_id, request_type="chat", channel=channel,
        account="main", contact=Contact(id=uuid4(), address=chat), topic="general",
        priority="medium", status="new", message=Message(id=uuid4(), text="hi", sent_at=now),
        conversation=chat,
    )  # fmt: skip


def assigned(request_id: UUID, to: str = "anna") -> Fact:
    now = datetime.now(UTC)
    return AssigneeChanged(time=now, request_id=request_id, to=to, mode="auto", epoch=1)


def replied(
    request_id: UUID, text: str = "yes", chat: str = "77", channel: str = "telegram"
) -> Fact:
    now = datetime.now(UTC)
    return ReplySent(
        time=now, request_id=request_id, message=Message(id=uuid4(), text=text, sent_at=now),
        by="anna", channel=channel, account="main",
        contact=Contact(id=uuid4(), address=chat), conversation=chat,
    )  # fmt: skip
