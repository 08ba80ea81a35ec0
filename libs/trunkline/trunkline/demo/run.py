"""The demo from its start to its end: an instance of its own, the day in it, and the figures.

Long, as a day has a beginning, a course and an end.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live

from trunkline import configuration, paths, up
from trunkline.audit import Balance
from trunkline.demo import customers
from trunkline.demo.client import Desk
from trunkline.demo.day import Day, plan, workspace
from trunkline.demo.operators import Person
from trunkline.demo.progress import SERVICES, Scene
from trunkline.demo.report import Ending
from trunkline.demo.screen import Screen
from trunkline.facts import Seen
from trunkline.filters import NOW, Wanted
from trunkline.following import following
from trunkline.instance import Instance
from trunkline.paths import CannotStart

OFFSETS = (1, 2, 3, 4, 5, 9, 22, 23, 25, 26, 32)
ELSEWHERE = (
    "NATS_URL", "NATS_MONITOR_URL", "NATS_CREDS_DIR", "DATABASE_URL", "SERVICE_DATABASE_URL",
    "JWKS_URL", "SINK_URL",
)  # fmt: skip
"""What may point at somebody's real servers: a demo has nothing to do there."""
OVERTIME = 90.0
"""Seconds the desk may take to finish after the last customer has written."""
FATES = 10.0
"""Seconds the last answers may take on their way."""
LOOKS = 0.25


def demo(seconds: float, seed: int, *, keep: bool, console: Console) -> bool:
    """Show a day of so many seconds; gives whether it ended as days should."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to stop, it clears up too
    for name in ELSEWHERE:
        os.environ.pop(name, None)
    with _instance(console, keep=keep) as instance:
        ending = asyncio.run(_day(instance, plan(seconds, seed), console))
        console.print(ending.shown())
    return not ending.faults


@contextmanager
def _instance(console: Console, *, keep: bool) -> Iterator[Instance]:
    """Run an instance in a folder of its own, and leave nothing behind unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="trunkline-demo-"))
    instance = Instance(folder, _free_base())
    with ExitStack() as at_the_end:
        at_the_end.callback(_clear, folder)
        console.print("opening the desk: NATS, PostgreSQL and five services of its own …")
        try:
            up.detach(instance, [f"--data={folder}", f"--port-base={instance.base}"])
        except CannotStart:
            at_the_end.pop_all()
            _stop(folder)  # its logs stay: the reason names one
            raise
        yield instance
        if keep:
            at_the_end.pop_all()
            console.print(f"it goes on in {folder}; to end it: trunkline down --data {folder}")


def _stop(folder: Path) -> None:
    up.down(folder)
    for home in ("nats", "postgres"):
        paths.abandon(folder / home)


def _clear(folder: Path) -> None:
    _stop(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _free_base() -> int:
    """Give a port base none of whose ports is taken."""
    while True:
        base = random.randrange(20000, 30000, 100)  # noqa: S311 (a port, not a secret)
        with ExitStack() as stack:
            try:
                for offset in OFFSETS:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", base + offset))
            except OSError:
                continue
        return base


async def _day(instance: Instance, day: Day, console: Console) -> Ending:
    await configuration.apply(instance, workspace(day))
    desk, scene = Desk(instance), Scene()
    await desk.knows("contracts")
    screen = Screen(day, scene)
    async with following(instance, Wanted(SERVICES, (), (), NOW)) as facts:
        try:
            with _shown(screen, console) as show:
                delivered = await _lived(desk, day, scene, _watch(facts, scene, show))
        except ExceptionGroup as several:
            if isinstance(reason := several.exceptions[0], CannotStart):
                raise reason from None
            raise
    sent = await desk.http.get(desk.url("sink", "/sent"))
    received = Counter(item["channel"] for item in sent.json()["items"])
    await desk.http.aclose()
    return Ending(scene, await Balance.of(instance), delivered, received)


async def _lived(desk: Desk, day: Day, scene: Scene, watching: Coroutine[None, None, None]) -> int:
    """Let everybody do what they do until all is done; gives how many deliveries were made."""
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for_ever = [group.create_task(watching)]
        for operator in day.operators:
            at_work = Person(desk, day, operator).work(began, lambda: _broken(scene, day))
            for_ever.append(group.create_task(at_work))
        writing = [
            group.create_task(customers.write(desk, customer, began)) for customer in day.customers
        ]
        delivered = sum([await one for one in writing])
        await _all_done(desk, scene)
        for task in for_ever:
            task.cancel()
    return delivered


async def _watch(facts: AsyncGenerator[Seen], scene: Scene, show: Callable[[Seen], None]) -> None:
    async for seen in facts:
        if scene.see(seen):
            show(seen)


async def _broken(scene: Scene, day: Day) -> None:
    """Wait until the promise that is to be broken is: a slow machine is no excuse."""
    for _ in range(round((OVERTIME + day.seconds) / 4 / LOOKS)):
        if scene.counts["target_breached"]:
            return
        await asyncio.sleep(LOOKS)


async def _all_done(desk: Desk, scene: Scene) -> None:
    """Wait until all that was written is closed, and it is known what became of each answer."""
    loop = asyncio.get_running_loop()
    until = loop.time() + OVERTIME
    while loop.time() < until:
        ledger = await desk.ask("ingest", "/v1/ledger")
        if not ledger["pending"] and scene.closed == ledger["outcomes"].get("opened", 0):
            if scene.answers_known:
                return
            until = min(until, loop.time() + FATES)
        await asyncio.sleep(LOOKS)


@contextmanager
def _shown(screen: Screen, console: Console) -> Iterator[Callable[[Seen], None]]:
    """Show the day live, or on anything but a terminal tell it in lines."""
    if not console.is_terminal:
        yield lambda seen: print(screen.line(seen), flush=True)
        return
    with Live(screen, console=console, screen=True, refresh_per_second=8):
        yield lambda _: None
