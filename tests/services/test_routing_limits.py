"""Limits hold, a request has one owner and none waits in vain, on real PostgreSQL.

Operations run in any order, one at a time against a plain model, and then from many connections.
The outbox is read fact by fact, so that the limits are proved at every moment.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from routing_model import (
    CHANNELS,
    START,
    TOPICS,
    Model,
    closed,
    opened,
    rules,
    transfer,
)
from world import clone

from chassis.messaging.transaction import Tx, transaction
from chassis.postgres.locks import lock_key
from chassis.postgres.pool import Database
from routing import store
from routing.allocation import Allocation
from routing.configuration import RoutingRules
from routing.domain.decisions import manual_decision
from routing.domain.eligibility import eligibility
from routing.domain.methods import METHODS
from routing.domain.model import (
    Operator,
    Request,
    Status,
)
from routing.handlers import Routing
from trunkline.provision import service_dsn
from trunkline_contracts import read
from trunkline_contracts.fact import splice

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from trunkline.servers import Postgres

LOCK = lock_key("say", "routing")
TABLES = "queue, capacity, tombstones, decisions, anomalies, operators, outbox"

Row = tuple[Any, ...]


class RoutingSchema:
    """The schema of routing, and transactions in it as a replica opens them."""

    def __init__(self, dsn: str, admin: str) -> None:
        self.dsn = dsn
        self.admin = admin
        self.at = START
        self.rules = rules()
        self.routing = Routing(lambda _: self.rules, lambda: self.at)

    def empty(self, new: RoutingRules) -> None:
        """Empty the tables, and decide by other rules."""
        self.rules, self.at = new, START
        with psycopg.connect(self.admin, autocommit=True) as conn:
            conn.execute(f"SET search_path = routing; TRUNCATE {TABLES}".encode())
            conn.execute(b"UPDATE deciding_by SET workspace = 0")

    @asynccontextmanager
    async def replica(self) -> AsyncGenerator[Callable[[], Any]]:
        """Open a replica's connections; yield a function that opens its transactions."""
        db = Database(self.dsn, size=2)
        await db.open()
        try:
            yield lambda: transaction(db, lambda: self.at, LOCK, workspace=self.rules.version)
        finally:
            await db.close()

    async def begin(self, tx: Tx) -> Allocation:
        return await Allocation.begin(tx, lambda _: self.rules, lambda: self.at)

    async def set_presence(self, tx: Tx, name: str, status: Status) -> None:
        allocation = await self.begin(tx)
        await allocation.set_presence(name, status, "boss")
        await allocation.allocate_and_save(await allocation.load())

    async def claim(self, tx: Tx, id_: UUID, name: str) -> None:
        allocation = await self.begin(tx)
        changes = await allocation.load([id_])
        request = changes.after.get(id_)
        op = (await store.load_operators(tx, self.rules.profiles, [name]))[name]
        if isinstance(request, Request):
            group = self.rules.groups[request.group]
            if eligibility(op, request, group, automatic=False) is None:
                changes.assign(manual_decision(request, op, "claim"), name, "claim", self.at)
        await allocation.allocate_and_save(changes)


@pytest.fixture
def schema(house: Path, cluster: Postgres) -> RoutingSchema:
    admin = cluster.url.rsplit("/", 1)[0] + "/" + clone(cluster, "provisioned")
    return RoutingSchema(service_dsn(admin, house / "creds", "routing"), admin)


async def read_tables(tx: Tx) -> tuple[list[Row], list[Row], list[Row]]:
    """Return the rows of queue, capacity and operators."""
    waiting = await tx.run(
        "SELECT request_id, request_group, topic, channel, weight, created_at, epoch, avoid"
        " FROM queue"
    )
    held = await tx.run("SELECT request_id, operator, channel, epoch FROM capacity")
    ops = await tx.run("SELECT id, status, load, last_assigned_at, last_closed_at FROM operators")
    return await waiting.fetchall(), await held.fetchall(), await ops.fetchall()


async def check(tx: Tx, now: RoutingRules) -> None:
    """Assert loads, limits, and that no waiting request has an eligible operator."""
    waiting, held, rows = await read_tables(tx)
    ops = {}
    for id_, status, load, *_ in rows:
        channels = [channel for _, owner, channel, _ in held if owner == id_]
        assert load == len(channels)
        assert load <= now.profiles[id_].limit
        loads = {channel: channels.count(channel) for channel in channels}
        for channel, limit in now.profiles[id_].channels.items():
            assert loads.get(channel, 0) <= limit
        ops[id_] = Operator(now.profiles[id_], Status(status), load, loads)
    for id_, group, topic, channel, weight, created, epoch, avoid in waiting:
        request = Request(id_, group, topic, channel, weight, created, epoch, avoid or None)
        in_vain = [o.id for o in ops.values() if not eligibility(o, request, now.groups[group])]
        assert in_vain == []
    assert {row[0] for row in waiting}.isdisjoint(row[0] for row in held)


ids = st.integers(1, 12).map(lambda n: UUID(int=n))
names = st.sampled_from("abcdef")
steps = st.one_of(
    st.tuples(
        st.just("open"), ids, st.sampled_from(sorted(TOPICS)), st.sampled_from(CHANNELS),
        st.sampled_from(["medium", "critical"]),
    ),
    st.tuples(st.just("close"), ids),
    st.tuples(st.just("appear"), names, st.sampled_from([*Status, Status.ONLINE])),
    st.tuples(st.just("claim"), ids, names),
    st.tuples(st.just("transfer"), ids, st.one_of(st.none(), names)),
)  # fmt: skip
methods = st.tuples(st.sampled_from(sorted(METHODS)), st.sampled_from(sorted(METHODS)))


async def do(
    schema: RoutingSchema, tx: Tx, model: Model, step: tuple[Any, ...], at: datetime
) -> None:
    """Perform one step in routing and in the model."""
    kind, assigned_n = step[0], 0
    match step:
        case ("open", id_, topic, channel, priority):
            weight = schema.rules.weights[priority]
            await schema.routing.apply(tx, [opened(id_, topic, channel, priority, at)])
            model.open(Request(id_, TOPICS[topic], topic, channel, weight, at))
        case ("close", id_):
            await schema.routing.apply(tx, [closed(id_, at)])
            model.close(id_, at)
        case ("appear", name, status):
            await schema.set_presence(tx, name, status)
            model.ops[name].status = status
        case ("claim", id_, name):
            await schema.claim(tx, id_, name)
            request = model.queue.get(id_)
            if request and model.able(model.ops[name], request, automatic=False):
                model.assign(request, name, at + timedelta(microseconds=1))
        case ("transfer", id_, to) if id_ in model.queue or id_ in model.assigned:
            await schema.routing.apply(tx, [transfer(id_, to, at)])
            assigned_n = model.requeue(id_, to, at)
    if kind != "claim":
        model.match(at, assigned_n)


def test_any_sequence_of_operations_matches_the_model(schema: RoutingSchema) -> None:
    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(methods, st.lists(steps, min_size=10, max_size=40))
    def run(chosen_methods: tuple[str, str], todo: list[tuple[Any, ...]]) -> None:
        schema.empty(rules(chosen_methods))
        runner.run(story(todo))

    async def story(todo: list[tuple[Any, ...]]) -> None:
        model = Model(schema.rules)
        async with schema.replica() as begin:
            for step in todo:
                schema.at += timedelta(seconds=1)
                async with begin() as tx:
                    await do(schema, tx, model, step, schema.at)
                async with begin() as tx:
                    waiting, held, _ = await read_tables(tx)
                    await check(tx, schema.rules)
                assert {r[0]: r[6] for r in waiting} == {
                    r.id: r.epoch for r in model.queue.values()
                }
                assert {r[0]: (r[1], r[3]) for r in held} == {
                    id_: (owner, request.epoch) for id_, (request, owner) in model.assigned.items()
                }

    with asyncio.Runner() as runner:
        run()


async def replay_log(schema: RoutingSchema) -> int:
    """Assert limits and single owners after every fact; return the highest load."""
    limits = {name: profile.limit for name, profile in schema.rules.profiles.items()}
    owners: dict[UUID, str] = {}
    most = 0
    async with await psycopg.AsyncConnection.connect(schema.admin) as conn:
        await conn.execute(b"SET search_path = routing")
        cursor = await conn.execute(
            b"SELECT position, type, key, sequence, body FROM outbox UNION ALL"
            b" SELECT after, 'closed', request_id::text, 0, '' FROM closings ORDER BY 1, 2 DESC"
        )
        for _, type_, key, sequence, body in await cursor.fetchall():
            if type_ == "closed":
                owners.pop(UUID(key), None)
                continue
            fact: Any = read(splice(type_, key, sequence, bytes(body)))
            name = type_.rsplit(".", 1)[1]
            if name == "request_unassigned":
                assert owners.pop(fact.request_id) == fact.operator
            elif name == "request_assigned":
                assert fact.request_id not in owners
                owners[fact.request_id] = fact.operator
                load = list(owners.values()).count(fact.operator)
                assert load <= limits[fact.operator]
                most = max(most, load)
    return most


async def close_and_note(schema: RoutingSchema, tx: Tx, id_: UUID) -> None:
    """Close a request, and note after which outbox position."""
    await schema.routing.apply(tx, [closed(id_, schema.at)])
    await tx.run(
        "INSERT INTO closings SELECT %s, coalesce(max(position), 0) FROM outbox"
        " ON CONFLICT DO NOTHING",
        id_,
    )


async def work(
    schema: RoutingSchema, begin: Callable[[], Any], seed: int, known: list[UUID]
) -> None:
    """Perform 40 random operations as one of many replicas."""
    chance = random.Random(seed)
    for n in range(40):
        id_ = chance.choice(known) if known else UUID(int=1)
        name = chance.choice("abcdef")
        async with begin() as tx:
            match chance.choice(["open"] * 4 + ["close"] * 4 + ["presence", "claim", "requeue"]):
                case "open":
                    new = UUID(int=seed * 1000 + n + 1)
                    topic, channel = chance.choice(sorted(TOPICS)), chance.choice(CHANNELS)
                    await schema.routing.apply(
                        tx, [opened(new, topic, channel, "medium", schema.at)]
                    )
                    known.append(new)
                case "close":
                    await close_and_note(schema, tx, id_)
                case "presence":
                    await schema.set_presence(tx, name, chance.choice([Status.ONLINE, Status.AWAY]))
                case "claim":
                    await schema.claim(tx, id_, name)
                case "requeue" if known:
                    allocation = await schema.begin(tx)
                    changes = await allocation.load([id_])
                    changes.requeue(id_, "transferred", None, chance.choice([None, name]))
                    await allocation.allocate_and_save(changes)
            if n % 5 == 0:
                await tx.lock()
                await check(tx, schema.rules)


async def test_sixteen_replicas_keep_limits_in_every_log_prefix(schema: RoutingSchema) -> None:
    with psycopg.connect(schema.admin, autocommit=True) as conn:
        conn.execute(
            b"CREATE TABLE routing.closings (request_id uuid PRIMARY KEY, after bigint NOT NULL);"
            b"GRANT ALL ON routing.closings TO routing"
        )
    known: list[UUID] = []
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(schema.replica()) for _ in range(16)]
        async with replicas[0]() as tx:
            for name in "abcdef":
                await schema.set_presence(tx, name, Status.ONLINE)
        await asyncio.gather(
            *(work(schema, begin, seed, known) for seed, begin in enumerate(replicas, 1))
        )
        async with replicas[0]() as tx:
            await check(tx, schema.rules)
            assert await store.load_mismatches(tx) == []
            assert await store.double_placed(tx) == []
    assert await replay_log(schema) == 3


async def test_missing_lock_is_caught_by_the_table_constraint(
    schema: RoutingSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive control: without the lock 16 replicas see the same free operator."""
    together = asyncio.Barrier(16)
    save = store.save

    async def no_lock(_: Tx) -> None:
        """Take no lock."""

    async def at_once(*args: Any) -> None:
        await together.wait()
        await save(*args)

    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(schema.replica()) for _ in range(16)]
        async with replicas[0]() as tx:
            await schema.set_presence(tx, "a", Status.ONLINE)
        monkeypatch.setattr(Tx, "lock", no_lock)
        monkeypatch.setattr(store, "save", at_once)

        async def assign(begin: Callable[[], Any], n: int) -> str:
            try:
                async with begin() as tx:
                    await schema.routing.apply(
                        tx, [opened(UUID(int=n), "general", "telegram", "medium", schema.at)]
                    )
            except psycopg.Error as why:
                return type(why).__name__
            return "assigned"

        ends = await asyncio.gather(*(assign(begin, n) for n, begin in enumerate(replicas, 1)))
    assert sorted(ends) == ["CheckViolation"] * 15 + ["assigned"]
