"""Everything is delivered five times out of order while every service is killed or frozen."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from faults.judged import judge
from faults.load import Load
from faults.records import query
from faults.town import SERVICES

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

Nemesis = Callable[[], Coroutine[Any, Any, None]]


async def weather(town: Town, load: Load, nemesis: Nemesis) -> None:
    """Run a load to its end while a nemesis is at work, and judge what they left."""
    town.heal()
    await town.online()
    began, crashes = time.monotonic(), town.crashes
    await load.run(nemesis())
    seconds = time.monotonic() - began
    print(
        f"\n{load.deliveries} deliveries, {load.refused} asked again,"
        f" {town.crashes - crashes} crashes, {seconds:.1f} s"
    )
    assert await judge(town) == {}
    audit = await asyncio.to_thread(town.desk.run, "audit", check=False)
    assert audit.returncode == 0, audit.stdout + audit.stderr


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
    load = Load(town, chats=20, chat_from=50_000)
    await weather(town, load, lambda: freeze_leaders(town, [SERVICES]))


@pytest.mark.soak
@pytest.mark.timeout(1700, func_only=True)
async def test_two_thousand_requests_in_a_long_storm(town: Town) -> None:
    """A thousand customers write twice; everybody is killed in turn, then frozen in turn."""

    async def nemesis() -> None:
        await kill_leaders(town, rounds=6, pause=3)
        await freeze_leaders(town, [[service] for service in SERVICES])

    await weather(town, Load(town, chats=1000, messages=2, chat_from=200_000), nemesis)
