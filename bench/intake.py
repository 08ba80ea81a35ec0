"""Intake, from INBOUND to commit, against one row per transaction; without a target of its own.

The reader is ingest's of INBOUND, with everything it does: pulled, understood, deduplicated,
conversations locked and looked up, requests opened and messages added, and told. The yardstick is
that of the projections.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from desk import update

from bench.bed import compared, figures, heard, singly, timed
from chassis.service import Service
from ingest.bans.store import Banlist
from ingest.channels.email.parser_pool import Mailroom
from ingest.configuration import Accounts
from ingest.domain.items import Raw
from ingest.gateway import envelope
from ingest.intake.handlers import Intake
from ingest.settings import Settings
from trunkline.provision import connect_as

if TYPE_CHECKING:
    from world import World

MESSAGES, CHATS, BATCH = 5000, 1000, 500


class Stream:
    """Fills INBOUND as the door would."""

    def __init__(self) -> None:
        self.number = 30_000_000

    async def tell(self, world: World) -> int:
        """Store messages of many chats; gives the last one's place."""
        nc = await connect_as("ingest", world.nats.url, world.creds)
        js, place = nc.jetstream(timeout=10), 0
        for start in range(0, MESSAGES, BATCH):
            group = uuid4().hex
            for n in range(1, BATCH + 1):
                letter = self._next(start + n)
                headers = {"Nats-Batch-Id": group, "Nats-Batch-Sequence": str(n)}
                if n < BATCH:
                    told = letter.headers | headers
                    await nc.publish(letter.subject, letter.body, headers=told)
                    continue
                told = letter.headers | headers | {"Nats-Batch-Commit": "1"}
                place = (await js.publish(letter.subject, letter.body, headers=told)).seq
        await nc.close()
        return place

    def _next(self, n: int) -> envelope.Letter:
        self.number += 1
        chat = 40_000_000 + self.number % CHATS
        body = json.dumps(update(self.number, chat, "Is it ready?"))
        raw = Raw("telegram", "main", str(uuid4()), body.encode(), datetime.now(UTC))
        return envelope.write(raw, content_type="application/json")


async def run(world: World) -> dict[str, Any]:
    """Measure both in turn."""
    await world.apply()
    service = Service("ingest", world.settings("ingest", Settings))
    await service.db.open()
    await service.bus.open()
    service.background(lambda: service.workspaces.follow(service.bus.own), "the workspace")
    await service.workspaces.wait(1)
    accounts = Accounts(service.workspaces)
    reader = Intake(accounts.rules, Mailroom(), accounts.post, Banlist()).readers()[0]
    stream = Stream()

    async def ours() -> float:
        end = await stream.tell(world)
        return await timed(lambda: heard(service, reader, end, MESSAGES))

    rounds = [pair async for pair in compared(ours, lambda: singly(world))]
    await service.stop()
    return {"intake": figures(rounds, None, messages=MESSAGES, chats=CHATS)}
