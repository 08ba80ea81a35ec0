"""A reader's projection, from stream to commit, against one row per transaction: ≥ 5.

The reader is notify's reader of TICKETS with all its work: pull, parse, move the position, write
requests and bells, record facts; no webhook is configured. The reference upserts one row and moves
one position per transaction, with the facts in memory.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from ruamel.yaml import YAML
from world import EXAMPLE

from bench.bed import consume, measure_in_turn, rate, single_row_transactions, summarise
from bench.matcher import _opened, now
from chassis.messaging.relay import message
from chassis.service import Service
from notify.domain.recipients import NO_GROUP
from notify.handlers import FactHandlers, readers
from notify.settings import Settings
from notify.webhooks.endpoints import Endpoints
from notify.webhooks.planner import DeliveryPlanner
from trunkline.provision import connect_as
from trunkline_contracts import AssigneeChanged, Fact
from trunkline_contracts.fact import SLOTS, slot_of

if TYPE_CHECKING:
    from world import World

REQUESTS, BATCH = 2500, 500


class Stream:
    """A publisher of facts to TICKETS, in the relay's form."""

    def __init__(self) -> None:
        self.position = 0
        self.previous = [0] * SLOTS

    async def publish(self, world: World) -> int:
        """Publish two facts per request; return the last position."""
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
    """Measure the projection and single-row transactions alternately."""
    document = YAML(typ="safe", pure=True).load(EXAMPLE.read_text())
    await world.apply(json.dumps(document | {"webhooks": {}}))
    service = Service("notify", world.settings("notify", Settings))
    await service.db.open()
    await service.bus.open()
    service.background(lambda: service.workspaces.follow(service.bus.own), "the workspace")
    await service.workspaces.wait(1)
    planner = DeliveryPlanner(Endpoints(service.workspaces, ""), lambda *_: None)
    handlers = FactHandlers(lambda _: None, planner, lambda *_: NO_GROUP, lambda _: None)
    reader, stream = readers(handlers)[0], Stream()

    async def ours() -> float:
        end = await stream.publish(world)
        return await rate(lambda: consume(service, reader, end, 2 * REQUESTS))

    rounds = [pair async for pair in measure_in_turn(ours, lambda: single_row_transactions(world))]
    await service.stop()
    return {"projections": summarise(rounds, 5.0, facts=2 * REQUESTS)}


def _assigned(request_id: UUID) -> AssigneeChanged:
    return AssigneeChanged(
        request_id=request_id, time=now(), sequence=2, workspace=1, to="anna",
        group="first-line", mode="auto", epoch=1,
    )  # fmt: skip
