"""One or more replicas of tickets in a test environment, and the facts they read."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
from telling import Teller

from chassis.settings import Settings
from chassis.testing import eventually, running
from tickets import store
from tickets.app import make
from trunkline.provision import connect_as
from trunkline_contracts import (
    Contact,
    Fact,
    Message,
    RequestAssigned,
    RequestOpened,
    read,
)

if TYPE_CHECKING:
    import httpx
    from world import World


OPENING = {
    "type": "ticket",
    "topic": "billing",
    "description": "An invoice is missing\nSince May",
    "contact": {"name": "Maria", "email": "maria@example.test"},
}


class Tickets:
    """Replicas of tickets in the environment of a test, and a publisher of facts for them."""

    def __init__(self, world: World, teller: Teller) -> None:
        self.world = world
        self.tell = teller.tell
        self.stack = AsyncExitStack()
        self.boss = world.token("supervisor", subject="boss")
        self.anna = world.token("operator", subject="anna")
        self.http: httpx.AsyncClient

    async def start(self, **more: str) -> httpx.AsyncClient:
        """Start one more replica; return a client of it."""
        app = make(self.world.settings("tickets", Settings, **more))
        self.http = await self.stack.enter_async_context(running(app))
        return self.http

    async def get(self, path: str, caller: dict[str, str] | None = None) -> Any:
        """Return the JSON of a path below `/v1/requests`; the answer must be 200."""
        answer = await self.http.get(f"/v1/requests{path}", headers=caller or self.boss)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(
        self, path: str, body: Any = None, caller: dict[str, str] | None = None, **headers: str
    ) -> httpx.Response:
        """Send a command."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"/v1/requests{path}"
        return await self.http.post(url, json=body, headers={**(caller or self.boss), **sent})

    async def opened(self) -> str:
        """Open a request over HTTP; return its id."""
        answer = await self.post("", OPENING)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def log(self, request_id: object) -> list[str]:
        """Return the short types of the events of a request."""
        items = (await self.get(f"/{request_id}/log"))["items"]
        assert [item["sequence"] for item in items] == list(range(1, len(items) + 1))
        return [item["type"].removeprefix("trunkline.tickets.v1.") for item in items]

    async def stream(self, count: int) -> list[Fact]:
        """Return the first `count` facts of the stream, once they are there."""
        nc = await connect_as("admin", self.world.nats.url, self.world.creds)
        js = nc.jetstream()

        async def there() -> bool:
            return (await js.stream_info("TICKETS")).state.messages >= count

        try:
            await eventually(there)
            messages = [await js.get_msg("TICKETS", seq) for seq in range(1, count + 1)]
            return [read(message.data or b"") for message in messages]
        finally:
            await nc.close()


async def check_snapshots(world: World) -> None:
    """Assert that every snapshot equals the state built from the history."""
    async with await psycopg.AsyncConnection.connect(world.dsn("tickets")) as conn:
        ids = [id_ for (id_,) in await world.sql("tickets", "SELECT id FROM requests")]
        assert await store.load(conn, ids) == await store.rebuild(conn, ids)


async def is_ready(tickets: Tickets) -> bool:
    return (await tickets.post("", {**OPENING, "type": "none"})).status_code == 422


def now() -> datetime:
    return datetime.now(UTC)


def written(text: str = "My printer is on fire") -> Message:
    return Message(id=uuid4(), text=text, sent_at=now())


def came_in(request_id: UUID, **more: Any) -> RequestOpened:
    return RequestOpened(
        time=now(), request_id=request_id, request_type="chat", channel="telegram", account="main",
        conversation="77", contact=Contact(id=uuid4(), name="Марія", address="77", answer_to="78"),
        message=written(), **more,
    )  # fmt: skip


def assigned(request_id: UUID, to: str, epoch: int = 1) -> RequestAssigned:
    return RequestAssigned(
        time=now(), request_id=request_id, operator=to, group="first-line", epoch=epoch,
        mode="auto", decision=uuid4(),
    )  # fmt: skip


async def has_assignee(tickets: Tickets, id_: object, caller: str | None) -> bool:
    return bool((await tickets.get(f"/{id_}"))["assignee"] == caller)


async def log_has(tickets: Tickets, id_: object, what: str) -> bool:
    return what in await tickets.log(id_)
