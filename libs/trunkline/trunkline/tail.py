"""`trunkline tail`: prints the domain streams' facts as they happen."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Coroutine

from trunkline.facts import StreamFact
from trunkline.filters import FactFilter
from trunkline.following import following
from trunkline.instance import Instance


def tail(instance: Instance, wanted: FactFilter, *, as_json: bool, count: int | None) -> None:
    """Print facts until Ctrl-C, until nobody reads any more, or until there were enough."""

    def show(seen: StreamFact) -> None:
        line = seen.wire.decode() if as_json else seen.line()
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        asyncio.run(_while_read(_follow(instance, wanted, show, count)))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # nobody reads: what is left in the buffer goes nowhere, without a complaint at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _follow(
    instance: Instance, wanted: FactFilter, show: Callable[[StreamFact], None], count: int | None
) -> None:
    shown = 0
    async with following(instance, wanted) as facts:
        async for seen in facts:
            show(seen)
            shown += 1
            if shown == count:
                return


async def _while_read(work: Coroutine[None, None, None]) -> None:
    """Work until somebody closes the pipe we write to; that is noticed before the next fact."""
    task = asyncio.create_task(work)
    out, unread = sys.stdout.fileno(), []

    def left() -> None:
        asyncio.get_running_loop().remove_reader(out)
        unread.append(True)
        task.cancel()

    if stat.S_ISFIFO(os.fstat(out).st_mode):
        asyncio.get_running_loop().add_reader(out, left)
    try:
        await task
    except asyncio.CancelledError:
        if not unread:
            raise
