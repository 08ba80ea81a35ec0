"""A load, a nemesis, and the judgement of what they left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from faults.judged import judge

if TYPE_CHECKING:
    from faults.load import Load
    from faults.town import Town

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
