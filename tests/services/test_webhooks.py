"""Webhooks on real servers: what was committed arrives, signed, in order, until it is taken.

Long, as it tries everything an endpoint may answer.
"""

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
import pytest
import uvicorn
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from telling import Teller
from world import EXAMPLE

from chassis.testing import eventually, running
from notify.app import make
from notify.domain.webhooks import delivery_id
from notify.settings import Settings
from trunkline_contracts import (
    Closed,
    Contact,
    Message,
    NoteAdded,
    Opened,
    RequestAssigned,
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
    """Somebody who receives webhooks, and believes what the reference library believes."""

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
        """What it took, in the order in which it came."""
        return [read(b) for h, b in self.got if h["path"] == path and h["status"] == "204"]

    def tried(self, path: str = "hook") -> list[dict[str, str]]:
        return [h for h, _ in self.got if h["path"] == path]


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncGenerator[Receiver]:
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
    """notify with webhooks of its own, and somebody who tells it facts."""

    def __init__(self, world: World, teller: Teller) -> None:
        self.world, self.tell = world, teller.tell
        self._stacks: list[AsyncExitStack] = []
        self.apps: list[Any] = []
        self.http: httpx.AsyncClient
        self.version = 0

    async def declare(self, **hooks: str) -> None:
        text = EXAMPLE.read_text()
        assert DECLARED in text
        lines = "\n  ".join(f"{name}: {{{what}}}" for name, what in hooks.items())
        self.version = await self.world.apply(text.replace(DECLARED, lines))

    async def start(self) -> None:
        """Run one replica more."""
        more = {"WEBHOOK_NETWORKS": "127.0.0.0/8"}
        app = make(self.world.settings("notify", Settings, **more))
        self.apps.append(app)
        self._stacks.append(AsyncExitStack())
        self.http = await self._stacks[-1].enter_async_context(running(app))

        async def knows() -> bool:
            return len(await self.ask("/v1/webhooks")) > 0

        await eventually(knows)

    async def stop(self) -> None:
        for stack in self._stacks:
            await stack.aclose()

    async def leader(self) -> int:
        """Which replica hands over."""

        async def elected() -> list[int]:
            held = [app.state.service.leaders.held for app in self.apps]
            return [n for n, offices in enumerate(held) if "webhooks" in offices]

        return (await eventually(elected))[0]

    async def end(self, replica: int) -> None:
        """Stop one replica as it is stopped well."""
        await self._stacks[replica].aclose()

    async def ask(self, path: str, role: str = "administrator", who: str = "root") -> Any:
        answer = await self.http.get(path, headers=self.world.token(role, subject=who))
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    async def redrive(self, name: str, **which: Any) -> httpx.Response:
        header = self.world.token("administrator")
        return await self.http.post(f"/v1/webhooks/{name}/redrive", json=which, headers=header)

    async def deliveries(self, request_id: UUID) -> list[dict[str, Any]]:
        items = await self.ask(f"/v1/deliveries?request_id={request_id}")
        return [item for item in items if item["what"] == "webhook"]

    async def hurry(self) -> None:
        """Let what waits be due."""
        await self.world.sql(
            "notify", "UPDATE deliveries SET next_at = now() WHERE next_at > now()"
        )

    async def stands(self, name: str) -> dict[str, Any]:
        return {i["id"]: i for i in await self.ask("/v1/webhooks")}[name]


def hook(url: str, *events: str, **more: str) -> str:
    named = ", ".join(f'"trunkline.{e}"' for e in events or ("tickets.v1.*",))
    rest = "".join(f", {name}: {value}" for name, value in more.items())
    secret = "" if "secret" in more else ", secret: env:HOOK_NEW"
    return f"url: {url!r}, events: [{named}]{secret}{rest}"


@pytest.fixture
async def notify(world: World) -> AsyncGenerator[Notify]:
    world.environment |= {"HOOK_NEW": NEW, "HOOK_OLD": OLD}
    async with Teller(world) as teller:
        notify = Notify(world, teller)
        try:
            yield notify
        finally:
            await notify.stop()


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with receiving() as receiver:
        yield receiver


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


async def test_webhook_delivers_committed_facts_signed_in_order(
    notify: Notify, receiver: Receiver
) -> None:
    await notify.declare(hook=hook(f"{receiver.url}/hook", ordered="true"))
    await notify.start()
    ids = [uuid4() for _ in range(6)]
    told: list[Fact] = []
    for id_ in ids:
        told += await notify.tell(opened(id_))
    for n in range(4):
        told += await notify.tell(*[titled(id_, str(n)) for id_ in ids])
    told += await notify.tell(*[noted(id_) for id_ in ids], *[closed(id_) for id_ in ids])
    outside = [fact for fact in told if not isinstance(fact, NoteAdded)]

    async def all_there() -> bool:
        return len(receiver.got) >= len(outside)

    await eventually(all_there)
    by_id = {str(delivery_id(fact.id, "hook")): fact for fact in told}
    for headers, body in receiver.got:
        assert body == by_id[headers["webhook-id"]].wire()
        assert headers["content-type"] == "application/cloudevents+json"
    assert {h["traceparent"] for h in receiver.tried() if "traceparent" in h} == {
        f"00-{'ab' * 16}-{'cd' * 8}-01"
    }
    for id_ in ids:
        mine = [f.sequence for f in receiver.taken() if f.subject == str(id_)]
        assert mine == [1, 2, 3, 4, 5, 7]
        assert receiver.most[str(id_)] == 1
    assert not any(isinstance(fact, NoteAdded) for fact in receiver.taken())

    async def settled() -> bool:
        return {d["state"] for d in await notify.deliveries(ids[0])} == {"sent"}

    await eventually(settled)
    [first, *_] = await notify.deliveries(ids[0])
    assert (first["to"], first["kind"], first["status"], first["attempts"]) == (
        "hook", "trunkline.tickets.v1.opened", 204, 1,
    )  # fmt: skip


async def test_endpoint_gets_subscribed_events_only(notify: Notify, receiver: Receiver) -> None:
    await notify.declare(
        ends=hook(f"{receiver.url}/ends", "tickets.v1.opened", "tickets.v1.closed"),
        inner=hook(f"{receiver.url}/inner", "tickets.v1.note_added", internal="true"),
        routing=hook(f"{receiver.url}/routing", "routing.v1.request_assigned"),
    )
    await notify.start()
    id_ = uuid4()
    now = datetime.now(UTC)
    await notify.tell(
        RequestAssigned(
            time=now, request_id=id_, operator="anna", group="g", epoch=1, mode="auto",
            decision=uuid4(),
        ),
        opened(id_), titled(id_), noted(id_), closed(id_),
    )  # fmt: skip

    async def there() -> bool:
        return len(receiver.got) == 4

    await eventually(there)
    assert sorted(type(f).__name__ for f in receiver.taken("ends")) == ["Closed", "Opened"]
    assert [type(f).__name__ for f in receiver.taken("inner")] == ["NoteAdded"]
    assert [type(f).__name__ for f in receiver.taken("routing")] == ["RequestAssigned"]


async def test_webhook_is_signed_with_both_rotating_secrets(
    notify: Notify, receiver: Receiver
) -> None:
    await notify.declare(
        hook=hook(f"{receiver.url}/hook", "tickets.v1.*", secret="[env:HOOK_NEW, env:HOOK_OLD]")
    )
    await notify.start()
    for secret in (OLD, NEW):
        receiver.secret = secret
        id_ = uuid4()
        await notify.tell(opened(id_))

        async def there(id_: UUID = id_) -> bool:
            return str(id_) in {fact.subject for fact in receiver.taken()}

        await eventually(there)
    assert all(len(h["webhook-signature"].split(" ")) == 2 for h in receiver.tried())


async def test_failing_endpoint_keeps_order_and_delays_no_other(notify: Notify) -> None:
    async with receiving() as other, receiving() as receiver:
        port = int(receiver.url.rpartition(":")[2])
        await notify.declare(
            down=hook(f"http://127.0.0.1:{port}/down", ordered="true"),
            slow=hook(f"{other.url}/slow"),
            good=hook(f"{other.url}/good"),
        )
        await notify.start()
        other.hold.clear()
    async with receiving() as other_again:
        other_again.hold.clear()
        await notify.declare(
            down=hook(f"http://127.0.0.1:{port}/down", ordered="true"),
            slow=hook(f"{other_again.url}/slow"),
            good=hook(f"{other_again.url}/good"),
        )
        ids = [uuid4() for _ in range(20)]
        facts = [f.model_copy(update={"workspace": notify.version}) for f in map(opened, ids)]
        await notify.tell(*facts)
        await notify.tell(*[titled(id_, str(n)) for n in range(3) for id_ in ids])

        async def good() -> bool:
            return len(other_again.taken("good")) == 80

        await eventually(good)
        assert other_again.most["slow"] == 8
        assert other_again.tried("slow") == []

        async def refused() -> bool:
            stand = await notify.stands("down")
            items = await notify.deliveries(ids[0])
            waits = [d for d in items if d["to"] == "down" and d["attempts"] == 1]
            return stand["pending"] == 80 and len(waits) == 1

        await eventually(refused)
        first, *rest = [d for d in await notify.deliveries(ids[0]) if d["to"] == "down"]
        assert (first["reason"], first["state"], first["attempts"]) == ("not reached", "pending", 1)
        assert {d["attempts"] for d in rest} == {0}
        other_again.hold.set()
        async with receiving(port) as back:
            await notify.hurry()

            async def caught_up() -> bool:
                await notify.hurry()
                return len(back.taken("down")) >= 80

            await eventually(caught_up, 15)
            for id_ in ids:
                mine = [f.sequence for f in back.taken("down") if f.subject == str(id_)]
                assert mine == [1, 2, 3, 4]


async def test_attempts_share_an_id_and_end_in_failure(notify: Notify, receiver: Receiver) -> None:
    await notify.declare(hook=hook(f"{receiver.url}/hook", ordered="true"))
    answers = [(status, {}) for status in (500, 301, 400, 404, 502, 500, 500, 500, 500, 500)]
    receiver.answers["hook"] = list(answers)
    await notify.start()
    id_ = uuid4()
    [fact, _] = await notify.tell(opened(id_), closed(id_))

    async def given_up() -> bool:
        await notify.hurry()
        states = [d["state"] for d in await notify.deliveries(id_)]
        return states == ["failed", "sent"]

    await eventually(given_up, 15)
    tries = receiver.tried()
    assert {h["webhook-id"] for h in tries[:10]} == {str(delivery_id(fact.id, "hook"))}
    assert [h["status"] for h in tries] == [*[str(s) for s, _ in answers], "204"]
    [failed] = await notify.world.sql(
        "notify", "SELECT body FROM outbox WHERE type = 'trunkline.notify.v1.notification_failed'"
    )
    told = json.loads(bytes(failed[0]))["data"]
    assert (told["recipient"], told["channel"], told["kind"]) == ("hook", "webhook", "opened")
    assert (await notify.stands("hook"))["failed"] == 1

    answer = await notify.redrive("hook", failed=True)
    assert answer.json() == {"redriven": 1}

    async def again() -> bool:
        return [d["state"] for d in await notify.deliveries(id_)] == ["sent", "sent"]

    await eventually(again)
    assert receiver.tried()[-1]["webhook-id"] == str(delivery_id(fact.id, "hook"))


async def test_retry_after_pauses_the_whole_endpoint(notify: Notify, receiver: Receiver) -> None:
    await notify.declare(hook=hook(f"{receiver.url}/hook"))
    receiver.answers["hook"] = [(429, {"Retry-After": "3000"})]
    await notify.start()
    await notify.tell(opened(uuid4()))

    async def paused() -> bool:
        return bool((await notify.stands("hook"))["state"] == "paused")

    await eventually(paused)
    await notify.tell(opened(uuid4()))

    async def written() -> bool:
        return bool((await notify.stands("hook"))["pending"] == 2)

    await eventually(written)
    await notify.hurry()
    await asyncio.sleep(0.7)
    assert len(receiver.tried()) == 1
    assert (await notify.redrive("hook", **{"from": 0})).json() == {"redriven": 2}

    async def both() -> bool:
        return len(receiver.taken()) == 2

    await eventually(both)
    assert (await notify.stands("hook"))["state"] == "active"


async def test_gone_endpoint_gets_nothing_until_redriven(
    notify: Notify, receiver: Receiver
) -> None:
    await notify.declare(hook=hook(f"{receiver.url}/hook"))
    receiver.answers["hook"] = [(410, {})]
    await notify.start()
    first, second = uuid4(), uuid4()
    await notify.tell(opened(first))

    async def disabled() -> bool:
        return bool((await notify.stands("hook"))["state"] == "disabled")

    await eventually(disabled)
    await notify.tell(opened(second))

    async def written() -> bool:
        return bool((await notify.stands("hook"))["pending"] == 1)

    await eventually(written)
    await asyncio.sleep(0.7)
    assert len(receiver.tried()) == 1
    assert (await notify.redrive("hook", request_id=str(first))).json() == {"redriven": 1}

    async def both() -> bool:
        return {f.subject for f in receiver.taken()} == {str(first), str(second)}

    await eventually(both)


@pytest.mark.parametrize("well", [True, False])
async def test_second_replica_continues_after_the_leader(
    notify: Notify,
    receiver: Receiver,
    well: bool,
) -> None:
    await notify.declare(hook=hook(f"{receiver.url}/hook", ordered="true"))
    for _ in range(2):
        await notify.start()
    ids = [uuid4() for _ in range(30)]
    leader = await notify.leader()
    await notify.tell(*map(opened, ids))
    await notify.tell(*map(titled, ids))

    async def begun() -> bool:
        return len(receiver.got) > 10

    await eventually(begun)
    if well:
        await notify.end(leader)
    else:  # its session is lost while deliveries are on their way
        await notify.apps[leader].state.service.leaders._drop()
    await notify.tell(*map(closed, ids))

    async def ended() -> bool:
        return {f.subject for f in receiver.taken() if isinstance(f, Closed)} == set(map(str, ids))

    await eventually(ended, 15)
    for id_ in ids:
        mine = [f.sequence for f in receiver.taken() if f.subject == str(id_)]
        assert list(dict.fromkeys(mine)) == sorted(set(mine)) == [1, 2, 3]
    times = Counter(h["webhook-id"] for h in receiver.tried())
    assert set(times.values()) <= ({1} if well else {1, 2})


async def test_stopped_leader_records_running_attempts(notify: Notify, receiver: Receiver) -> None:
    await notify.declare(slow=hook(f"{receiver.url}/slow"))
    await notify.start()
    receiver.hold.clear()
    await notify.tell(opened(uuid4()))

    async def under_way() -> bool:
        return receiver.under_way["slow"] == 1

    await eventually(under_way)
    asyncio.get_running_loop().call_later(1.5, receiver.hold.set)
    await notify.end(0)

    assert await notify.world.sql("notify", "SELECT state FROM deliveries") == [("sent",)]


async def test_internal_address_gets_no_webhook(notify: Notify, receiver: Receiver) -> None:
    port = receiver.url.rpartition(":")[2]
    await notify.declare(hook=hook(f"http://localhost:{port}/hook"))
    app = make(notify.world.settings("notify", Settings))
    async with running(app) as notify.http:
        id_ = uuid4()
        await notify.tell(opened(id_))

        async def refused() -> dict[str, Any] | None:
            [delivery] = await notify.deliveries(id_)
            return delivery if delivery["attempts"] else None

        found = await eventually(refused)
    assert found is not None
    assert found["reason"] == "only https on port 443 or 8443 leaves for outside"
    assert receiver.got == []


async def test_roles_decide_who_sees_and_redrives_webhooks(
    notify: Notify, receiver: Receiver
) -> None:
    await notify.declare(
        acme=hook(f"{receiver.url}/hook"), other=hook(f"{receiver.url}/hook", secret="env:NONE")
    )
    await notify.start()

    async def there() -> bool:
        return len(await notify.ask("/v1/webhooks")) == 2

    await eventually(there)
    assert [i["id"] for i in await notify.ask("/v1/webhooks", "integrator", "acme")] == ["acme"]
    assert (await notify.stands("other"))["state"] == "no_secret"
    assert "whsec" not in str(await notify.ask("/v1/webhooks"))
    mine = notify.world.token("integrator", subject="acme")

    async def status(name: str, body: dict[str, Any], head: dict[str, str]) -> int:
        path = f"/v1/webhooks/{name}/redrive"
        return (await notify.http.post(path, json=body, headers=head)).status_code

    assert await status("acme", {"failed": True}, mine) == 200
    assert await status("other", {"failed": True}, mine) == 403
    assert await status("nobody", {"failed": True}, notify.world.token("administrator")) == 404
    assert await status("acme", {}, notify.world.token("administrator")) == 422
    assert await status("acme", {"failed": True}, notify.world.token("supervisor")) == 403


async def test_select_due_uses_the_index_with_many_deliveries(notify: Notify) -> None:
    await notify.world.sql(
        "notify",
        "INSERT INTO deliveries (id, endpoint, type, key, sequence, body, next_at)"
        " SELECT gen_random_uuid(), 'hook', 't', (n %% 2000)::text, n, 'x',"
        " now() + interval '1 hour' FROM generate_series(1, 20000) n",
    )
    await notify.world.sql("notify", "ANALYZE deliveries")
    plan = await notify.world.sql(
        "notify",
        "EXPLAIN SELECT d.* FROM deliveries d WHERE d.endpoint = 'hook' AND d.next_at <= now()"
        " AND NOT EXISTS (SELECT 1 FROM deliveries b WHERE b.endpoint = d.endpoint"
        " AND b.key = d.key AND b.turn < d.turn AND b.next_at IS NOT NULL)"
        " ORDER BY d.next_at, d.turn LIMIT 64",
    )
    lines = "\n".join(line for (line,) in plan)
    assert "deliveries_due" in lines
    assert "Seq Scan" not in lines
