"""The gateway, against a bare ASGI endpoint that only publishes to JetStream: target ≥ 0.5.

Intake runs in the same process at the same time. The four other services are suspended during the
measurement, because their work does not belong to the gateway; a second figure is measured while
they run.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import psutil
from desk import update

from bench.costs import cost
from bench.wire import closed_loop, request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from desk import Desk

ROUNDS, REQUESTS, CONNECTIONS = 5, 3000, 64
IDLE = 0.2
"""Processor time per second of five idle services, in seconds."""
_ids = itertools.count(10_000_000)


def run(desk: Desk) -> dict[str, Any]:
    """Measure the gateway and the bare endpoint alternately."""
    port = desk.base + 60
    bare = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "bench.bare",
            str(port),
            desk.status["nats"]["url"],
            str(desk.data / "creds"),
        ],
        env={**os.environ},
    )
    try:
        _await(f"http://127.0.0.1:{port}/")
        return asyncio.run(_rounds(desk, port))
    finally:
        bare.terminate()
        bare.wait()


def _await(url: str) -> None:
    for _ in range(100):
        try:
            httpx.get(url)
        except httpx.TransportError:
            asyncio.run(asyncio.sleep(0.05))
        else:
            return


async def _rounds(desk: Desk, bare: int) -> dict[str, Any]:
    secret = desk.secrets["TELEGRAM_MAIN_SECRET"]
    services = {status["name"]: psutil.Process(status["pid"]) for status in desk.status["services"]}
    others = [process for name, process in services.items() if name != "ingest"]
    ours, theirs, all_running = [], [], []
    for _ in range(ROUNDS):
        theirs.append(await closed_loop(bare, _requests(secret, REQUESTS), CONNECTIONS))
        with _suspended(others):
            ours.append(await closed_loop(desk.base + 1, _requests(secret, REQUESTS), CONNECTIONS))
        await _rest(services)
        all_running.append(
            await closed_loop(desk.base + 1, _requests(secret, REQUESTS), CONNECTIONS)
        )
        await _rest(services)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "gateway": {
            "ratio": round(statistics.median(ratios), 2),
            "target": 0.5,
            "gateway_per_s": round(statistics.median(ours)),
            "bare_per_s": round(statistics.median(theirs)),
            "while_all_work_per_s": round(statistics.median(all_running)),
            "connections": CONNECTIONS,
        }
    }


@contextlib.contextmanager
def _suspended(processes: list[psutil.Process]) -> Iterator[None]:
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


async def _rest(services: dict[str, psutil.Process]) -> None:
    """Wait until all services are idle, so that this round does not burden the next."""
    busy, pids = 1.0, {name: [process.pid] for name, process in services.items()}
    while busy > IDLE:
        before = sum(cost(pids).cpu.values())
        await asyncio.sleep(1)
        busy = sum(cost(pids).cpu.values()) - before


def _requests(secret: str, n: int) -> list[bytes]:
    made = []
    for _ in range(n):
        number = next(_ids)
        body = update(number, 5_000_000 + number % 50, "How much does it cost?")
        path = "/channels/telegram/main"
        made.append(request("POST", path, body, X_Telegram_Bot_Api_Secret_Token=secret))
    return made
