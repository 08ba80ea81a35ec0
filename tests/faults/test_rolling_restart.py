"""Every service is restarted under load, one replica after the other."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from faults.judged import arrived, judge
from faults.load import Load
from faults.town import SERVICES

if TYPE_CHECKING:
    from faults.town import Town

pytestmark = pytest.mark.timeout(200, func_only=True)  # ten processes share two processors

PROMPTLY = 10.0


async def roll(town: Town, service: str) -> None:
    """Restart both replicas of a service, the first when the second is ready again."""
    second = town.second[service]
    since = time.monotonic()
    second.request_stop()
    assert second.process is not None
    await asyncio.to_thread(second.process.wait, PROMPTLY)
    assert second.returncode == 0
    await asyncio.to_thread(second.start().wait, 60)

    before, _ = town.pids(service)
    os.kill(before, signal.SIGTERM)
    while town.pids(service)[0] == before:
        assert time.monotonic() - since < 60
        await asyncio.sleep(0.05)


async def roll_everything(town: Town) -> None:
    await asyncio.gather(*(roll(town, service) for service in SERVICES))
    await town.ready()


async def test_a_rolling_restart_loses_and_repeats_nothing(town: Town) -> None:
    town.heal()
    await town.ready()
    await town.online()
    before = set(town.replies)
    load = Load(town, chats=20, chat_from=300_000, repeat=2)
    began = time.monotonic()
    await load.run(roll_everything(town))
    print(f"\n{load.deliveries} deliveries, {load.refused} asked again, "
          f"{time.monotonic() - began:.1f} s")  # fmt: skip

    assert await judge(town) == {}
    sent = Counter(text for text, _ in await arrived(town))
    mine = [text for id_, text in town.replies.items() if id_ not in before]
    assert len(mine) >= 20
    assert {text: sent[text] for text in mine if sent[text] != 1} == {}
    audit = await asyncio.to_thread(town.desk.run, "audit", check=False)
    assert audit.returncode == 0, audit.stdout + audit.stderr
