"""No operator above a limit, one owner per request, nobody waiting in vain: on real PostgreSQL.

Operations come in any order and from many connections at once. A plain model says what should have
happened; the log of facts is folded to see that it did at every moment, not only at the end.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import clone

from chassis.messaging.transaction import Tx, transaction
from chassis.postgres.locks import lock_key
from chassis.postgres.pool import Database
from routing import store
from routing.allocation import Desk
from routing.configuration import Plan
from routing.domain.matching import (
    METHODS,
    Group,
    Operator,
    Person,
    Request,
    Status,
    chosen,
    eligibility,
    order,
)
from routing.handlers import Routing
from trunkline.provision import service_dsn
from trunkline_contracts import Closed, Contact, Message, Opened, TransferRequested, read
from trunkline_contracts.fact import splice

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from trunkline.servers import Postgres
    from trunkline_contracts import Fact

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
LOCK = lock_key("say", "routing")
TABLES = "queue, capacity, tombstones, decisions, anomalies, operators, outbox"
TOPICS = {"general": "first", "delivery": "first", "billing": "second"}
CHANNELS = ("telegram", "email")

Row = tuple[Any, ...]


def people() -> dict[str, Person]:
    """Six operators with limits of one to three, skills of their own, some with channel limits."""
    return {
        "a": Person("a", "a", 1),
        "b": Person("b", "b", 2, {"general": 1, "billing": 1}),
        "c": Person("c", "c", 3, {"general": 1, "delivery": 1}, {"telegram": 1}),
        "d": Person("d", "d", 3, channels={"email": 2}),
        "e": Person("e", "e", 2, {"billing": 1}),
        "f": Person("f", "f", 1, {"delivery": 1}),
    }


def plan(methods: tuple[str, str] = ("default", "longest_idle"), version: int = 1) -> Plan:
    groups = {
        "first": Group("first", frozenset("abcdf"), methods[0]),
        "second": Group("second", frozenset("abde"), methods[1]),
    }
    weights = {"medium": 20, "critical": 40}
    return Plan(version, people(), groups, TOPICS, weights, "general")


def opened(id_: UUID, topic: str, channel: str, priority: str, at: datetime) -> Fact:
    return Opened(
        time=at, request_id=id_, request_type="chat", channel=channel, account="main", topic=topic,
        contact=Contact(id=id_), priority=priority, status="new",
        message=Message(id=id_, text="hi", sent_at=at),
    )  # fmt: skip


def closed(id_: UUID, at: datetime) -> Fact:
    return Closed(time=at, request_id=id_, resolution="done", by="operator", status="closed")


def transfer(id_: UUID, to: str | None, at: datetime) -> Fact:
    return TransferRequested(time=at, request_id=id_, by="boss", operator=to)


class Room:
    """routing's schema, and transactions in it as a replica would open them."""

    def __init__(self, dsn: str, admin: str) -> None:
        self.dsn = dsn
        self.admin = admin
        self.at = START
        self.plan = plan()
        self.routing = Routing(lambda _: self.plan, lambda: self.at)

    def empty(self, new: Plan) -> None:
        """Begin anew, under another plan."""
        self.plan, self.at = new, START
        with psycopg.connect(self.admin, autocommit=True) as conn:
            conn.execute(f"SET search_path = routing; TRUNCATE {TABLES}".encode())
            conn.execute(b"UPDATE deciding_by SET workspace = 0")

    @asynccontextmanager
    async def replica(self) -> AsyncGenerator[Callable[[], Any]]:
        """Open a replica's connections; gives what opens its transactions."""
        db = Database(self.dsn, size=2)
        await db.open()
        try:
            yield lambda: transaction(db, lambda: self.at, LOCK, workspace=self.plan.version)
        finally:
            await db.close()

    async def desk(self, tx: Tx) -> Desk:
        return await Desk.take(tx, lambda _: self.plan, lambda: self.at)

    async def appear(self, tx: Tx, name: str, status: Status) -> None:
        desk = await self.desk(tx)
        await desk.appear(name, status, "boss")
        await desk.close(await desk.open())

    async def claim(self, tx: Tx, id_: UUID, name: str) -> None:
        desk = await self.desk(tx)
        book = await desk.open([id_])
        request = book.now.get(id_)
        op = (await store.operators(tx, self.plan.people, [name]))[name]
        if isinstance(request, Request):
            group = self.plan.groups[request.group]
            if eligibility(op, request, group, automatic=False) is None:
                book.take(chosen(request, op, "claim"), name, "claim", self.at)
        await desk.close(book)


@pytest.fixture
def room(house: Path, cluster: Postgres) -> Room:
    admin = cluster.url.rsplit("/", 1)[0] + "/" + clone(cluster, "provisioned")
    return Room(service_dsn(admin, house / "creds", "routing"), admin)


async def look(tx: Tx) -> tuple[list[Row], list[Row], list[Row]]:
    """Read the tables as they are: who waits, who has what, who is how."""
    waiting = await tx.run(
        "SELECT request_id, request_group, topic, channel, weight, created_at, epoch, avoid"
        " FROM queue"
    )
    held = await tx.run("SELECT request_id, operator, channel, epoch FROM capacity")
    ops = await tx.run("SELECT id, status, load, last_assigned_at, last_closed_at FROM operators")
    return await waiting.fetchall(), await held.fetchall(), await ops.fetchall()


async def check(tx: Tx, now: Plan) -> None:
    """Compare every operator with every waiting request; count every load again."""
    waiting, held, rows = await look(tx)
    ops = {}
    for id_, status, load, *_ in rows:
        channels = [channel for _, owner, channel, _ in held if owner == id_]
        assert load == len(channels)
        assert load <= now.people[id_].limit
        loads = {channel: channels.count(channel) for channel in channels}
        for channel, limit in now.people[id_].channels.items():
            assert loads.get(channel, 0) <= limit
        ops[id_] = Operator(now.people[id_], Status(status), load, loads)
    for id_, group, topic, channel, weight, created, epoch, avoid in waiting:
        request = Request(id_, group, topic, channel, weight, created, epoch, avoid or None)
        in_vain = [o.id for o in ops.values() if not eligibility(o, request, now.groups[group])]
        assert in_vain == []
    assert {row[0] for row in waiting}.isdisjoint(row[0] for row in held)


# ---------------------------------------------------------------- one at a time, against a model


@dataclass
class Model:
    """What should happen, said as plainly as possible."""

    plan: Plan
    ops: dict[str, Operator] = field(default_factory=dict)
    queue: dict[UUID, Request] = field(default_factory=dict)
    held: dict[UUID, tuple[Request, str]] = field(default_factory=dict)
    gone: set[UUID] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ops = {name: Operator(person) for name, person in self.plan.people.items()}

    def open(self, request: Request) -> None:
        if request.id not in self.queue and request.id not in self.held | dict.fromkeys(self.gone):
            self.queue[request.id] = request

    def close(self, id_: UUID, at: datetime) -> None:
        self.queue.pop(id_, None)
        if id_ in self.held:
            request, owner = self.held.pop(id_)
            self.ops[owner].release(request.channel, at)
        self.gone.add(id_)

    def take(self, request: Request, name: str, at: datetime) -> None:
        self.queue.pop(request.id)
        self.ops[name].take(request.channel, at)
        again = Request(
            request.id, request.group, request.topic, request.channel, request.weight,
            request.created_at, request.epoch + 1,
        )  # fmt: skip
        self.held[request.id] = (again, name)

    def hand_on(self, id_: UUID, to: str | None, at: datetime) -> int:
        request, avoid = self.queue.get(id_), None
        if id_ in self.held:
            request, avoid = self.held.pop(id_)
            self.ops[avoid].release(request.channel, None)
        if request is None:
            return 0
        self.queue[id_] = Request(
            request.id, request.group, request.topic, request.channel, request.weight,
            request.created_at, request.epoch, avoid or request.avoid,
        )  # fmt: skip
        if to is not None and self.able(self.ops[to], self.queue[id_], automatic=False):
            self.take(self.queue[id_], to, at + timedelta(microseconds=1))
            return 1
        return 0

    def able(self, op: Operator, request: Request, *, automatic: bool = True) -> bool:
        return (
            eligibility(op, request, self.plan.groups[request.group], automatic=automatic) is None
        )

    def settle(self, at: datetime, n: int = 0) -> None:
        for request in sorted(self.queue.values(), key=order):
            able = [op for op in self.ops.values() if self.able(op, request)]
            if able:
                best = min(able, key=METHODS[self.plan.groups[request.group].method])
                n += 1
                self.take(request, best.id, at + timedelta(microseconds=n))


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


async def do(room: Room, tx: Tx, model: Model, step: tuple[Any, ...], at: datetime) -> None:
    """Do one thing, in routing and in the model."""
    kind, given_n = step[0], 0
    match step:
        case ("open", id_, topic, channel, priority):
            weight = room.plan.weights[priority]
            await room.routing.hear(tx, [opened(id_, topic, channel, priority, at)])
            model.open(Request(id_, TOPICS[topic], topic, channel, weight, at))
        case ("close", id_):
            await room.routing.hear(tx, [closed(id_, at)])
            model.close(id_, at)
        case ("appear", name, status):
            await room.appear(tx, name, status)
            model.ops[name].status = status
        case ("claim", id_, name):
            await room.claim(tx, id_, name)
            request = model.queue.get(id_)
            if request and model.able(model.ops[name], request, automatic=False):
                model.take(request, name, at + timedelta(microseconds=1))
        case ("transfer", id_, to) if id_ in model.queue or id_ in model.held:
            await room.routing.hear(tx, [transfer(id_, to, at)])
            given_n = model.hand_on(id_, to, at)
    if kind != "claim":
        model.settle(at, given_n)


def test_whatever_happens_it_happens_as_the_model_says(room: Room) -> None:
    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(methods, st.lists(steps, min_size=10, max_size=40))
    def run(chosen_methods: tuple[str, str], todo: list[tuple[Any, ...]]) -> None:
        room.empty(plan(chosen_methods))
        runner.run(story(todo))

    async def story(todo: list[tuple[Any, ...]]) -> None:
        model = Model(room.plan)
        async with room.replica() as begin:
            for step in todo:
                room.at += timedelta(seconds=1)
                async with begin() as tx:
                    await do(room, tx, model, step, room.at)
                async with begin() as tx:
                    waiting, held, _ = await look(tx)
                    await check(tx, room.plan)
                assert {r[0]: r[6] for r in waiting} == {
                    r.id: r.epoch for r in model.queue.values()
                }
                assert {r[0]: (r[1], r[3]) for r in held} == {
                    id_: (owner, request.epoch) for id_, (request, owner) in model.held.items()
                }

    with asyncio.Runner() as runner:
        run()


# ------------------------------------------------------------------- all at once, by the log


async def fold(room: Room) -> int:
    """Go through the log fact by fact: nobody is ever above a limit, nothing has two owners."""
    limits = {name: person.limit for name, person in room.plan.people.items()}
    owners: dict[UUID, str] = {}
    most = 0
    async with await psycopg.AsyncConnection.connect(room.admin) as conn:
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


async def close_noted(room: Room, tx: Tx, id_: UUID) -> None:
    """Close, and note behind which fact of the log it was."""
    await room.routing.hear(tx, [closed(id_, room.at)])
    await tx.run(
        "INSERT INTO closings SELECT %s, coalesce(max(position), 0) FROM outbox"
        " ON CONFLICT DO NOTHING",
        id_,
    )


async def work(room: Room, begin: Callable[[], Any], seed: int, known: list[UUID]) -> None:
    """Be one of many: open, close, come, go, claim and hand on, as chance has it."""
    chance = random.Random(seed)
    for n in range(40):
        id_ = chance.choice(known) if known else UUID(int=1)
        name = chance.choice("abcdef")
        async with begin() as tx:
            match chance.choice(["open"] * 4 + ["close"] * 4 + ["appear", "claim", "hand on"]):
                case "open":
                    new = UUID(int=seed * 1000 + n + 1)
                    topic, channel = chance.choice(sorted(TOPICS)), chance.choice(CHANNELS)
                    await room.routing.hear(tx, [opened(new, topic, channel, "medium", room.at)])
                    known.append(new)
                case "close":
                    await close_noted(room, tx, id_)
                case "appear":
                    await room.appear(tx, name, chance.choice([Status.ONLINE, Status.AWAY]))
                case "claim":
                    await room.claim(tx, id_, name)
                case "hand on" if known:
                    desk = await room.desk(tx)
                    book = await desk.open([id_])
                    book.hand_on(id_, "transferred", None, chance.choice([None, name]))
                    await desk.close(book)
            if n % 5 == 0:
                await tx.lock()
                await check(tx, room.plan)


async def test_sixteen_at_once_keep_every_limit_in_every_prefix_of_the_log(room: Room) -> None:
    with psycopg.connect(room.admin, autocommit=True) as conn:
        conn.execute(
            b"CREATE TABLE routing.closings (request_id uuid PRIMARY KEY, after bigint NOT NULL);"
            b"GRANT ALL ON routing.closings TO routing"
        )
    known: list[UUID] = []
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(room.replica()) for _ in range(16)]
        async with replicas[0]() as tx:
            for name in "abcdef":
                await room.appear(tx, name, Status.ONLINE)
        await asyncio.gather(
            *(work(room, begin, seed, known) for seed, begin in enumerate(replicas, 1))
        )
        async with replicas[0]() as tx:
            await check(tx, room.plan)
            assert await store.strayed(tx) == []
            assert await store.twice(tx) == []
    assert await fold(room) == 3


async def test_without_the_lock_only_the_last_defence_is_left(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive control: without turns all see the same free operator; the table refuses."""
    together = asyncio.Barrier(16)
    save = store.save

    async def no_lock(_: Tx) -> None:
        """Decide without waiting for one's turn."""

    async def at_once(*args: Any) -> None:
        await together.wait()
        await save(*args)

    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(room.replica()) for _ in range(16)]
        async with replicas[0]() as tx:
            await room.appear(tx, "a", Status.ONLINE)
        monkeypatch.setattr(Tx, "lock", no_lock)
        monkeypatch.setattr(store, "save", at_once)

        async def give(begin: Callable[[], Any], n: int) -> str:
            try:
                async with begin() as tx:
                    await room.routing.hear(
                        tx, [opened(UUID(int=n), "general", "telegram", "medium", room.at)]
                    )
            except psycopg.Error as why:
                return type(why).__name__
            return "given"

        ends = await asyncio.gather(*(give(begin, n) for n, begin in enumerate(replicas, 1)))
    assert sorted(ends) == ["CheckViolation"] * 15 + ["given"]
