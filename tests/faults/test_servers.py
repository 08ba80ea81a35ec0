"""NATS and PostgreSQL are killed, frozen and kept away under load; nobody helps the services.

One load for all of it: `up` starts again what was killed, and the services find their way back.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from faults.load import Load
from faults.recovery import Watch, let_in, recovered, refused_in_time, serves
from faults.weather import weather

if TYPE_CHECKING:
    from faults.town import Town

pytestmark = pytest.mark.timeout(200, func_only=True)  # ten processes share two processors


async def killed(town: Town, server: str) -> None:
    """Kill -9, and back at once."""
    town.kill_server(server)
    await serves(town, server)
    print(f"\n{server} killed: all goes on after {await recovered(town):.1f} s")


async def nats_frozen(town: Town, watch: Watch, seconds: float) -> None:
    """Stopped as it stands: sockets stay open, and nobody answers."""
    began = time.monotonic()
    with town.frozen(town.server("nats")):
        await asyncio.sleep(seconds)
        ended = time.monotonic()
    took = await recovered(town)
    # whoever was asked last may be let in when it goes on
    assert refused_in_time(watch.between(began + 0.1, ended - 3)) == []
    print(f"\nnats frozen for {seconds:.0f} s: all goes on after {took:.1f} s")


async def nats_gone(town: Town, watch: Watch, seconds: float) -> None:
    """Away altogether: nothing listens."""
    with town.gone("nats"):
        began = time.monotonic()
        await asyncio.sleep(seconds)
        ended = time.monotonic()
    await serves(town, "nats")
    took = await recovered(town)
    assert refused_in_time(watch.between(began, ended - 1)) == []
    print(f"\nnats away for {seconds:.0f} s: all goes on after {took:.1f} s")


async def postgres_gone(town: Town, watch: Watch, seconds: float) -> None:
    """Away altogether: whoever delivers notices nothing."""
    with town.gone("postgres"):
        began = time.monotonic()
        await asyncio.sleep(seconds)
        ended = time.monotonic()
    await serves(town, "postgres")
    took = await recovered(town)
    assert let_in(watch.between(began, ended)) == []
    print(f"\npostgres away for {seconds:.0f} s: all goes on after {took:.1f} s")


async def test_servers_die_and_freeze_and_everything_goes_on_alone(town: Town) -> None:
    watch = Watch(town)

    async def nemesis() -> None:
        await recovered(town, 30)
        async with watch.watching(400_000):
            await killed(town, "nats")
            await nats_frozen(town, watch, 8)
            await postgres_gone(town, watch, 3)

    load = Load(town, chats=10, messages=2, repeat=3, chat_from=400_010, endless=True)
    await weather(town, load, nemesis)


@pytest.mark.soak
@pytest.mark.timeout(1700, func_only=True)
async def test_servers_are_away_for_a_minute(town: Town) -> None:
    watch = Watch(town)

    async def nemesis() -> None:
        await recovered(town, 30)
        async with watch.watching(500_000):
            for _ in range(5):
                await killed(town, "nats")
                await killed(town, "postgres")
            await nats_frozen(town, watch, 60)
            await nats_gone(town, watch, 60)
            await postgres_gone(town, watch, 60)

    load = Load(town, chats=10, messages=2, chat_from=500_010, endless=True, patience=150)
    await weather(town, load, nemesis)
