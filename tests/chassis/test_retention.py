"""A stream keeps what is young and fits; the rest is in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from saying import opened, say
from world import the_plan

from chassis.app import build
from chassis.service import Service
from chassis.settings import Settings
from chassis.testing import eventually, running
from trunkline.provision import provision_streams

if TYPE_CHECKING:
    from world import World


class Calendar:
    """A clock some days ahead."""

    days = 0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)


async def told(service: Service, n: int) -> None:
    async def enough() -> bool:
        held = (await service.bus.relay.js.stream_info("INGEST")).state.messages
        assert held == n
        return True

    await eventually(enough)


async def test_what_is_too_old_goes_and_is_not_told_again(world: World) -> None:
    await world.apply()
    clock = Calendar()
    app = build("ingest", world.settings("ingest", Settings), clock=clock)
    async with running(app):
        service: Service = app.state.service
        await say(service, *[opened(uuid4()) for _ in range(30)])
        await told(service, 30)
        async with service.db.connection() as conn:
            assert await service.relay.trim(conn) == 0
            clock.days = 31
            assert await service.relay.trim(conn) == 29
        clock.days = 0
        await say(service, opened(uuid4()))
        await told(service, 2)


async def test_a_stream_made_anew_begins_where_facts_are_young_enough(world: World) -> None:
    await world.apply()
    clock = Calendar()
    app = build("ingest", world.settings("ingest", Settings), clock=clock)
    async with running(app):
        service: Service = app.state.service
        await say(service, opened(uuid4()))
        await told(service, 1)
        old = [opened(uuid4()) for _ in range(10)]
        old = [fact.model_copy(update={"time": fact.time - timedelta(days=40)}) for fact in old]
        await say(service, *old)
        await say(service, *[opened(uuid4()) for _ in range(5)])
        await told(service, 16)
        nc = await world.as_admin()
        await nc.jetstream().delete_stream("INGEST")
        await provision_streams(nc.jetstream(timeout=10), the_plan())
        await nc.close()

        await told(service, 5)
