"""Every checker sees what it is there for: real code, with and without one protection.

Each test runs twice on real servers. With the protection nothing is wrong; without it the checker
complains. Where a second line of defence would hide the first one's absence, it is taken away too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest
import uvicorn
from desk import update
from saying import received
from telling import Teller

import ingest.app
import notify.app
import routing.app
import tickets.app
from chassis.messaging.transaction import Tx
from chassis.settings import Settings as RoutingSettings
from chassis.settings import Settings as TicketsSettings
from chassis.testing import eventually, running
from faults import broken, checkers, controlled, records
from faults.controlled import both, chassis_service, saying_and_hearing, verdict
from faults.town import LIMITS
from ingest.domain.intake_batch import IntakeBatch
from ingest.intake import conversation_store
from ingest.settings import Settings as IngestSettings
from notify.delivery import queue
from notify.delivery.dispatcher import MessageDispatcher
from notify.settings import Settings as NotifySettings
from routing import store as routing_store
from trunkline.sink import server as sink
from trunkline_contracts import (
    Contact,
    Message,
    Opened,
    ReplySent,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from world import World

    from chassis.service import Service

# ---------------------------------------------------------------- the inner loop


async def say_and_judge_hearing(world: World, sayer: Service, rounds: int) -> list[str]:
    keys = [uuid4() for _ in range(16)]
    for _ in range(rounds):
        async with sayer.transaction() as tx:
            tx.record(*[received(key) for key in keys])
    said = await records.outbox(world.admin_dsn, "ingest")

    async def all_heard() -> bool:
        rows = await world.sql("tickets", "SELECT count(DISTINCT (key, sequence)) FROM heard")
        return bool(rows[0][0] == len(said))

    await eventually(all_heard)
    await asyncio.sleep(0.3)  # whoever would apply something again has the time to
    return checkers.heard_once(said, await controlled.heard(world))


@both
async def test_two_leaders_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """A leader that was frozen comes back and goes on: the position is the fence."""
    broken.everybody_leads(monkeypatch)
    if not protected:
        broken.no_position_fence(monkeypatch)
    async with saying_and_hearing(world, hearers=2) as sayer:
        verdict(await say_and_judge_hearing(world, sayer, 10), protected=protected)


@both
async def test_every_fact_arrives_five_times_out_of_order(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """What has been applied is known by its position."""
    broken.five_times_out_of_order(monkeypatch)
    if not protected:
        broken.no_positions(monkeypatch)
    async with saying_and_hearing(world, hearers=1) as sayer:
        verdict(await say_and_judge_hearing(world, sayer, 5), protected=protected)


@both
async def test_two_relays_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """A batch names the sequence it expects: who is late is refused."""
    broken.everybody_leads(monkeypatch)
    header = "Nats-Msg-Id" if protected else "Test-Id"
    if not protected:
        broken.no_relay_fence(monkeypatch)
    await world.apply()
    async with chassis_service(world, "ingest") as one, chassis_service(world, "ingest") as two:
        for number in range(40):
            async with (one, two)[number % 2].transaction() as tx:
                tx.record(received(uuid4()))
            one.relay.wake()
            two.relay.wake()
        verdict(await judge_telling(world, header), protected=protected)


@both
async def test_writers_side_by_side(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """Positions become visible in order, because they are given under the service's lock."""
    await world.apply()
    finish, pauses = Tx.flush, iter([0.8])

    async def the_first_is_slow(self: Tx) -> None:
        await finish(self)
        await asyncio.sleep(next(pauses, 0))

    monkeypatch.setattr(Tx, "flush", the_first_is_slow)
    if not protected:
        lock = r"PERFORM pg_advisory_xact_lock\(lock\);"
        await broken.rewrite(world, "ingest", "outbox_append", lock, "")
    async with chassis_service(world, "ingest") as sayer:

        async def write() -> None:
            for _ in range(12):
                async with sayer.transaction() as tx:
                    tx.record(received(uuid4()))

        await asyncio.gather(*[write() for _ in range(6)])
        verdict(await judge_telling(world), protected=protected)


async def judge_telling(world: World, header: str = "Nats-Msg-Id") -> list[str]:
    """Wait until the last fact is told, and compare the stream with the outbox."""
    nc = await world.as_admin()
    try:

        async def last_is_told() -> bool:
            told = set(await records.stream(nc, "INGEST", header))
            return said[-1].id in told

        said = await records.outbox(world.admin_dsn, "ingest")
        await eventually(last_is_told)
        await asyncio.sleep(0.8)  # whoever would tell something again has the time to
        return checkers.told_once(said, await records.stream(nc, "INGEST", header))
    finally:
        await nc.close()


# ---------------------------------------------------------------- ingest


@asynccontextmanager
async def doors(world: World) -> AsyncGenerator[Callable[[int, int, str], Awaitable[None]]]:
    """Two replicas of ingest; gives a platform that delivers to one of them."""
    await world.apply()
    async with AsyncExitStack() as stack:
        settings = [world.settings("ingest", IngestSettings, READERS="2") for _ in range(2)]
        clients = [
            await stack.enter_async_context(running(ingest.app.make(given))) for given in settings
        ]
        head = {"X-Telegram-Bot-Api-Secret-Token": "telegram-secret"}

        async def deliver(number: int, chat: int, text: str) -> None:
            client = clients[number % 2]
            body = update(number, chat, text)
            answer = await client.post("/channels/telegram/main", json=body, headers=head)
            assert answer.status_code == 200, answer.text

        yield deliver


async def taken_in(world: World, deliveries: int) -> list[checkers.Row]:
    async def done() -> bool:
        rows = await world.sql("ingest", "SELECT count(*) FROM item")
        return bool(rows[0][0] == deliveries)

    await eventually(done)
    return await records.outbox(world.admin_dsn, "ingest")


@both
async def test_a_message_delivered_five_times(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """The first of a message's deliveries is unique for ever."""
    if not protected:
        load_entries = conversation_store.load_entries

        async def forget(tx: Tx, batch: IntakeBatch, entries: Any) -> None:
            await load_entries(tx, batch, entries)
            batch.first_seen.clear()

        monkeypatch.setattr(conversation_store, "load_entries", forget)
        await world.sql("ingest", "DROP INDEX item_first")
    async with doors(world) as deliver:
        await asyncio.gather(*[deliver(n, n, "hello") for n in range(8) for _ in range(5)])
        said = await taken_in(world, 40)
    verdict(checkers.one_fact(said, []), protected=protected)


@both
async def test_messages_of_one_conversation_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """Whoever decides about a conversation holds its lock."""
    broken.slow(monkeypatch, conversation_store, "load_entries", 0.2)
    if not protected:

        async def nothing(*_: object) -> None:
            return

        monkeypatch.setattr(conversation_store, "lock", nothing)
    async with doors(world) as deliver:
        work = [deliver(chat * 10 + n, chat, f"{n}") for chat in range(6) for n in range(6)]
        await asyncio.gather(*work)
        said = await taken_in(world, 36)
    verdict(checkers.one_open(said), protected=protected)


# ---------------------------------------------------------------- routing


def opened(key: UUID) -> Opened:
    now = datetime.now(UTC)
    return Opened(
        time=now, workspace=1, request_id=key, request_type="chat", channel="telegram",
        account="main", topic="general", priority="medium", status="new",
        contact=Contact(id=uuid4(), address="77"),
        message=Message(id=uuid4(), text="hi", sent_at=now),
    )  # fmt: skip


@both
async def test_two_replicas_decide_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """Decisions are taken one at a time: under the service's lock."""
    await world.apply()
    async with Teller(world) as teller, AsyncExitStack() as stack:
        await teller.tell(*[opened(uuid4()) for _ in range(60)])
        broken.slow(monkeypatch, routing_store, "load_operators", 0.6)
        if not protected:
            broken.no_decision_lock(monkeypatch)
            await world.sql("routing", "ALTER TABLE operators DROP CONSTRAINT operators_check")
        settings = [world.settings("routing", RoutingSettings, READERS="2") for _ in range(2)]
        await world.sql(
            "routing",
            "INSERT INTO operators (id, status, limit_now) SELECT id, 'online', 5"
            " FROM unnest(ARRAY['anna', 'bohdan', 'olena']) id",
        )
        await world.sql("routing", "UPDATE deciding_by SET workspace = 1")
        for given in settings:
            await stack.enter_async_context(running(routing.app.make(given)))

        async def all_known() -> bool:
            rows = await world.sql(
                "routing",
                "SELECT (SELECT count(*) FROM queue) + (SELECT count(*) FROM capacity) = 60"
                " AND EXISTS (SELECT FROM capacity)",
            )
            return bool(rows[0][0])

        await eventually(all_known)
    said = await records.outbox(world.admin_dsn, "routing")
    channels = {row.key: "telegram" for row in said}
    verdict(checkers.within_limits(said, [], LIMITS, channels), protected=protected)


@both
async def test_two_operators_claim_one_request_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """The second claim sees the first."""
    await world.apply()
    if not protected:
        broken.no_decision_lock(monkeypatch)
    async with Teller(world) as teller, AsyncExitStack() as stack:
        given = world.settings("routing", RoutingSettings)
        doors = [
            await stack.enter_async_context(running(routing.app.make(given))) for _ in range(2)
        ]
        people = ("anna", "bohdan")
        heads = [world.token("operator", subject=who) for who in people]

        async def away(who: str, head: dict[str, str]) -> bool:
            path = f"/v1/operators/{who}/presence"
            return (await doors[0].put(path, json={"status": "away"}, headers=head)).is_success

        for who, head in zip(people, heads, strict=True):
            await eventually(partial(away, who, head))
        key = uuid4()
        await teller.tell(opened(key))

        async def waits() -> bool:
            return bool(await world.sql("routing", "SELECT 1 FROM queue"))

        await eventually(waits)
        broken.slow(monkeypatch, routing_store, "load_operators", 0.3)
        path = f"/v1/requests/{key}/claim"
        work = [door.post(path, headers=head) for door, head in zip(doors, heads, strict=True)]
        answers = await asyncio.gather(*work)
    said = await records.outbox(world.admin_dsn, "routing")
    verdict(checkers.one_owner(said), protected=protected)
    if protected:
        assert sorted(answer.status_code for answer in answers) == [200, 409]


# ---------------------------------------------------------------- tickets


@both
async def test_commands_on_one_request_at_two_replicas(world: World, *, protected: bool) -> None:
    """Of all who saw the same version one writes; the others look again."""
    await world.apply()
    if not protected:
        found = r"conflicts := ARRAY\(.*?\);\s+void"
        await broken.rewrite(world, "tickets", "tickets_append", found, "conflicts := '{}'; void")
        await world.sql("tickets", "ALTER TABLE tickets_events DROP CONSTRAINT tickets_events_pkey")
    async with AsyncExitStack() as stack:
        given = world.settings("tickets", TicketsSettings)
        doors = [
            await stack.enter_async_context(running(tickets.app.make(given))) for _ in range(2)
        ]
        boss = world.token("supervisor")
        body = {"type": "chat", "description": "x", "contact": {"email": "m@example.test"}}
        made = await doors[0].post("/v1/requests", json=body, headers=boss)
        path = f"/v1/requests/{made.json()['id']}/note"
        for _ in range(6):
            await asyncio.gather(
                *[doors[n % 2].post(path, json={"text": "n"}, headers=boss) for n in range(8)]
            )
    said = await records.outbox(world.admin_dsn, "tickets")
    verdict(checkers.gap_free(said), protected=protected)


# ---------------------------------------------------------------- notify


@asynccontextmanager
async def outside() -> AsyncGenerator[str]:
    """The sink."""
    config = uvicorn.Config(sink.build(), port=0, log_config=None, lifespan="off", ws="none")
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


def replies(keys: Sequence[UUID]) -> list[ReplySent]:
    now = datetime.now(UTC)
    return [
        ReplySent(
            time=now, workspace=1, request_id=key, by="anna", channel="telegram", account="main",
            contact=Contact(id=uuid4(), address=str(n)), conversation=str(n),
            message=Message(id=uuid4(), text=f"answer {n}", sent_at=now),
        )
        for n, key in enumerate(keys, 1)
    ]  # fmt: skip


async def send(world: World, base: str, lease: str, crashed: int = 0) -> list[str]:
    """Have two replicas send six replies, the first `crashed` attempts by dying hands."""
    await world.apply()
    keys = [uuid4() for _ in range(6)]
    told = replies(keys)
    async with Teller(world) as teller, AsyncExitStack() as stack:
        for _ in range(2):
            given = world.settings("notify", NotifySettings, SINK_URL=base, SEND_LEASE=lease)
            await stack.enter_async_context(running(notify.app.make(given)))
        await teller.tell(*[opened(key) for key in keys])
        await teller.tell(*told)

        async def done() -> bool:
            rows = await world.sql(
                "notify",
                "SELECT count(*), count(*) FILTER (WHERE next_at IS NOT NULL) FROM sends",
            )
            return bool(rows[0] == (6, 0))

        await eventually(done, within=20)
        await asyncio.sleep(0.3)
        async with httpx.AsyncClient() as http:
            items = (await http.get(f"{base}/sent?channel=telegram")).json()["items"]
    arrived = [(i["text"], i["headers"]["idempotency-key"]) for i in items]
    expected = {str(reply.message.id): reply.message.text for reply in told}
    return checkers.sent(expected, arrived, crashed)


@both
async def test_two_replicas_send(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """Whoever claims a message holds its row; others skip it."""
    broken.slow_claims(monkeypatch, locked=protected)
    async with outside() as base:
        verdict(await send(world, base, "30"), protected=protected)


@both
async def test_a_replica_dies_before_it_sends(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """A claim is a lease: what its holder did not settle is tried again, under the same id."""
    attempt, dying = MessageDispatcher._attempt, iter(range(3))

    async def may_die(self: MessageDispatcher, *args: Any) -> None:
        if next(dying, None) is None:
            await attempt(self, *args)

    monkeypatch.setattr(MessageDispatcher, "_attempt", may_die)
    if not protected:
        lease = "next_at = now() + %s"
        assert lease in queue.CLAIM_MESSAGES
        for_ever = queue.CLAIM_MESSAGES.replace(lease, "next_at = now() + nullif(%s, 1)")
        monkeypatch.setattr(queue, "CLAIM_MESSAGES", for_ever)
    async with outside() as base:
        verdict(await send(world, base, "1", crashed=3), protected=protected)
