"""The course of the demo: start an instance, simulate the day, print the report."""

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
from trunkline.demo.client import Client
from trunkline.demo.day import Day, plan, workspace
from trunkline.demo.operators import OperatorSimulation
from trunkline.demo.progress import STREAMS, Progress
from trunkline.demo.report import Report
from trunkline.demo.screen import Screen
from trunkline.facts import StreamFact
from trunkline.filters import NOW, FactFilter
from trunkline.following import follow_facts
from trunkline.instance import Instance
from trunkline.paths import CannotStart

PORT_OFFSETS = (1, 2, 3, 4, 5, 9, 22, 23, 25, 26, 32)
SERVER_SETTINGS = (
    "NATS_URL", "NATS_MONITOR_URL", "NATS_CREDS_DIR", "DATABASE_URL", "SERVICE_DATABASE_URL",
    "JWKS_URL", "JWT_ISSUER", "JWT_AUDIENCE", "SINK_URL",
)  # fmt: skip
"""Settings that may name real servers; the demo ignores them."""
FINISH_TIMEOUT_S = 90.0
"""How long the operators may take to finish after the last message."""
SEND_TIMEOUT_S = 10.0
"""How long the last replies may take to be sent."""
POLL_INTERVAL_S = 0.25


def demo(seconds: float, seed: int, *, keep: bool, console: Console) -> bool:
    """Run the demo; return whether the day ended as expected."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM cleans up too
    for name in SERVER_SETTINGS:
        os.environ.pop(name, None)
    with _instance(console, keep=keep) as instance:
        report = asyncio.run(_run_day(instance, plan(seconds, seed), console))
        console.print(report.render())
    return not report.faults


@contextmanager
def _instance(console: Console, *, keep: bool) -> Iterator[Instance]:
    """Run an instance in a temporary folder; remove it at the end unless `keep` is set."""
    folder = Path(tempfile.mkdtemp(prefix="trunkline-demo-"))
    instance = Instance(folder, _free_base())
    with ExitStack() as cleanup:
        cleanup.callback(_clear, folder)
        console.print("starting NATS, PostgreSQL and five services …")
        try:
            up.detach(instance, [f"--data={folder}", f"--port-base={instance.base}"])
        except CannotStart:
            cleanup.pop_all()
            _stop(folder)  # the logs stay, because the reason names one of them
            raise
        yield instance
        if keep:
            cleanup.pop_all()
            stop = f"trunkline down --data {folder}"
            console.print(f"the instance keeps running in {folder}; stop it with: {stop}")


def _stop(folder: Path) -> None:
    up.down(folder)
    for home in ("nats", "postgres"):
        paths.remove(folder / home)


def _clear(folder: Path) -> None:
    _stop(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _free_base() -> int:
    """Return a port base whose ports are all free."""
    while True:
        base = random.randrange(20000, 30000, 100)  # noqa: S311 (a port, not a secret)
        with ExitStack() as stack:
            try:
                for offset in PORT_OFFSETS:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", base + offset))
            except OSError:
                continue
        return base


async def _run_day(instance: Instance, day: Day, console: Console) -> Report:
    await configuration.apply(instance, workspace(day))
    client, progress = Client(instance), Progress()
    await client.wait_for_topic("contracts")
    screen = Screen(day, progress)
    async with follow_facts(instance, FactFilter(STREAMS, (), (), NOW)) as facts:
        try:
            with _display(screen, console) as show:
                delivered = await _simulate(client, day, progress, _watch(facts, progress, show))
        except ExceptionGroup as group:
            if isinstance(reason := group.exceptions[0], CannotStart):
                raise reason from None
            raise
    sent = await client.http.get(client.url("sink", "/sent"))
    received = Counter(item["channel"] for item in sent.json()["items"])
    await client.http.aclose()
    return Report(progress, await Balance.load(instance), delivered, received)


async def _simulate(
    client: Client, day: Day, progress: Progress, watching: Coroutine[None, None, None]
) -> int:
    """Run all customers and operators to the end of the day; return the number of deliveries."""
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        endless = [group.create_task(watching)]
        for operator in day.operators:
            work = OperatorSimulation(client, day, operator).work(
                began, lambda: _wait_for_breach(progress, day)
            )
            endless.append(group.create_task(work))
        writing = [
            group.create_task(customers.send_messages(client, customer, began))
            for customer in day.customers
        ]
        delivered = sum([await task for task in writing])
        await _wait_until_finished(client, progress)
        for task in endless:
            task.cancel()
    return delivered


async def _watch(
    facts: AsyncGenerator[StreamFact], progress: Progress, show: Callable[[StreamFact], None]
) -> None:
    async for fact in facts:
        if progress.apply(fact):
            show(fact)


async def _wait_for_breach(progress: Progress, day: Day) -> None:
    """Wait until the planned breach has happened, however slow the machine."""
    for _ in range(round((FINISH_TIMEOUT_S + day.seconds) / 4 / POLL_INTERVAL_S)):
        if progress.counts["target_breached"]:
            return
        await asyncio.sleep(POLL_INTERVAL_S)


async def _wait_until_finished(client: Client, progress: Progress) -> None:
    """Wait until every request is closed and every reply is sent or failed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + FINISH_TIMEOUT_S
    while loop.time() < deadline:
        ledger = await client.fetch("ingest", "/v1/ledger")
        if not ledger["pending"] and progress.closed == ledger["outcomes"].get("opened", 0):
            if progress.all_replies_settled:
                return
            deadline = min(deadline, loop.time() + SEND_TIMEOUT_S)
        await asyncio.sleep(POLL_INTERVAL_S)


@contextmanager
def _display(screen: Screen, console: Console) -> Iterator[Callable[[StreamFact], None]]:
    """Show the day live on a terminal, else print a line per fact."""
    if not console.is_terminal:
        yield lambda fact: print(screen.line(fact), flush=True)
        return
    with Live(screen, console=console, screen=True, refresh_per_second=8):
        yield lambda _: None
