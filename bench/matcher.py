"""The matcher: whole deciding transactions, told and explained, against raw single INSERTs.

A round gives out a backlog heard in batches as a busy reader hears it; what is counted is requests
given an operator. Targets: ≥ 5 at 100 operators, ≥ 2 at 1,000.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bench.bed import compared, figures, single_inserts, timed
from chassis.messaging.transaction import transaction
from chassis.postgres.locks import lock_key
from chassis.postgres.pool import Database
from routing.configuration import Plan
from routing.domain.matching import Group, Person, Status
from routing.handlers import Routing
from trunkline_contracts import Contact, Message, Opened

if TYPE_CHECKING:
    from world import World

BATCH, BATCHES = 250, 8
TARGETS = {100: 5.0, 1000: 2.0}
SAY = lock_key("say", "routing")


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


async def run(world: World) -> dict[str, Any]:
    """Measure with few and with many operators."""
    db = Database(world.dsn("routing"))
    await db.open()
    told: dict[str, Any] = {}
    for version, (people, target) in enumerate(TARGETS.items(), 1):
        routing = Routing(_plans(people), now)
        await _appear(db, people, version)

        async def ours(routing: Routing = routing, version: int = version) -> float:
            heard = [[_opened() for _ in range(BATCH)] for _ in range(BATCHES)]
            return await timed(lambda: _given(db, routing, heard, version))

        rounds = [pair async for pair in compared(ours, lambda: single_inserts(world))]
        told[f"matcher_{people}_operators"] = figures(rounds, target, batch=BATCH)
    await db.close()
    return told


def _plans(people: int) -> Any:
    """Ten groups, each operator in three of them."""
    names = [f"op{n:04d}" for n in range(people)]
    groups = {
        f"g{g}": Group(f"g{g}", frozenset(n for i, n in enumerate(names) if (g - i) % 10 < 3))
        for g in range(10)
    }
    topics = {f"t{g}": f"g{g}" for g in range(10)}
    persons = {name: Person(name, name, 100_000) for name in names}

    def plan(version: int) -> Plan:
        return plans.setdefault(version, Plan(version, persons, groups, topics, {}, "t0"))

    plans: dict[int, Plan] = {}
    return plan


async def _appear(db: Database, people: int, version: int) -> None:
    from routing.allocation import Desk

    async with transaction(db, now, SAY, workspace=version) as tx:
        desk = await Desk.take(tx, _plans(people), now)
        for n in range(people):
            await desk.appear(f"op{n:04d}", Status.ONLINE, "bench")


def _opened() -> Opened:
    id_ = uuid4()
    return Opened(
        request_id=id_, id=id_, sequence=1, time=now(), workspace=1, request_type="chat",
        channel="telegram", account="main", contact=Contact(id=uuid4()), title="",
        topic=f"t{id_.int % 10}", priority="medium", status="new", fields={}, origin="ingest",
        message=Message(id=uuid4(), text="hello", sent_at=now()),
    )  # fmt: skip


async def _given(db: Database, routing: Routing, heard: list[list[Opened]], version: int) -> int:
    given = 0
    for batch in heard:
        async with transaction(db, now, SAY, workspace=version) as tx:
            await routing.hear(tx, batch)
            given += sum(fact.type.endswith("request_assigned") for fact in tx.said)
    assert given == BATCH * len(heard), given
    return given
