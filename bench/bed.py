"""Servers without services: real NATS and PostgreSQL that write before they acknowledge."""

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

from chassis.messaging.reader import Loop, Reader
from trunkline.provision import provision_postgres, write_files
from trunkline.servers import Nats, Postgres
from trunkline.serving import rest_collector
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
MOVE = "UPDATE projected_up_to SET position = %s WHERE position < %s"


@contextmanager
def bed(data: Path) -> Iterator[World]:
    """Start both, provisioned."""
    data.mkdir(parents=True)
    write_files(data, the_plan(1), port=-1, monitor_port=-1)
    with Postgres(data / "postgres", 0, "admin") as postgres:
        asyncio.run(provision_postgres(postgres.url, data / "creds", the_plan()))
        with Nats(data / "nats.conf", data / "nats") as nats:
            asyncio.run(provision_nats(nats, data / "creds", 1))
            database = postgres.url.rsplit("/", 1)[1]
            yield World(data, postgres, nats, database, data / "creds")


async def single_inserts(world: World, seconds: float = 1.5) -> float:
    """The yardstick: one row, one INSERT, one commit, one connection; gives rows per second."""
    async with await psycopg.AsyncConnection.connect(world.admin_dsn, autocommit=True) as conn:
        await conn.execute("CREATE TABLE IF NOT EXISTS yardstick (id bigserial, body bytea)")
        body, n, began = b"x" * 230, 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            await conn.execute("INSERT INTO yardstick (body) VALUES (%b)", (body,), prepare=True)
            n += 1
        return n / (time.perf_counter() - began)


async def timed(work: Callable[[], Awaitable[int]]) -> float:
    """Give how many per second a piece of work does."""
    began = time.perf_counter()
    return await work() / (time.perf_counter() - began)


async def compared(
    ours: Callable[[], Awaitable[float]], theirs: Callable[[], Awaitable[float]]
) -> AsyncIterator[tuple[float, float]]:
    """Measure both in turn, so that what disturbs one disturbs the other; as in a service."""
    rest_collector()
    for _ in range(ROUNDS):
        yield await ours(), await theirs()


def figures(rounds: list[tuple[float, float]], target: float | None, **more: Any) -> dict[str, Any]:
    """Say it as all benches do."""
    return {
        "ratio": round(statistics.median(a / b for a, b in rounds), 2),
        "target": target,
        "ours_per_s": round(statistics.median(a for a, _ in rounds)),
        "yardstick_per_s": round(statistics.median(b for _, b in rounds)),
        **more,
    }


async def heard(service: Service, reader: Reader, end: int, things: int) -> int:
    """Have a reader hear its stream up to a place; gives how many things that were."""
    loop = Loop(service, reader, tuple(range(SLOTS)))
    running = asyncio.create_task(loop.run())
    while max(loop._positions.stored.values()) < end:  # noqa: SLF001 (watched)
        await asyncio.sleep(0.002)
        if running.done():
            running.result()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return things


async def singly(world: World) -> float:
    """The yardstick of readers: upsert one row and move one position per transaction."""
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
                await conn.execute(MOVE, (n, n), prepare=True)
                await conn.execute(UPSERT, (uuid4(), 1, "general", None), prepare=True)
        return n / (time.perf_counter() - began)
