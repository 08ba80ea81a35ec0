"""The relay, from outbox to stream, against raw atomic batches of the same messages: ≥ 0.5."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from saying import opened

from bench.bed import compared, figures, timed
from chassis.messaging.connections import Bus
from chassis.messaging.relay import BATCH, Relay, message
from chassis.messaging.transaction import transaction
from chassis.postgres.locks import lock_key
from chassis.postgres.pool import Database
from trunkline.provision import connect_as
from trunkline_contracts.fact import slot_of

if TYPE_CHECKING:
    from world import World

FACTS = 10_000


async def run(world: World) -> dict[str, Any]:
    """Measure both in turn."""
    db, bus = Database(world.dsn("ingest")), Bus(world.nats.url, "ingest", world.creds)
    await db.open()
    await bus.open()
    relay = Relay("ingest", db, bus, lambda: datetime.now(UTC))

    async def ours() -> float:
        await _say(db)
        # What was told before was told by this relay: it goes on where it was.
        return await timed(lambda: _relayed(relay))

    async def theirs() -> float:
        return await timed(lambda: _raw(world, batches))

    batches = _batches()
    rounds = [pair async for pair in compared(ours, theirs)]
    await bus.close()
    await db.close()
    return {"relay": figures(rounds, 0.5, batch=BATCH, bytes=len(batches[0][0][1]))}


async def _say(db: Database) -> None:
    for _ in range(FACTS // BATCH):
        async with transaction(db, lambda: datetime.now(UTC), lock_key("say", "ingest")) as tx:
            tx.say(*(opened(uuid4()) for _ in range(BATCH)))


async def _relayed(relay: Relay) -> int:
    end = relay.position + FACTS
    running = asyncio.create_task(relay.run())
    while relay.position < end:  # noqa: ASYNC110 (watched)
        await asyncio.sleep(0.002)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return FACTS


def _batches() -> list[list[tuple[str, bytes, dict[str, str]]]]:
    """Messages of the same shape and size, made before."""
    rows = []
    for n in range(1, FACTS + 1):
        fact = opened(uuid4())
        rows.append((n, fact.subject, slot_of(fact.subject), 1, fact.type, fact.body()))
    made = [message(row, row[0] - 1) for row in rows]
    raw = [(s.replace(".ingest.", ".notify."), data, head) for s, data, head in made]
    return [raw[n : n + BATCH] for n in range(0, FACTS, BATCH)]


async def _raw(world: World, batches: list[list[tuple[str, bytes, dict[str, str]]]]) -> int:
    nc = await connect_as("notify-relay", world.nats.url, world.creds)
    js = nc.jetstream(timeout=5)
    for batch in batches:
        id_ = uuid4().hex
        for n, (subject, data, headers) in enumerate(batch, 1):
            told = {
                "Nats-Msg-Id": uuid4().hex,
                "Trunkline-Position": headers["Trunkline-Position"],
                "Nats-Batch-Id": id_,
                "Nats-Batch-Sequence": str(n),
            }
            if n < len(batch):
                await nc.publish(subject, data, headers=told)
            else:
                await js.publish(subject, data, headers=told | {"Nats-Batch-Commit": "1"})
    await nc.close()
    return FACTS
