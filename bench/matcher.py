"""The matcher: whole routing transactions with facts and decisions, against raw single INSERTs.

A round assigns a backlog in batches of a busy reader's size; the unit is one assigned request.
Targets: ≥ 5 at 100 operators, ≥ 2 at 1,000.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bench.bed import measure_in_turn, rate, single_inserts, summarise
from chassis.messaging.transaction import transaction
from chassis.postgres.locks import lock_key
from chassis.postgres.pool import Database
from routing.configuration import RoutingRules
from routing.domain.model import Group, OperatorProfile, Status
from routing.handlers import Routing
from trunkline_contracts import Contact, Message, Opened

if TYPE_CHECKING:
    from world import World

BATCH, BATCHES = 250, 8
TARGETS = {100: 5.0, 1000: 2.0}
SAY = lock_key("say", "routing")


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


async def run(world: World) -> dict[str, Any]:
    """Measure with 100 and with 1,000 operators."""
    db = Database(world.dsn("routing"))
    await db.open()
    results: dict[str, Any] = {}
    for version, (people, target) in enumerate(TARGETS.items(), 1):
        routing = Routing(_plans(people), now)
        await _set_online(db, people, version)

        async def ours(routing: Routing = routing, version: int = version) -> float:
            batches = [[_opened() for _ in range(BATCH)] for _ in range(BATCHES)]
            return await rate(lambda: _assign_all(db, routing, batches, version))

        rounds = [pair async for pair in measure_in_turn(ours, lambda: single_inserts(world))]
        results[f"matcher_{people}_operators"] = summarise(rounds, target, batch=BATCH)
    await db.close()
    return results


def _plans(people: int) -> Any:
    """Return plans of ten groups, with each operator in three of them."""
    names = [f"op{n:04d}" for n in range(people)]
    groups = {
        f"g{g}": Group(f"g{g}", frozenset(n for i, n in enumerate(names) if (g - i) % 10 < 3))
        for g in range(10)
    }
    topics = {f"t{g}": f"g{g}" for g in range(10)}
    persons = {name: OperatorProfile(name, name, 100_000) for name in names}

    def plan(version: int) -> RoutingRules:
        return plans.setdefault(version, RoutingRules(version, persons, groups, topics, {}, "t0"))

    plans: dict[int, RoutingRules] = {}
    return plan


async def _set_online(db: Database, people: int, version: int) -> None:
    from routing.allocation import Allocation

    async with transaction(db, now, SAY, workspace=version) as tx:
        allocation = await Allocation.begin(tx, _plans(people), now)
        for n in range(people):
            await allocation.set_presence(f"op{n:04d}", Status.ONLINE, "bench")


def _opened() -> Opened:
    id_ = uuid4()
    return Opened(
        request_id=id_, id=id_, sequence=1, time=now(), workspace=1, request_type="chat",
        channel="telegram", account="main", contact=Contact(id=uuid4()), title="",
        topic=f"t{id_.int % 10}", priority="medium", status="new", fields={}, origin="ingest",
        message=Message(id=uuid4(), text="hello", sent_at=now()),
    )  # fmt: skip


async def _assign_all(
    db: Database, routing: Routing, batches: list[list[Opened]], version: int
) -> int:
    assigned = 0
    for batch in batches:
        async with transaction(db, now, SAY, workspace=version) as tx:
            await routing.apply(tx, batch)
            assigned += sum(fact.type.endswith("request_assigned") for fact in tx.recorded)
    assert assigned == BATCH * len(batches), assigned
    return assigned
