"""A full stream refuses what is new: the relay makes room, or waits and says so."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from saying import opened, received, say

from chassis.app import build
from chassis.messaging import replay
from chassis.messaging.reader import Reader
from chassis.messaging.relay import Relay
from chassis.service import Service
from chassis.settings import Settings
from chassis.testing import eventually, running

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    import pytest
    from world import World

    from chassis.messaging.transaction import Tx
    from trunkline_contracts.fact import Fact


@asynccontextmanager
async def ingest(world: World) -> AsyncGenerator[Service]:
    await world.apply()
    app = build("ingest", world.settings("ingest", Settings))
    async with running(app):
        yield app.state.service


async def narrow(world: World, stream: str, max_bytes: int, **more: float) -> None:
    nc = await world.as_admin()
    js = nc.jetstream()
    config = (await js.stream_info(stream)).config.evolve(max_bytes=max_bytes, **more)
    await js.update_stream(config)
    await nc.close()


async def told(service: Service, upto: int) -> None:
    async def enough() -> bool:
        assert service.relay.position == upto, service.relay.alarm
        return True

    await eventually(enough)


async def test_what_is_old_gives_way_to_what_is_new(world: World) -> None:
    """Batches larger than the room there is become smaller; the order is kept."""
    async with ingest(world) as service:
        await narrow(world, "INGEST", 20_000)
        for _ in range(3):
            await say(service, *[opened(uuid4()) for _ in range(100)])
        await told(service, 300)
        state = (await service.bus.relay.js.stream_info("INGEST")).state

        assert state.last_seq == 300
        assert 0 < state.messages < 20
        assert service.relay.alarm is None
        last = await service.bus.relay.js.get_msg("INGEST", seq=300)
        assert (last.headers or {})["Trunkline-Position"] == "300"


async def test_where_no_room_can_be_made_the_relay_waits_and_says_so(world: World) -> None:
    async with ingest(world) as service:
        await say(service, opened(uuid4()))
        await told(service, 1)
        await narrow(world, "INGEST", 1)
        await say(service, *[opened(uuid4()) for _ in range(30)])

        async def alarmed() -> bool:
            return "maximum bytes exceeded" in str(service.relay.alarm)

        await eventually(alarmed)
        assert "refuses" in str(service._relay_alarm())
        assert service.relay.position == 1
        await narrow(world, "INGEST", 1_000_000)
        await told(service, 31)
        assert service.relay.alarm is None


async def test_a_replay_that_does_not_fit_goes_on_where_it_broke_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the relay, which answers it, is not stopped by that."""
    monkeypatch.setattr(replay, "MAX_BATCH", 4)
    monkeypatch.setattr(replay, "REQUEST_TIMEOUT_S", 0.3)
    key, run, terms = uuid4(), Relay.run, 0
    heard: list[int] = []

    async def counted(self: Relay) -> None:
        nonlocal terms
        terms += self.service == "ingest"
        await run(self)

    monkeypatch.setattr(Relay, "run", counted)

    async def hear(_: Tx, facts: Sequence[Fact]) -> None:
        heard.extend(fact.sequence for fact in facts)

    async with ingest(world) as service:
        for _ in range(40):
            await say(service, received(key))
        await told(service, 40)
        await service.bus.relay.js.purge_stream("INGEST", keep=1)
        await narrow(world, "REDRIVE", 20_000, max_age=1, duplicate_window=1)
        given = world.settings("tickets", Settings)
        app = build("tickets", given, readers=lambda _: [Reader("INGEST", hear)])
        async with running(app):

            async def all_heard() -> bool:
                return len(heard) == 40

            await eventually(all_heard)
            hearer: Service = app.state.service
            answered = (await hearer.bus.js.stream_info("REDRIVE")).state.last_seq
    assert heard == list(range(1, 41))
    assert answered < 40 + 16 + 8
    assert terms == 1
