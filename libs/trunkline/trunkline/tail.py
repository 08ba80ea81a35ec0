"""`trunkline tail`: prints the domain streams' facts as they happen."""

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
    """Print facts until Ctrl-C, until nobody reads any more, or until there were enough."""

    def print_fact(fact: StreamFact) -> None:
        line = fact.wire.decode() if as_json else fact.line()
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        asyncio.run(_run_until_closed(_follow(instance, fact_filter, print_fact, count)))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # nobody reads: what is left in the buffer goes nowhere, without a complaint at exit
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
    """Work until somebody closes the pipe we write to; that is noticed before the next fact."""
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
