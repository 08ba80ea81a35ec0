"""Replicas of notify on real servers, with receivers of webhooks."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import uvicorn
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from telling import Teller
from world import EXAMPLE

from chassis.testing import eventually, running
from notify.app import make
from notify.settings import Settings
from trunkline_contracts import (
    Closed,
    Contact,
    Message,
    NoteAdded,
    Opened,
    TitleChanged,
    read,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from world import World

    from trunkline_contracts import Fact

OLD, NEW = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
DECLARED = (
    'audit: {url: sink, secret: env:WEBHOOK_AUDIT_SECRET, events: ["trunkline.tickets.v1.*"],'
    " ordered: true}"
)


class Receiver:
    """A receiver of webhooks that verifies signatures with the reference library."""

    def __init__(self) -> None:
        self.secret = NEW
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.hold = asyncio.Event()
        self.hold.set()
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.url = ""

    async def take(self, request: Request) -> Response:
        """Record a delivery, and respond with the next planned response of its path, or 204."""
        path, body = request.path_params["path"], await request.body()
        Webhook(self.secret).verify(body.decode(), dict(request.headers))
        key = json.loads(body)["subject"]
        for about in (path, key):
            self.under_way[about] += 1
            self.most[about] = max(self.most[about], self.under_way[about])
        try:
            if path.startswith("slow"):
                await self.hold.wait()
            planned = self.answers.get(path, [])
            status, headers = planned.pop(0) if planned else (204, {})
            self.got.append(({**request.headers, "path": path, "status": str(status)}, body))
            return Response(status_code=status, headers=headers)
        finally:
            self.under_way -= Counter((path, key))

    def taken(self, path: str = "hook") -> list[Fact]:
        """Return the accepted facts, in the order of their arrival."""
        return [read(b) for h, b in self.got if h["path"] == path and h["status"] == "204"]

    def tried(self, path: str = "hook") -> list[dict[str, str]]:
        """Return the headers of every attempt."""
        return [h for h, _ in self.got if h["path"] == path]


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncGenerator[Receiver]:
    """Serve a receiver, on a free port unless one is named."""
    receiver = Receiver()
    app = Starlette(routes=[Route("/{path:path}", receiver.take, methods=["POST"])])
    config = uvicorn.Config(app, port=port, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    receiver.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.should_exit = server.force_exit = True
        await task


class Notify:
    """Replicas of notify with webhooks of the test, and a publisher of facts."""

    def __init__(self, world: World, teller: Teller) -> None:
        self.world, self.tell = world, teller.tell
        self._stacks: list[AsyncExitStack] = []
        self.apps: list[Any] = []
        self.http: httpx.AsyncClient
        self.version = 0

    async def declare(self, **hooks: str) -> None:
        """Apply a workspace with these webhooks."""
        text = EXAMPLE.read_text()
        assert DECLARED in text
        lines = "\n  ".join(f"{name}: {{{what}}}" for name, what in hooks.items())
        self.version = await self.world.apply(text.replace(DECLARED, lines))

    async def start(self) -> None:
        """Start another replica, and wait until it knows the webhooks."""
        more = {"WEBHOOK_NETWORKS": "127.0.0.0/8"}
        app = make(self.world.settings("notify", Settings, **more))
        self.apps.append(app)
        self._stacks.append(AsyncExitStack())
        self.http = await self._stacks[-1].enter_async_context(running(app))

        async def knows() -> bool:
            return len(await self.ask("/v1/webhooks")) > 0

        await eventually(knows)

    async def stop(self) -> None:
        """Stop every replica."""
        for stack in self._stacks:
            await stack.aclose()

    async def leader(self) -> int:
        """Return the number of the replica that leads."""

        async def elected() -> list[int]:
            held = [app.state.service.leaders.held for app in self.apps]
            return [n for n, roles in enumerate(held) if "webhooks" in roles]

        return (await eventually(elected))[0]

    async def end(self, replica: int) -> None:
        """Stop one replica gracefully."""
        await self._stacks[replica].aclose()

    async def ask(self, path: str, role: str = "administrator", who: str = "root") -> Any:
        """Return the items of a collection."""
        answer = await self.http.get(path, headers=self.world.token(role, subject=who))
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    async def redrive(self, name: str, **which: Any) -> httpx.Response:
        """Redrive deliveries as an administrator."""
        header = self.world.token("administrator")
        return await self.http.post(f"/v1/webhooks/{name}/redrive", json=which, headers=header)

    async def deliveries(self, request_id: UUID) -> list[dict[str, Any]]:
        """Return the webhook deliveries of a request."""
        items = await self.ask(f"/v1/deliveries?request_id={request_id}")
        return [item for item in items if item["what"] == "webhook"]

    async def hurry(self) -> None:
        """Make deliveries that wait for a retry due."""
        await self.world.sql(
            "notify", "UPDATE deliveries SET next_at = now() WHERE next_at > now()"
        )

    async def status(self, name: str) -> dict[str, Any]:
        """Return the state of a webhook."""
        return {i["id"]: i for i in await self.ask("/v1/webhooks")}[name]


def hook(url: str, *events: str, **more: str) -> str:
    """Return the declaration of a webhook."""
    named = ", ".join(f'"trunkline.{e}"' for e in events or ("tickets.v1.*",))
    rest = "".join(f", {name}: {value}" for name, value in more.items())
    secret = "" if "secret" in more else ", secret: env:HOOK_NEW"
    return f"url: {url!r}, events: [{named}]{secret}{rest}"


@asynccontextmanager
async def webhook_stack(world: World) -> AsyncGenerator[Notify]:
    """Yield the stack without a replica; replicas that a test starts are stopped."""
    world.environment |= {"HOOK_NEW": NEW, "HOOK_OLD": OLD}
    async with Teller(world) as teller:
        notify = Notify(world, teller)
        try:
            yield notify
        finally:
            await notify.stop()


def opened(request_id: UUID) -> Fact:
    now = datetime.now(UTC)
    return Opened(
        time=now, workspace=1, request_id=request_id, request_type="chat", channel="telegram",
        account="main", contact=Contact(id=uuid4(), address="77"), topic="general",
        priority="medium", status="new", message=Message(id=uuid4(), text="привіт", sent_at=now),
        conversation="77", traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01",
    )  # fmt: skip


def titled(request_id: UUID, title: str = "t") -> Fact:
    now = datetime.now(UTC)
    return TitleChanged(time=now, request_id=request_id, from_="?", to=title, by="anna")


def closed(request_id: UUID) -> Fact:
    now = datetime.now(UTC)
    return Closed(
        time=now, request_id=request_id, resolution="done", by="operator", status="closed"
    )


def noted(request_id: UUID) -> Fact:
    return NoteAdded(time=datetime.now(UTC), request_id=request_id, note="secret", by="anna")
