"""The relay, from outbox to stream, against raw atomic batches of the same messages: ≥ 0.5."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from saying import opened

from bench.bed import measure_in_turn, rate, summarise
from chassis.messaging.connections import Bus
from chassis.messaging.relay import MAX_BATCH, Relay, message
from chassis.messaging.transaction import transaction
from chassis.postgres.locks import lock_key
from chassis.postgres.pool import Database
from trunkline.provision import connect_as
from trunkline_contracts.fact import slot_of

if TYPE_CHECKING:
    from world import World

FACTS = 10_000


async def run(world: World) -> dict[str, Any]:
    """Measure the relay and raw batches alternately."""
    db, bus = Database(world.dsn("ingest")), Bus(world.nats.url, "ingest", world.creds)
    await db.open()
    await bus.open()
    relay = Relay("ingest", db, bus, lambda: datetime.now(UTC))

    async def ours() -> float:
        await _record(db)
        # This relay published all earlier facts, so it continues at its position.
        return await rate(lambda: _relay_all(relay))

    async def theirs() -> float:
        return await rate(lambda: _raw(world, batches))

    batches = _batches()
    rounds = [pair async for pair in measure_in_turn(ours, theirs)]
    await bus.close()
    await db.close()
    return {"relay": summarise(rounds, 0.5, batch=MAX_BATCH, bytes=len(batches[0][0][1]))}


async def _record(db: Database) -> None:
    for _ in range(FACTS // MAX_BATCH):
        async with transaction(db, lambda: datetime.now(UTC), lock_key("say", "ingest")) as tx:
            tx.record(*(opened(uuid4()) for _ in range(MAX_BATCH)))


async def _relay_all(relay: Relay) -> int:
    end = relay.position + FACTS
    running = asyncio.create_task(relay.run())
    while relay.position < end:  # noqa: ASYNC110 (polled for the benchmark)
        await asyncio.sleep(0.002)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return FACTS


def _batches() -> list[list[tuple[str, bytes, dict[str, str]]]]:
    """Return messages of the same shape and size, prepared in advance."""
    rows = []
    for n in range(1, FACTS + 1):
        fact = opened(uuid4())
        rows.append((n, fact.subject, slot_of(fact.subject), 1, fact.type, fact.body()))
    made = [message(row, row[0] - 1) for row in rows]
    raw = [(s.replace(".ingest.", ".notify."), data, head) for s, data, head in made]
    return [raw[n : n + MAX_BATCH] for n in range(0, FACTS, MAX_BATCH)]


async def _raw(world: World, batches: list[list[tuple[str, bytes, dict[str, str]]]]) -> int:
    nc = await connect_as("notify-relay", world.nats.url, world.creds)
    js = nc.jetstream(timeout=5)
    for batch in batches:
        id_ = uuid4().hex
        for n, (subject, data, headers) in enumerate(batch, 1):
            message_headers = {
                "Nats-Msg-Id": uuid4().hex,
                "Trunkline-Position": headers["Trunkline-Position"],
                "Nats-Batch-Id": id_,
                "Nats-Batch-Sequence": str(n),
            }
            if n < len(batch):
                await nc.publish(subject, data, headers=message_headers)
            else:
                await js.publish(
                    subject, data, headers=message_headers | {"Nats-Batch-Commit": "1"}
                )
    await nc.close()
    return FACTS
