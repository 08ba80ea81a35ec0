"""The door, against a bare ASGI endpoint that only publishes to JetStream: target ≥ 0.5."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
from desk import update

from bench.wire import closed_loop, request

if TYPE_CHECKING:
    from desk import Desk

ROUNDS, REQUESTS, CONNECTIONS = 5, 3000, 64
_ids = itertools.count(10_000_000)


def run(desk: Desk) -> dict[str, Any]:
    """Measure both in turn."""
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
    ours, theirs = [], []
    for _ in range(ROUNDS):
        requests = _requests(secret, REQUESTS)
        theirs.append(await closed_loop(bare, requests, CONNECTIONS))
        ours.append(await closed_loop(desk.base + 1, _requests(secret, REQUESTS), CONNECTIONS))
        await asyncio.sleep(2)  # let intake catch up, so that it does not eat the next round
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "door": {
            "ratio": round(statistics.median(ratios), 2),
            "target": 0.5,
            "door_per_s": round(statistics.median(ours)),
            "bare_per_s": round(statistics.median(theirs)),
            "connections": CONNECTIONS,
        }
    }


def _requests(secret: str, n: int) -> list[bytes]:
    made = []
    for _ in range(n):
        number = next(_ids)
        body = update(number, 5_000_000 + number % 50, "How much does it cost?")
        path = "/channels/telegram/main"
        made.append(request("POST", path, body, X_Telegram_Bot_Api_Secret_Token=secret))
    return made
