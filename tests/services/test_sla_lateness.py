"""Deadlines are noticed within a second of being certain, however many there are."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from psycopg import AsyncConnection
from world import EXAMPLE

from chassis.settings import Settings
from chassis.testing import eventually, running
from sla.app import make
from trunkline.provision import connect_as
from trunkline_contracts import Contact, Message, Opened
from trunkline_contracts.fact import slot_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from world import World

GRACE, WITHIN = 0.5, 1.0
TARGETS = "targets: {FRT: PT15M, NRT: PT30M, TTR: PT8H, ACCEPT: PT5M}, warn: [0.5, 0.8]"


def opened(request_id: UUID, at: datetime) -> Opened:
    return Opened(
        time=at, workspace=1, request_id=request_id, request_type="chat", channel="telegram",
        account="main", contact=Contact(id=uuid4(), address="77"), topic="general",
        priority="medium", status="new", message=Message(id=uuid4(), text="hi", sent_at=at),
    )  # fmt: skip


async def tell(world: World, facts: list[Opened], noise: float = 0) -> None:
    """Publish many facts as tickets' relay would, without waiting for each.

    `noise`: seconds for which others follow without a pause, whose time is far.
    """
    nc = await connect_as("tickets-relay", world.nats.url, world.creds)
    last = dict.fromkeys(range(16), 0)
    until = time.monotonic() + noise

    async def all_of_them() -> AsyncIterator[Opened]:
        for fact in facts:
            yield fact
        while time.monotonic() < until:
            yield opened(uuid4(), datetime.now(UTC))
            await asyncio.sleep(0.004)

    position = 0
    async for fact in all_of_them():
        position += 1
        numbered, slot = fact.numbered(1), slot_of(fact.subject)
        headers = {
            "Nats-Msg-Id": str(numbered.id),
            "Trunkline-Position": str(position),
            "Trunkline-Previous": str(last[slot]),
        }
        last[slot] = position
        await nc.publish(numbered.nats_subject, numbered.wire(), headers=headers)
        if position % 500 == 0:
            await nc.flush()
    await nc.flush()
    await nc.close()


async def lateness(
    world: World, many: int, seconds: float, replicas: int = 1, noise: float = 0
) -> tuple[list[float], float]:
    """Let `many` deadlines pass within some seconds; return how late each was noticed."""
    text = EXAMPLE.read_text()
    assert TARGETS in text
    await world.apply(text.replace(TARGETS, "targets: {FRT: PT1H}"))
    apps = [make(world.settings("sla", Settings)) for _ in range(replicas)]
    async with AsyncExitStack() as stack:
        for app in apps:
            await stack.enter_async_context(running(app))
        first = datetime.now(UTC) + timedelta(seconds=4 + many / 400)
        dues = [first + timedelta(seconds=seconds * n / many) for n in range(many)]
        facts = [opened(uuid4(), due - timedelta(hours=1)) for due in dues]
        await tell(world, facts, noise)
        before = time.process_time()

        async def noticed() -> int:
            [(count,)] = await world.sql(
                "sla", "SELECT count(*) FROM outbox WHERE type LIKE '%%.target_breached'"
            )
            return int(count >= many)

        await eventually(noticed, seconds + 40)
        cost = (time.process_time() - before) / many
    conn = await AsyncConnection.connect(world.admin_dsn)
    async with conn:
        cursor = await conn.execute(
            "SELECT body FROM sla.outbox WHERE type LIKE '%.target_breached'"
        )
        breaches: list[dict[str, Any]] = [json.loads(r[0])["data"] for r in await cursor.fetchall()]
    assert len({breach["request_id"] for breach in breaches}) == len(breaches) == many
    late = []
    for breach in breaches:
        noticed_at = datetime.fromisoformat(breach["noticed_at"])
        late.append((noticed_at - datetime.fromisoformat(breach["due_at"])).total_seconds())
    return sorted(late), cost


def figures(late: list[float], cost: float) -> str:
    p99 = late[int(len(late) * 0.99)]
    return f"p50 {median(late):.2f} p99 {p99:.2f} max {late[-1]:.2f} s, {1000 * cost:.2f} ms each"


async def test_many_deadlines_at_once_are_noticed_in_time(world: World) -> None:
    late, cost = await lateness(world, 600, 2, noise=8)
    print(figures(late, cost))
    assert late[0] >= GRACE
    assert median(late) <= GRACE + WITHIN


@pytest.mark.soak
@pytest.mark.timeout(180)
async def test_5000_deadlines_a_minute_are_noticed_in_a_second(world: World) -> None:
    late, cost = await lateness(world, 5000, 60, replicas=2)
    print(figures(late, cost))
    assert late[0] >= GRACE
    assert late[-1] <= GRACE + WITHIN, figures(late, cost)
