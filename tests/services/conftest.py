"""What tests of ingest have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from taking_in import Ingest
from telling import Teller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import World


@pytest.fixture
async def ingest(world: World) -> AsyncGenerator[Ingest]:
    await world.apply()
    async with Teller(world) as teller:
        it = Ingest(world, teller)
        await it.start()
        try:
            yield it
        finally:
            await it.stop()
