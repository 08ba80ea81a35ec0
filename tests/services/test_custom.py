"""The custom channel on real servers: both doors in, and the signed way out."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import nats.errors
import pytest
import uvicorn
from standardwebhooks import Webhook
from telling import Teller
from world import EXAMPLE

from chassis.auth.standard_webhooks import sign
from chassis.testing import eventually, running
from ingest.app import make as make_ingest
from ingest.settings import Settings as IngestSettings
from notify.app import make as make_notify
from notify.settings import Settings as NotifySettings
from trunkline import sink as the_sink
from trunkline.provision import connect_as
from trunkline_contracts import Contact, Message, Opened, ReplySent
from trunkline_contracts.ids import contact_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.client import Client
    from world import World

OLD, NEW, FOREIGN = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2, 3))
ROTATING = EXAMPLE.read_text().replace(
    "secret: env:CUSTOM_ACME_SECRET", "secret: [env:CUSTOM_ACME_SECRET, env:CUSTOM_ACME_OLD]"
)


def message(id: str = "m-1", text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"id": id, "text": text, "contact": {"id": "c-7", "name": "Iryna"}, **more}


@pytest.fixture
def secrets(world: World) -> None:
    """The account's secret, and the one it replaces."""
    world.environment |= {"CUSTOM_ACME_SECRET": NEW, "CUSTOM_ACME_OLD": OLD}


# ------------------------------------------------------------------ in


class Door:
    """ingest with both of its doors for acme."""

    def __init__(self, world: World, http: httpx.AsyncClient, nc: Client) -> None:
        self.world, self.http, self.nc = world, http, nc

    async def post(
        self, body: Any, secret: str = NEW, late: float = 0, account: str = "acme"
    ) -> httpx.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = sign([secret], "msg-1", int(time.time() + late), data)
        path = f"/channels/custom/{account}"
        return await self.http.post(path, content=data, headers=headers)

    async def ask(self, body: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await self.nc.request("channels.custom.acme", data, timeout=5, headers=headers)
        told: dict[str, Any] = json.loads(answer.data)
        return told

    async def outcome(self, told: dict[str, Any]) -> dict[str, Any]:
        """Wait for what became of a delivery, as the integrator sees it."""
        who = self.world.token("integrator", subject="acme")

        async def settled() -> dict[str, Any] | None:
            answer = await self.http.get(f"/v1/inbound/{told['inbound_id']}", headers=who)
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return found if found["outcome"] != "pending" else None

        found = await eventually(settled)
        assert found is not None
        return found

    async def stored(self) -> dict[str, int]:
        """How much every stream has had."""
        nc = await self.world.as_admin()
        try:
            found = await nc.jetstream().streams_info()
        finally:
            await nc.close()
        return {str(each.config.name): each.state.last_seq for each in found}


@pytest.fixture
async def door(world: World, secrets: None) -> AsyncGenerator[Door]:
    await world.apply(ROTATING)
    app = make_ingest(world.settings("ingest", IngestSettings))
    async with running(app) as http:
        nc = await connect_as("acme", world.nats.url, world.creds)

        async def listening() -> bool:
            try:
                answer = await nc.request("channels.custom.acme", b"?", timeout=1)
            except nats.errors.NoRespondersError:
                return False
            return b'"status":503' not in answer.data  # until the workspace is there

        try:
            await eventually(listening)
            yield Door(world, http, nc)
        finally:
            await nc.close()


async def test_one_message_by_either_door_is_one_message(door: Door) -> None:
    answer = await door.post(message())
    assert answer.status_code == 202
    opened = await door.outcome(answer.json())
    again = await door.outcome(await door.ask(dict(reversed(message().items()))))
    more = await door.outcome(await door.ask(message("m-2", "more")))
    other = await door.outcome((await door.post(message("m-1", "something else"))).json())
    elsewhere = await door.outcome(await door.ask(message("m-3", conversation="order 17")))

    assert opened["outcome"] == "opened"
    assert (again["outcome"], again["request_id"]) == ("duplicate", opened["request_id"])
    assert (more["outcome"], more["request_id"]) == ("appended", opened["request_id"])
    assert (other["outcome"], other["request_id"]) == ("appended", opened["request_id"])
    assert other["reason"] == "the platform's id m-1 was used before for something else"
    assert elsewhere["outcome"] == "opened"
    assert elsewhere["request_id"] != opened["request_id"]


async def test_many_at_once_by_both_doors_open_one_request(door: Door) -> None:
    posted = [door.post(message(f"m-{n % 10}")) for n in range(30)]
    asked = [door.ask(message(f"m-{n % 10}")) for n in range(30)]
    answers = await asyncio.gather(*posted, *asked)
    told = [each.json() if isinstance(each, httpx.Response) else each for each in answers]
    found = [await door.outcome(each) for each in told]
    words = [each["outcome"] for each in found]

    assert {each["request_id"] for each in found} == {found[0]["request_id"]}
    assert (words.count("opened"), words.count("appended")) == (1, 9)
    assert words.count("duplicate") == 50


async def test_both_secrets_are_good_while_one_replaces_the_other(door: Door) -> None:
    assert [(await door.post(message(), secret)).status_code for secret in (OLD, NEW)] == [202, 202]


async def test_who_cannot_be_verified_leaves_no_trace(door: Door) -> None:
    before = await door.stored()
    late = [await door.post(message(), late=seconds) for seconds in (-302, 302)]
    signed = sign([NEW], "msg-1", int(time.time()), b"other bytes")
    refused = [
        *late,
        await door.post(message(), FOREIGN),
        await door.post(message(), account="nobody"),
        await door.http.post("/channels/custom/acme", json=message()),
        await door.http.post("/channels/custom/acme", json=message(), headers=signed),
    ]

    assert [each.status_code for each in refused] == [401] * 6
    assert all("300 s" in each.json()["detail"] for each in late)
    assert await door.stored() == before


async def test_what_cannot_be_taken_is_said_at_once_by_both(door: Door) -> None:
    before = await door.stored()
    body = {"id": "m-1", "contact": {"id": "c-7"}}
    posted, asked = (await door.post(body)).json(), await door.ask(body)
    large = await door.ask(message(text="x" * 300_000))

    assert posted == asked
    assert (asked["type"], asked["status"], asked["errors"][0]["at"]) == ("invalid", 422, "text")
    assert large["status"] == 413
    assert (await door.ask(b"\xff"))["status"] == 400
    assert await door.stored() == before


async def test_a_reply_subject_injects_nothing(door: Door) -> None:
    """The answer to an integrator goes into its own account, whatever it is called there."""
    fact = "trunkline.tickets.v1.opened.00.x"
    for reply in (fact, "inbound.custom.acme.00.x", "$JS.API.STREAM.PURGE.TICKETS", "workspace.v"):
        await door.nc.publish("channels.custom.acme", json.dumps(message()).encode(), reply=reply)
    await door.outcome(await door.ask(message("last")))
    stored = await door.stored()

    assert {name: count for name, count in stored.items() if name in ("TICKETS", "REDRIVE")} == {
        "TICKETS": 0,
        "REDRIVE": 0,
    }
    assert stored["WORKSPACE"] == 1
    assert stored["INBOUND"] == 5


async def test_headers_of_an_integrator_are_not_believed(door: Door, world: World) -> None:
    headers = {
        "Nats-Msg-Id": "chosen",
        "Nats-Rollup": "all",
        "Nats-Expected-Last-Sequence": "77",
        "Trunkline-Account": "other",
        "Trunkline-Principal": "boss",
        "traceparent": "00-11111111111111111111111111111111-2222222222222222-01",
    }
    told = await door.ask(message(), headers)
    nc = await world.as_admin()
    kept = (await nc.jetstream().get_msg("INBOUND", seq=1)).headers or {}
    await nc.close()

    assert kept["Nats-Msg-Id"] == told["inbound_id"]
    assert kept["Trunkline-Account"] == "acme"
    assert not {"Nats-Rollup", "Nats-Expected-Last-Sequence", "Trunkline-Principal"} & set(kept)
    assert "1" * 32 not in kept.get("traceparent", "")


async def test_who_is_declared_no_more_is_refused(door: Door, world: World) -> None:
    nc = await world.as_admin()
    text = EXAMPLE.read_text()
    line = next(each for each in text.splitlines() if each.startswith("  custom:"))
    other = text.replace(line, line.replace("acme:", "globex:"))
    await nc.close()
    await world.apply(other)

    async def refused() -> bool:
        return bool((await door.ask(message())).get("status") == 403)

    await eventually(refused)


# ------------------------------------------------------------------ out


class Out:
    """notify, and the sink behind acme's address."""

    def __init__(self, world: World, http: httpx.AsyncClient, teller: Teller, sink: str) -> None:
        self.world, self.http, self.tell, self.sink = world, http, teller.tell, sink

    async def reply(self, text: str = "On its way.", chat: str = "order 17") -> ReplySent:
        request_id, now = uuid4(), datetime.now(UTC)
        contact = Contact(id=contact_id("custom", "acme", "c-7"), name="Iryna", address="c-7")
        said = Message(id=uuid4(), text="hi", sent_at=now)
        where = {"channel": "custom", "account": "acme", "conversation": chat, "contact": contact}
        opened = Opened(
            time=now, workspace=1, request_id=request_id, request_type="chat", topic="general",
            priority="medium", status="new", message=said, **where,
        )  # fmt: skip
        reply = ReplySent(
            time=now, workspace=1, request_id=request_id, by="anna",
            message=Message(id=uuid4(), text=text, sent_at=now), **where,
        )  # fmt: skip
        await self.tell(opened, reply)
        return reply

    async def arrived(self) -> list[dict[str, Any]]:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self.sink}/sent", params={"channel": "custom"})
        return list(answer.json()["items"])

    async def fault(self, **what: Any) -> None:
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self.sink}/faults", json=what)).raise_for_status()

    async def state(self, request_id: UUID, *, of: str) -> dict[str, Any]:
        """Wait until a reply's send is in this state."""
        boss = self.world.token("supervisor")
        path = f"/v1/deliveries?request_id={request_id}"

        async def there() -> dict[str, Any] | None:
            answer = await self.http.get(path, headers=boss)
            items = answer.json().get("items", [])
            return next((i for i in items if i["what"] == "message" and i["state"] == of), None)

        found = await eventually(there)
        assert found is not None
        return found


@asynccontextmanager
async def sinking() -> AsyncGenerator[str]:
    config = uvicorn.Config(the_sink.build(), port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await task


@pytest.fixture
async def out(world: World, secrets: None) -> AsyncGenerator[Out]:
    await world.apply(ROTATING)
    async with sinking() as sink, Teller(world) as teller:
        app = make_notify(world.settings("notify", NotifySettings, SINK_URL=sink))
        async with running(app) as http:
            yield Out(world, http, teller, sink)


async def test_a_reply_arrives_signed_with_both_secrets(out: Out) -> None:
    reply = await out.reply()
    sent = await out.state(reply.request_id, of="sent")
    (item,) = await out.arrived()

    for secret in (OLD, NEW):
        Webhook(secret).verify(item["body"], item["headers"])
    assert item["headers"]["webhook-id"] == str(reply.message.id)
    assert json.loads(item["body"]) == {
        "id": str(reply.message.id),
        "text": "On its way.",
        "conversation": "order 17",
        "contact": {"id": "c-7"},
        "request_id": str(reply.request_id),
    }
    assert sent["platform_id"]


async def test_the_id_is_constant_and_the_timestamp_is_the_attempt_s(out: Out) -> None:
    await out.fault(channel="custom", status=500, taken=True, times=2)
    reply = await out.reply()
    await out.state(reply.request_id, of="sent")
    items = await out.arrived()
    heads = [item["headers"] for item in items]
    stamps = [int(head["webhook-timestamp"]) for head in heads]

    assert len(items) == 3
    assert {head["webhook-id"] for head in heads} == {str(reply.message.id)}
    assert {item["body"] for item in items} == {items[0]["body"]}
    assert stamps == sorted(stamps)
    assert stamps[2] > stamps[0]
    for item in items:
        Webhook(NEW).verify(item["body"], item["headers"])


async def test_gone_is_gone_and_a_wish_to_wait_is_honoured(out: Out) -> None:
    await out.fault(channel="custom", status=410)
    failed = await out.state((await out.reply()).request_id, of="failed")
    await out.fault(channel="custom", status=429, retry_after=2)
    began = time.monotonic()
    waited = await out.state((await out.reply(chat="order 18")).request_id, of="sent")

    assert failed["reason"] == "the receiver is gone (410)"
    assert time.monotonic() - began >= 2
    assert waited["attempts"] == 2
