"""Everything is delivered five times out of order while every service is killed or frozen."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

import psutil
import pytest

from faults.load import Load
from faults.records import query
from faults.town import SERVICES
from faults.weather import weather

if TYPE_CHECKING:
    from faults.town import Town

pytestmark = pytest.mark.timeout(200, func_only=True)  # ten processes share two processors

LEADERS = """
SELECT count(*) FILTER (WHERE a.state_change < now() - interval '4 seconds'),
    count(*) FILTER (WHERE a.state_change >= now() - interval '4 seconds')
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted"""
"""Offices whose leader has said nothing for a while, and offices whose leader is well."""

OFFICES = 30
"""Five relays, the workspace, and two groups each of twelve readers."""


async def kill_leaders(town: Town, rounds: int, pause: float) -> None:
    """Kill -9 of whoever leads, service after service; again when everybody is back."""
    for _ in range(rounds):
        await town.ready()
        for service in SERVICES:
            await asyncio.sleep(pause)
            await town.kill(service)


async def freeze_leaders(town: Town, turns: Sequence[Sequence[str]]) -> None:
    """Freeze whoever leads until others have taken over, and let them go on where they were."""
    for services in turns:
        await town.ready()
        frozen = [await town.leader(service) for service in services]
        await asyncio.sleep(0.5)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(5)
            await taken_over(town)
            assert not {await town.leader(service) for service in services} & set(frozen)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)


async def naps(town: Town, seconds: float) -> None:
    """Freeze one replica of everything, then the other, too shortly for it to lose its offices."""
    for n in range(2):
        await town.ready()
        await asyncio.sleep(0.5)
        with town.frozen(*(psutil.Process(town.pids(service)[n]) for service in SERVICES)):
            await asyncio.sleep(seconds)


async def taken_over(town: Town) -> None:
    """Wait until every office has a leader who is well."""
    for _ in range(200):
        frozen, well = (await query(town.dsn, LEADERS))[0]
        if not frozen and well >= OFFICES:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"dead and living leaders: {(await query(town.dsn, LEADERS))[0]}")


async def test_killed_services_lose_nothing_and_repeat_nothing(town: Town) -> None:
    load = Load(town, chats=24)
    await weather(town, load, lambda: kill_leaders(town, rounds=1, pause=0.3))


async def test_frozen_leaders_come_back_too_late_to_do_harm(town: Town) -> None:
    """And before that every replica stood still for a moment, and kept what it had."""

    async def nemesis() -> None:
        await naps(town, 2)
        await freeze_leaders(town, [SERVICES])

    await weather(town, Load(town, chats=10, chat_from=50_000, endless=True), nemesis)


@pytest.mark.soak
@pytest.mark.timeout(1700, func_only=True)
async def test_two_thousand_requests_in_a_long_storm(town: Town) -> None:
    """A thousand customers write twice; everybody is killed in turn, then frozen in turn."""

    async def nemesis() -> None:
        await kill_leaders(town, rounds=6, pause=3)
        await naps(town, 4)
        await freeze_leaders(town, [[service] for service in SERVICES])

    await weather(town, Load(town, chats=1000, messages=2, chat_from=200_000), nemesis)
