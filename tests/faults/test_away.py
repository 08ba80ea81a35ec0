"""What is checked after servers were away or full: real code, with and without one protection.

The big tests of the same are test_servers.py and test_full.py; these show that they could fail.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psutil
import psycopg
import pytest
from desk import update
from nats.js.api import DiscardPolicy
from saying import opened, received, say

import ingest.app
from chassis.messaging.reader import Reader
from chassis.postgres import pool
from chassis.postgres.locks import lock_key
from chassis.postgres.pool import Database
from chassis.testing import eventually, running
from faults import broken, checkers, controlled, records
from faults.controlled import both, settled, verdict
from faults.recovery import Answer, let_in, refused_in_time
from ingest.gateway import publisher
from ingest.gateway.receiver import Receiver
from ingest.intake.handlers import IntakeHandlers
from ingest.settings import Settings as IngestSettings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    import httpx
    from world import World

    from chassis.messaging.transaction import Tx
    from chassis.service import Service
    from trunkline_contracts.fact import Fact

STORED = "SELECT inbound_id::text FROM item WHERE n = 0"


class Platform:
    """Delivers messages of one chat, and remembers what it was answered."""

    def __init__(self, http: httpx.AsyncClient, service: Service) -> None:
        self.http, self.service = http, service
        self.accepted: list[str] = []
        self.answers: list[Answer] = []
        self._n = 0

    async def deliver(self, count: int) -> Sequence[Answer]:
        """Deliver so many at once."""
        answers = await asyncio.gather(*[self._deliver() for _ in range(count)])
        self.answers += answers
        return answers

    async def _deliver(self) -> Answer:
        self._n += 1
        body, began = update(self._n, 7, f"message {self._n}"), time.monotonic()
        head = {"X-Telegram-Bot-Api-Secret-Token": "telegram-secret"}
        answer = await self.http.post("/channels/telegram/main", json=body, headers=head)
        if answer.is_success:
            self.accepted.append(answer.json()["inbound_id"])
        again = answer.headers.get("Retry-After", "")
        return Answer(began, time.monotonic() - began, answer.status_code, again)


@asynccontextmanager
async def platform(world: World) -> AsyncGenerator[Platform]:
    """ingest as it is, and somebody who delivers to it."""
    app = ingest.app.make(world.settings("ingest", IngestSettings))
    async with running(app) as http:
        sender = Platform(http, app.state.service)

        async def open_() -> bool:
            return (await sender.deliver(1))[0].status == 200

        await eventually(open_)
        sender.answers.clear()
        yield sender


async def stored(world: World) -> list[str]:
    nc = await world.as_admin()
    try:
        return list(await records.stream(nc, "INBOUND"))
    finally:
        await nc.close()


async def told(world: World) -> list[str]:
    nc = await world.as_admin()
    try:
        return list(await records.stream(nc, "INGEST"))
    finally:
        await nc.close()


# ---------------------------------------------------------------- NATS


@both
async def test_nats_is_frozen_and_killed(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """Nothing counts before it is acknowledged, and who hears nothing looks for the reason."""
    await controlled.prepare(world)
    if not protected:
        broken.no_acknowledgements(monkeypatch)
        broken.hard_of_hearing(monkeypatch)
    async with controlled.hearing(world), platform(world) as sender:

        async def lost() -> Sequence[str]:
            return checkers.kept(sender.accepted, await stored(world))

        async def untold() -> Sequence[str]:
            said = await records.outbox(world.admin_dsn, "ingest")
            return checkers.told_once(said, await told(world))

        async def unheard() -> Sequence[str]:
            there = set(await told(world))
            said = await records.outbox(world.admin_dsn, "ingest")
            rows = [row for row in said if row.id in there]
            return checkers.heard_once(rows, await controlled.heard(world))

        async def begun() -> bool:
            return len(await controlled.heard(world)) == 1

        await eventually(begun)
        psutil.Process(world.nats.pid).suspend()
        _, answers = await asyncio.gather(
            say(sender.service, received(uuid4()), received(uuid4())), sender.deliver(5)
        )
        assert bool(refused_in_time(answers)) != protected

        async def believed() -> bool:
            rows = await world.sql("ingest", "SELECT max(position) FROM outbox")
            return bool(sender.service.relay.position >= rows[0][0])

        if not protected:
            await eventually(believed)
        world.nats.kill()
        world.nats.start()

        async def accepted() -> bool:
            return bool(await sender.deliver(1)) and sender.answers[-1].status == 200

        await eventually(accepted)
        await say(sender.service, received(uuid4()))
        within = 8 if protected else 2
        for complain in (lost, untold, unheard):
            verdict(await settled(complain, within), protected=protected)


async def test_a_door_that_waits_for_ever_is_complained_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The protected case is above."""
    monkeypatch.setattr(publisher, "PUBLISH_TIMEOUT_S", 60)
    await world.apply()
    async with platform(world) as sender:
        nats = psutil.Process(world.nats.pid)
        nats.suspend()
        delivering = asyncio.create_task(sender.deliver(2))
        await asyncio.wait({delivering}, timeout=3.1)
        nats.resume()
        verdict(refused_in_time(await delivering), protected=False)


# ---------------------------------------------------------------- PostgreSQL


@both
async def test_postgresql_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """The door does not need it; what it let in is taken in when it is back."""
    await world.apply()
    if not protected:
        store = Receiver.store

        async def recorded(self: Receiver, *args: Any, **named: Any) -> bytes:
            async with self._service.db.connection() as conn:
                await conn.execute("SELECT 1")
            return await store(self, *args, **named)

        monkeypatch.setattr(Receiver, "store", recorded)
        monkeypatch.setattr(pool, "RECONNECT_TIMEOUT_S", 0.2)
    limit = f"ALTER DATABASE {world.database} CONNECTION LIMIT "
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ingest'"
    async with platform(world) as sender:
        sender.service.db.pool.timeout = 0.5
        assert let_in(await sender.deliver(1)) == []
        await world.sql("ingest", limit + "0")
        await world.sql("ingest", end)
        complaints = let_in(await sender.deliver(5))
        await world.sql("ingest", limit + "-1")
        verdict(complaints, protected=protected)

        async def lost() -> Sequence[str]:
            return checkers.kept(sender.accepted, [i for (i,) in await world.sql("ingest", STORED)])

        assert await settled(lost, 10) == []


@both
async def test_postgresql_is_killed_in_the_middle_of_a_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """The position moves with what was done, or not at all."""
    await controlled.prepare(world)
    if not protected:
        broken.position_moved_apart(monkeypatch)
    dying = iter(range(2))

    async def keep(tx: Tx, facts: Sequence[Fact]) -> None:
        await controlled.keep(tx, facts)
        if next(dying, None) is not None:
            with pytest.raises(psycopg.OperationalError):
                await tx.run("SELECT pg_terminate_backend(pg_backend_pid())")
            raise psycopg.OperationalError("killed")

    async with (
        controlled.chassis_service(world, "tickets", Reader("INGEST", keep)),
        controlled.chassis_service(world, "ingest") as sayer,
    ):
        await say(sayer, *[opened(uuid4()) for _ in range(20)])
        said = await records.outbox(world.admin_dsn, "ingest")

        async def unheard() -> Sequence[str]:
            return checkers.heard_once(said, await controlled.heard(world))

        verdict(await settled(unheard, 10 if protected else 3), protected=protected)


@both
async def test_a_frozen_leader_says_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """PostgreSQL ends a session that is silent for too long, and its offices are free."""
    silence = " SET idle_session_timeout = '10s'"
    assert silence in pool.KEEPALIVE_SETTINGS
    shorter = silence.replace("10s", "1s") if protected else " SELECT 1"
    lively = pool.KEEPALIVE_SETTINGS
    monkeypatch.setattr(pool, "KEEPALIVE_SETTINGS", lively.replace(silence, shorter))
    await controlled.prepare(world)
    frozen = await Database(world.dsn("tickets")).dedicated_connection()
    for slots in ("00-07", "08-15"):
        office = lock_key("reader", f"tickets/reader.ingest.{slots}")
        await frozen.execute("SELECT pg_advisory_lock(%s)", (office,))
    monkeypatch.setattr(pool, "KEEPALIVE_SETTINGS", lively)
    async with controlled.hearing(world), controlled.chassis_service(world, "ingest") as sayer:
        await say(sayer, opened(uuid4()))
        said = await records.outbox(world.admin_dsn, "ingest")

        async def unheard() -> Sequence[str]:
            return checkers.heard_once(said, await controlled.heard(world))

        verdict(await settled(unheard, 10 if protected else 3), protected=protected)
    await frozen.close()


# ---------------------------------------------------------------- full streams


async def narrow(world: World, stream: str, max_bytes: int, **more: Any) -> None:
    nc = await world.as_admin()
    js = nc.jetstream()
    config = (await js.stream_info(stream)).config
    await js.update_stream(config.evolve(max_bytes=max_bytes, **more))
    await nc.close()


@both
async def test_inbound_is_full(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """What does not fit is refused; otherwise it would push out what was accepted before it."""
    await world.apply()
    taking_in = asyncio.Event()
    on_deliveries = IntakeHandlers.on_deliveries

    async def later(self: IntakeHandlers, *args: Any) -> None:
        await taking_in.wait()
        await on_deliveries(self, *args)

    monkeypatch.setattr(IntakeHandlers, "on_deliveries", later)
    policy = DiscardPolicy.NEW if protected else DiscardPolicy.OLD
    await narrow(world, "INBOUND", 4_000, discard=policy)
    async with platform(world) as sender:
        for _ in range(12):
            await sender.deliver(1)
        full = [answer for answer in sender.answers if answer.status != 200]
        verdict([] if protected else checkers.kept(sender.accepted, await stored(world)),
                protected=protected)  # fmt: skip
        if protected:
            assert refused_in_time(full) == []
            await narrow(world, "INBOUND", 1_000_000)
            assert let_in(await sender.deliver(1)) == []
        taking_in.set()

        async def lost() -> Sequence[str]:
            return checkers.kept(sender.accepted, [i for (i,) in await world.sql("ingest", STORED)])

        assert bool(await settled(lost, 5 if protected else 0)) != protected


@both
async def test_a_service_s_own_stream_is_full(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """The relay that is refused makes room: PostgreSQL has what it takes away."""
    await world.apply()
    if not protected:
        broken.no_trimming(monkeypatch)
    await narrow(world, "INGEST", 20_000)
    async with controlled.chassis_service(world, "ingest") as sayer:
        for _ in range(3):
            await say(sayer, *[opened(uuid4()) for _ in range(40)])
        said = await records.outbox(world.admin_dsn, "ingest")

        async def untold() -> Sequence[str]:
            ever = (await sayer.bus.relay.js.stream_info("INGEST")).state.last_seq
            return checkers.told_once(said, await told(world), ever)

        verdict(await settled(untold, 10 if protected else 2), protected=protected)


@both
async def test_a_reader_comes_too_late(
    world: World, monkeypatch: pytest.MonkeyPatch, *, protected: bool
) -> None:
    """Each fact names the one before it, so it is noticed that some are gone."""
    await controlled.prepare(world)
    if not protected:
        broken.no_chain(monkeypatch)
    async with controlled.chassis_service(world, "ingest") as sayer:
        await say(sayer, *[opened(uuid4()) for _ in range(40)])
        said = await records.outbox(world.admin_dsn, "ingest")

        async def untold() -> Sequence[str]:
            return checkers.told_once(said, await told(world))

        assert await settled(untold, 10) == []
        await sayer.bus.relay.js.purge_stream("INGEST", keep=3)
        async with controlled.hearing(world):

            async def unheard() -> Sequence[str]:
                return checkers.heard_once(said, await controlled.heard(world))

            verdict(await settled(unheard, 10 if protected else 2), protected=protected)
