"""What tests of ingest have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from taking_in import Ingest
from telling import Teller
from tickets_stack import Tickets, check_snapshots, is_ready

from chassis.testing import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import World


@pytest.fixture
def workspace() -> str | None:
    """What ingest works by: the example, unless a test file says otherwise."""
    return None


@pytest.fixture
async def ingest(world: World, workspace: str | None) -> AsyncGenerator[Ingest]:
    await world.apply(workspace)
    async with Teller(world) as teller:
        it = Ingest(world, teller)
        await it.start()
        try:
            yield it
        finally:
            await it.stop()


@pytest.fixture
async def tickets(world: World) -> AsyncGenerator[Tickets]:
    await world.apply()
    async with Teller(world) as teller:
        tickets = Tickets(world, teller)
        await tickets.start()
        try:
            await eventually(lambda: is_ready(tickets))
            yield tickets
            await check_snapshots(world)
        finally:
            await tickets.stack.aclose()
