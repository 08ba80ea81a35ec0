"""NATS and PostgreSQL without services, with durable writes, and the reference measurements."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
from world import World, provision_nats, the_plan

from chassis.messaging.loop import Loop
from chassis.messaging.reader import Reader
from trunkline.provision import provision_postgres, write_files
from trunkline.servers import Nats, Postgres
from trunkline.serving import tune_garbage_collector
from trunkline_contracts.fact import SLOTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from chassis.service import Service

ROUNDS = 5
UPSERT = (
    "INSERT INTO projected AS p (id, version, topic, assignee) VALUES (%s, %s, %s, %s)"
    " ON CONFLICT (id) DO UPDATE SET version = EXCLUDED.version, topic = EXCLUDED.topic,"
    " assignee = EXCLUDED.assignee WHERE p.version < EXCLUDED.version"
)
MOVE_POSITION = "UPDATE projected_up_to SET position = %s WHERE position < %s"


@contextmanager
def bed(data: Path) -> Iterator[World]:
    """Start and provision both servers."""
    data.mkdir(parents=True)
    write_files(data, the_plan(1), port=-1, monitor_port=-1)
    with Postgres(data / "postgres", 0, "admin") as postgres:
        asyncio.run(provision_postgres(postgres.url, data / "creds", the_plan()))
        with Nats(data / "nats.conf", data / "nats") as nats:
            asyncio.run(provision_nats(nats, data / "creds", 1))
            database = postgres.url.rsplit("/", 1)[1]
            yield World(data, postgres, nats, database, data / "creds")


async def single_inserts(world: World, seconds: float = 1.5) -> float:
    """Measure the reference for writes: one row per commit on one connection; rows per second."""
    async with await psycopg.AsyncConnection.connect(world.admin_dsn, autocommit=True) as conn:
        await conn.execute("CREATE TABLE IF NOT EXISTS yardstick (id bigserial, body bytea)")
        body, n, began = b"x" * 230, 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            await conn.execute("INSERT INTO yardstick (body) VALUES (%b)", (body,), prepare=True)
            n += 1
        return n / (time.perf_counter() - began)


async def rate(work: Callable[[], Awaitable[int]]) -> float:
    """Return the number of items per second that `work` processes."""
    began = time.perf_counter()
    return await work() / (time.perf_counter() - began)


async def measure_in_turn(
    ours: Callable[[], Awaitable[float]], theirs: Callable[[], Awaitable[float]]
) -> AsyncIterator[tuple[float, float]]:
    """Measure both alternately, so that a disturbance affects both."""
    tune_garbage_collector()
    for _ in range(ROUNDS):
        yield await ours(), await theirs()


def summarise(
    rounds: list[tuple[float, float]], target: float | None, **more: Any
) -> dict[str, Any]:
    """Return the common figures of a benchmark."""
    return {
        "ratio": round(statistics.median(a / b for a, b in rounds), 2),
        "target": target,
        "ours_per_s": round(statistics.median(a for a, _ in rounds)),
        "yardstick_per_s": round(statistics.median(b for _, b in rounds)),
        **more,
    }


async def consume(service: Service, reader: Reader, end: int, count: int) -> int:
    """Run a reader up to position `end`; return `count`, the number of items until there."""
    loop = Loop(service, reader, tuple(range(SLOTS)))
    running = asyncio.create_task(loop.run())
    while max(loop._positions.stored.values()) < end:  # noqa: SLF001 (polled for the benchmark)
        await asyncio.sleep(0.002)
        if running.done():
            running.result()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return count


async def single_row_transactions(world: World) -> float:
    """Measure the reference for readers: one row and one position per transaction."""
    async with await psycopg.AsyncConnection.connect(world.admin_dsn, autocommit=True) as conn:
        await conn.execute(
            "CREATE TABLE IF NOT EXISTS projected"
            " (id uuid PRIMARY KEY, version bigint, topic text, assignee text)"
        )
        await conn.execute("CREATE TABLE IF NOT EXISTS projected_up_to (position bigint)")
        await conn.execute("INSERT INTO projected_up_to VALUES (0)")
        n, began = 0, time.perf_counter()
        while time.perf_counter() - began < 1.5:
            n += 1
            async with conn.transaction():
                await conn.execute(MOVE_POSITION, (n, n), prepare=True)
                await conn.execute(UPSERT, (uuid4(), 1, "general", None), prepare=True)
        return n / (time.perf_counter() - began)
