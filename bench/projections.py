"""A reader's projection, from stream to commit, against one row per transaction: ≥ 5.

The reader is notify's of TICKETS, with everything the inner loop does: pulled, understood, the
position moved, requests and bells written, and told; no webhook wants to know. The yardstick
upserts one row and moves one position per transaction, facts ready in memory.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
from ruamel.yaml import YAML
from world import EXAMPLE

from bench.bed import compared, figures, timed
from bench.matcher import _opened, now
from chassis.provision import connect_as
from chassis.reader import Loop
from chassis.relay import message
from chassis.service import Service
from notify.handlers import Desk, readers
from notify.settings import Settings
from notify.webhooks.endpoints import Endpoints
from notify.webhooks.intake import Intake
from trunkline_contracts import AssigneeChanged, Fact
from trunkline_contracts.fact import SLOTS, slot_of

if TYPE_CHECKING:
    from world import World

REQUESTS, BATCH = 2500, 500
UPSERT = (
    "INSERT INTO projected AS p (id, version, topic, assignee) VALUES (%s, %s, %s, %s)"
    " ON CONFLICT (id) DO UPDATE SET version = EXCLUDED.version, topic = EXCLUDED.topic,"
    " assignee = EXCLUDED.assignee WHERE p.version < EXCLUDED.version"
)
MOVE = "UPDATE projected_up_to SET position = %s WHERE position < %s"


class Stream:
    """Fills TICKETS as its relay would."""

    def __init__(self) -> None:
        self.position = 0
        self.previous = [0] * SLOTS

    async def tell(self, world: World) -> int:
        """Publish lives of two facts; gives the last position."""
        nc = await connect_as("tickets-relay", world.nats.url, world.creds)
        js = nc.jetstream(timeout=10)
        facts: list[Fact] = [_opened() for _ in range(REQUESTS)]
        facts += [_assigned(fact.request_id) for fact in facts]  # type: ignore[attr-defined]
        for start in range(0, len(facts), BATCH):
            batch, id_ = facts[start : start + BATCH], uuid4().hex
            for n, fact in enumerate(batch, 1):
                self.position += 1
                slot = slot_of(fact.subject)
                row = (self.position, fact.subject, slot, fact.sequence, fact.type, fact.body())
                subject, data, headers = message(row, self.previous[slot])
                self.previous[slot] = self.position
                headers |= {"Nats-Batch-Id": id_, "Nats-Batch-Sequence": str(n)}
                if n < len(batch):
                    await nc.publish(subject, data, headers=headers)
                else:
                    await js.publish(subject, data, headers=headers | {"Nats-Batch-Commit": "1"})
        await nc.close()
        return self.position


async def run(world: World) -> dict[str, Any]:
    """Measure both in turn."""
    document = YAML(typ="safe", pure=True).load(EXAMPLE.read_text())
    await world.apply(json.dumps(document | {"webhooks": {}}))
    service = Service("notify", world.settings("notify", Settings))
    await service.db.open()
    await service.bus.open()
    service.background(lambda: service.workspaces.follow(service.bus.own), "the workspace")
    await service.workspaces.wait(1)
    intake = Intake(Endpoints(service.workspaces, ""), lambda *_: None)
    desk = Desk(lambda _: None, intake, lambda *_: (), lambda _: None)
    reader, stream = readers(desk)[0], Stream()

    async def ours() -> float:
        end = await stream.tell(world)
        return await timed(lambda: _projected(service, reader, end))

    rounds = [pair async for pair in compared(ours, lambda: _singly(world))]
    await service.stop()
    return {"projections": figures(rounds, 5.0, facts=2 * REQUESTS)}


async def _projected(service: Service, reader: Any, end: int) -> int:
    loop = Loop(service, reader, tuple(range(SLOTS)))
    running = asyncio.create_task(loop.run())
    while max(loop._positions.stored.values()) < end:  # noqa: SLF001 (watched)
        await asyncio.sleep(0.002)
        if running.done():
            running.result()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return 2 * REQUESTS


async def _singly(world: World) -> float:
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


def _assigned(request_id: UUID) -> AssigneeChanged:
    return AssigneeChanged(
        request_id=request_id, time=now(), sequence=2, workspace=1, to="anna",
        group="first-line", mode="auto", epoch=1,
    )  # fmt: skip
