"""Intake, from INBOUND to commit, against one row per transaction; without a target.

The reader is ingest's reader of INBOUND with all its work: pull, parse, deduplicate, lock and load
conversations, open requests and add messages, record facts. The reference is that of the
projections.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from desk import update

from bench.bed import consume, measure_in_turn, rate, single_row_transactions, summarise
from chassis.service import Service
from ingest import envelope
from ingest.bans.store import BanCache
from ingest.channels.email.parser_pool import ParserPool
from ingest.configuration import IngestConfiguration
from ingest.domain.items import RawDelivery
from ingest.intake.handlers import IntakeHandlers
from ingest.settings import Settings
from trunkline.provision import connect_as

if TYPE_CHECKING:
    from world import World

MESSAGES, CHATS, BATCH = 5000, 1000, 500


class Stream:
    """A publisher of deliveries to INBOUND, in the gateway's form."""

    def __init__(self) -> None:
        self.number = 30_000_000

    async def publish(self, world: World) -> int:
        """Store messages of many chats; return the stream sequence of the last."""
        nc = await connect_as("ingest", world.nats.url, world.creds)
        js, sequence = nc.jetstream(timeout=10), 0
        for start in range(0, MESSAGES, BATCH):
            group = uuid4().hex
            for n in range(1, BATCH + 1):
                delivery = self._next(start + n)
                batch_headers = {"Nats-Batch-Id": group, "Nats-Batch-Sequence": str(n)}
                if n < BATCH:
                    headers = delivery.headers | batch_headers
                    await nc.publish(delivery.subject, delivery.body, headers=headers)
                    continue
                headers = delivery.headers | batch_headers | {"Nats-Batch-Commit": "1"}
                sequence = (await js.publish(delivery.subject, delivery.body, headers=headers)).seq
        await nc.close()
        return sequence

    def _next(self, n: int) -> envelope.OutgoingEnvelope:
        self.number += 1
        chat = 40_000_000 + self.number % CHATS
        body = json.dumps(update(self.number, chat, "Is it ready?"))
        raw = RawDelivery("telegram", "main", str(uuid4()), body.encode(), datetime.now(UTC))
        return envelope.write(raw, content_type="application/json")


async def run(world: World) -> dict[str, Any]:
    """Measure intake and single-row transactions alternately."""
    await world.apply()
    service = Service("ingest", world.settings("ingest", Settings))
    await service.db.open()
    await service.bus.open()
    service.background(lambda: service.workspaces.follow(service.bus.own), "the workspace")
    await service.workspaces.wait(1)
    accounts = IngestConfiguration(service.workspaces)
    reader = IntakeHandlers(accounts.rules, ParserPool(), accounts.mailbox, BanCache()).readers()[0]
    stream = Stream()

    async def ours() -> float:
        end = await stream.publish(world)
        return await rate(lambda: consume(service, reader, end, MESSAGES))

    rounds = [pair async for pair in measure_in_turn(ours, lambda: single_row_transactions(world))]
    await service.stop()
    return {"intake": summarise(rounds, None, messages=MESSAGES, chats=CHATS)}
