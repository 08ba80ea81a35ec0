"""`trunkline tail`: print the facts of the domain streams as they are published."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Coroutine

from trunkline.facts import StreamFact
from trunkline.filters import FactFilter
from trunkline.following import follow_facts
from trunkline.instance import Instance


def tail(instance: Instance, fact_filter: FactFilter, *, as_json: bool, count: int | None) -> None:
    """Print facts until Ctrl-C, until the output pipe is closed, or until `count` were printed."""

    def print_fact(fact: StreamFact) -> None:
        line = fact.wire.decode() if as_json else fact.line()
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        asyncio.run(_run_until_closed(_follow(instance, fact_filter, print_fact, count)))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # The pipe is closed: discard the buffered output, so that Python reports no error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _follow(
    instance: Instance,
    fact_filter: FactFilter,
    print_fact: Callable[[StreamFact], None],
    count: int | None,
) -> None:
    count_printed = 0
    async with follow_facts(instance, fact_filter) as facts:
        async for fact in facts:
            print_fact(fact)
            count_printed += 1
            if count_printed == count:
                return


async def _run_until_closed(printing: Coroutine[None, None, None]) -> None:
    """Run until the reader closes our output pipe, which is noticed without writing to it."""
    task = asyncio.create_task(printing)
    output, is_closed = sys.stdout.fileno(), []

    def reader_gone() -> None:
        asyncio.get_running_loop().remove_reader(output)
        is_closed.append(True)
        task.cancel()

    if stat.S_ISFIFO(os.fstat(output).st_mode):
        asyncio.get_running_loop().add_reader(output, reader_gone)
    try:
        await task
    except asyncio.CancelledError:
        if not is_closed:
            raise
