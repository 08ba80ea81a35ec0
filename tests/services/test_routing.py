"""routing on real servers: people come, requests come, and nobody gets what they cannot have."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from ruamel.yaml import YAML
from telling import Teller
from world import EXAMPLE

from chassis.settings import Settings
from chassis.testing import Clock, eventually, running
from routing.app import make
from trunkline_contracts import (
    Closed,
    Contact,
    Message,
    Opened,
    PriorityChanged,
    TopicChanged,
    TransferRequested,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import httpx
    from world import World

    from trunkline_contracts import Fact


class Routing:
    """routing in a test's own world, and somebody who tells it facts."""

    def __init__(self, world: World, teller: Teller) -> None:
        self.world = world
        self.tell = teller.tell
        self._stack = AsyncExitStack()
        self.doors: list[httpx.AsyncClient] = []
        self.boss = world.token("supervisor", subject="boss")

    async def start(self, clock: Callable[[], datetime] | None = None, **more: str) -> None:
        """Run one replica more."""
        given = {} if clock is None else {"clock": clock}
        app = make(self.world.settings("routing", Settings, **more), **given)
        self.doors.append(await self._stack.enter_async_context(running(app)))
        door = self.doors[-1]

        async def ready() -> bool:
            return (await door.get("/v1/operators", headers=self.boss)).status_code == 200

        await eventually(ready)

    async def stop(self) -> None:
        """Stop every replica."""
        await self._stack.aclose()

    @property
    def http(self) -> httpx.AsyncClient:
        return self.doors[0]

    def me(self, name: str) -> dict[str, str]:
        return self.world.token("operator", subject=name)

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self.http.get(path, headers=self.boss)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def appear(self, name: str, status: str = "online", **more: int) -> dict[str, Any]:
        answer = await self.http.put(
            f"/v1/operators/{name}/presence", json={"status": status, **more}, headers=self.boss
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def claim(self, id_: UUID, name: str, door: int = 0) -> httpx.Response:
        return await self.doors[door].post(f"/v1/requests/{id_}/claim", headers=self.me(name))

    async def waiting(self, n: int) -> list[dict[str, Any]]:
        """Wait until so many wait."""

        async def so_many() -> bool:
            return len((await self.get("/v1/queue?limit=200"))["items"]) == n

        await eventually(so_many)
        return (await self.get("/v1/queue?limit=200"))["items"]

    async def load(self, name: str, n: int) -> dict[str, Any]:
        """Wait until an operator has so many."""

        async def so_many() -> bool:
            return (await self.get(f"/v1/operators/{name}"))["load"] == n

        await eventually(so_many)
        return await self.get(f"/v1/operators/{name}")

    async def said(self, kind: str | None = None) -> list[dict[str, Any]]:
        rows = await self.world.sql(
            "routing", "SELECT type, body, key, sequence FROM outbox ORDER BY position"
        )
        return [
            {"fact": name, "key": key, "sequence": n, **json.loads(bytes(body))["data"]}
            for type_, body, key, n in rows
            if (name := type_.rsplit(".", 1)[1]) == (kind or name)
        ]


@pytest.fixture
async def routing(world: World) -> AsyncGenerator[Routing]:
    await world.apply()
    async with Teller(world) as teller:
        routing = Routing(world, teller)
        try:
            yield routing
        finally:
            await routing.stop()


def opened(id_: UUID, topic: str = "general", at: datetime | None = None, **more: Any) -> Fact:
    at = at or datetime.now(UTC)
    return Opened(
        time=at, workspace=1, request_id=id_, request_type="chat", account="main", topic=topic,
        contact=Contact(id=uuid4(), address="77"), status="new",
        message=Message(id=uuid4(), text="hi", sent_at=at),
        **{"channel": "telegram", "priority": "medium", **more},
    )  # fmt: skip


def closed(id_: UUID) -> Fact:
    now = datetime.now(UTC)
    return Closed(time=now, request_id=id_, resolution="done", by="operator", status="closed")


async def test_opened_request_is_assigned_and_closed(routing: Routing) -> None:
    await routing.start()
    assert (await routing.appear("anna"))["status"] == "online"
    id_ = uuid4()
    await routing.tell(opened(id_))

    anna = await routing.load("anna", 1)
    assert anna["channels"]["telegram"] == {"load": 1, "limit": 4}
    assert [f["fact"] for f in await routing.said()] == [
        "operator_presence_changed", "request_queued", "request_assigned",
    ]  # fmt: skip
    (assigned,) = await routing.said("request_assigned")
    assert assigned | {"decision": "…"} == {
        "fact": "request_assigned", "key": str(id_), "sequence": 2, "request_id": str(id_),
        "operator": "anna", "group": "first-line", "epoch": 1, "mode": "auto", "decision": "…",
    }  # fmt: skip

    (decision,) = (await routing.get(f"/v1/requests/{id_}/decisions"))["items"]
    assert decision["id"] == assigned["decision"]
    assert decision["chosen"] == "anna"
    assert decision["excluded"] == {"offline": 2}
    assert decision["considered"][0]["load"] == 0
    assert (decision["method"], decision["workspace"], decision["able"]) == ("default", 1, 1)

    await routing.tell(closed(id_))
    anna = await routing.load("anna", 0)
    assert anna["last_closed_at"] is not None
    assert (await routing.claim(id_, "anna")).json()["type"] == "closed"


async def test_waiting_requests_are_assigned_in_queue_order(routing: Routing) -> None:
    await routing.start()
    old, heavy, billing, last = (uuid4() for _ in range(4))
    await routing.tell(
        opened(old), opened(heavy, priority="critical"), opened(billing, "billing"), opened(last)
    )
    items = await routing.waiting(4)
    assert [i["request_id"] for i in items] == [str(i) for i in (heavy, old, billing, last)]
    assert [i["position"] for i in items] == [1, 2, 1, 3]
    assert items[0]["expected_wait"] is None
    assert {f["group"] for f in await routing.said("capacity_reached")} == {"first-line", "finance"}
    one = await routing.get(f"/v1/queue/{billing}")
    assert one["operators"] == {"olena": "offline"}

    await routing.appear("anna", "away")
    assert (await routing.claim(last, "anna")).status_code == 200
    assert len(await routing.waiting(3)) == 3
    await routing.appear("anna")
    assert [i["request_id"] for i in await routing.waiting(1)] == [str(billing)]
    assert [f["request_id"] for f in await routing.said("request_assigned")] == [
        str(i) for i in (last, heavy, old)
    ]
    await routing.appear("olena")
    assert await routing.waiting(0) == []
    assert (await routing.load("olena", 1))["groups"] == ["finance", "first-line"]


async def test_second_claim_returns_409_with_the_winner(routing: Routing) -> None:
    for _ in range(2):
        await routing.start()
    ids = [uuid4() for _ in range(8)]
    await routing.tell(*(opened(id_) for id_ in ids))
    await routing.waiting(8)
    for name in ("anna", "bohdan"):
        await routing.appear(name, "away")

    for n, id_ in enumerate(ids):
        # two at each, each through a replica of their own; an operator has room for five
        answers = await asyncio.gather(
            routing.claim(id_, "anna", n % 2), routing.claim(id_, "bohdan", (n + 1) % 2)
        )
        codes = sorted(answer.status_code for answer in answers)
        assert codes in ([200, 409], [409, 409])
        for lost in (a.json() for a in answers if a.status_code == 409):
            assert lost["type"] in {"already_claimed", "not_eligible"}
            if lost["type"] == "already_claimed":
                (won,) = [a.json() for a in answers if a.status_code == 200]
                assert (lost["claimed_by"], lost["at"]) == (won["operator"], won["at"])
    again = await routing.claim(ids[0], (await routing.said("request_assigned"))[0]["operator"])
    assert again.status_code == 200  # claiming what one has changes nothing
    assert len({f["request_id"] for f in await routing.said("request_assigned")}) == 8


async def test_forbidden_and_unknown_are_refused(routing: Routing) -> None:
    await routing.start()
    id_ = uuid4()
    await routing.tell(opened(id_, "billing"))
    await routing.waiting(1)
    anna = routing.me("anna")
    assert (await routing.claim(id_, "anna")).status_code == 403
    assert (await routing.claim(id_, "olena")).json()["reason"] == "offline"
    assert (await routing.claim(uuid4(), "olena")).status_code == 404
    http = routing.http
    mine = await http.put("/v1/operators/anna/presence", json={"status": "busy"}, headers=anna)
    assert mine.status_code == 200
    theirs = await http.put("/v1/operators/olena/presence", json={"status": "busy"}, headers=anna)
    assert theirs.status_code == 403
    wrong = await http.put("/v1/operators/anna/presence", json={"status": "gone"}, headers=anna)
    assert wrong.status_code == 422
    assert (await http.get("/v1/queue", headers=anna)).json()["items"] == []
    assert (await http.get(f"/v1/queue/{id_}", headers=anna)).status_code == 403
    assert (await http.get(f"/v1/requests/{id_}/decisions", headers=anna)).status_code == 403
    assert (await http.get("/v1/audit", headers=anna)).status_code == 403
    assert (await http.get("/v1/queue")).status_code == 401
    unknown = await http.put(
        "/v1/operators/nobody/presence", json={"status": "busy"}, headers=routing.boss
    )
    assert unknown.status_code == 404
    assert len((await http.get("/v1/operators?limit=2", headers=anna)).json()["items"]) == 2


async def test_presence_lease_expires_unless_renewed(routing: Routing) -> None:
    clock = Clock(datetime.now(UTC))
    await routing.start(clock)
    await routing.appear("anna", lease_seconds=60)
    clock.forward(seconds=50)
    await routing.appear("anna", lease_seconds=60)
    clock.forward(seconds=50)
    assert (await routing.appear("bohdan"))["status"] == "online"
    assert (await routing.get("/v1/operators/anna"))["status"] == "online"
    clock.forward(seconds=11)

    async def gone() -> bool:
        return (await routing.get("/v1/operators/anna"))["status"] == "offline"

    await eventually(gone)
    assert [(f["operator"], f["from"], f["to"], f["by"]) for f in await routing.said()] == [
        ("anna", "offline", "online", "boss"),
        ("bohdan", "offline", "online", "boss"),
        ("anna", "online", "offline", "lease"),
    ]


async def test_lowered_limit_leaves_the_load(
    routing: Routing,
) -> None:
    await routing.start()
    await routing.appear("bohdan")
    ids = [uuid4() for _ in range(7)]
    await routing.tell(*(opened(id_) for id_ in ids))
    await routing.waiting(2)
    text = EXAMPLE.read_text()
    line = next(x for x in text.splitlines() if "bohdan@" in x)
    await routing.world.apply(text.replace(line, line.replace("limit: 5", "limit: 2")))

    async def lowered() -> bool:
        return (await routing.get("/v1/operators/bohdan"))["limit"] == 2

    await eventually(lowered)
    await routing.tell(*(closed(id_) for id_ in ids[:3]))
    await routing.load("bohdan", 2)
    await routing.tell(closed(ids[3]))
    await routing.waiting(1)
    await routing.load("bohdan", 2)
    await routing.world.apply(text.replace(line, line.replace("limit: 5", "limit: 3")))
    await routing.waiting(0)
    await routing.load("bohdan", 3)


async def test_lone_operator_gets_redistributed_requests_again(routing: Routing) -> None:
    await routing.start()
    await routing.appear("olena")
    id_ = uuid4()
    await routing.tell(opened(id_, "billing"))
    await routing.load("olena", 1)
    path = "/v1/operators/olena/redistribute"
    answer = await routing.http.post(path, headers=routing.boss)
    assert answer.json()["redistributed"] == [str(id_)]
    await routing.waiting(1)
    await routing.appear("olena")
    await routing.load("olena", 1)


async def test_retired_group_leaves_its_requests_to_another(routing: Routing) -> None:
    """A group retires with its topic and its operator: others answer in their place."""
    await routing.start()
    await routing.appear("olena")
    has, waits, later = uuid4(), uuid4(), uuid4()
    await routing.tell(opened(has, "billing"))
    await routing.load("olena", 1)
    await routing.appear("olena", "away")
    await routing.tell(opened(waits, "billing"))
    await routing.waiting(1)

    document = YAML(typ="safe", pure=True).load(EXAMPLE.read_text())
    for kind, name in (("topics", "billing"), ("groups", "finance"), ("operators", "olena")):
        document[kind][name]["retired"] = True
    for operator in document["operators"].values():
        operator.pop("skills", None)
    await routing.world.apply(json.dumps(document))

    async def moved() -> bool:
        return [i["group"] for i in await routing.waiting(1)] == ["first-line"]

    await eventually(moved)
    await routing.tell(opened(later, "billing"))
    answer = await routing.http.post("/v1/operators/olena/redistribute", headers=routing.boss)
    assert answer.json()["redistributed"] == [str(has)]
    assert {i["group"] for i in await routing.waiting(3)} == {"first-line"}
    unknown = await routing.http.post("/v1/operators/nobody/redistribute", headers=routing.boss)
    assert unknown.status_code == 404
    await routing.appear("anna")
    await routing.waiting(0)


async def test_priority_topic_and_transfer_move_a_request(routing: Routing) -> None:
    await routing.start()
    first, second = uuid4(), uuid4()
    now = datetime.now(UTC)
    await routing.tell(
        opened(first), opened(second),
        PriorityChanged(time=now, request_id=second, from_="medium", to="critical", by="x"),
    )  # fmt: skip
    await routing.waiting(2)

    async def reordered() -> bool:
        items = (await routing.get("/v1/queue"))["items"]
        return items[0]["request_id"] == str(second)

    await eventually(reordered)
    await routing.tell(
        TopicChanged(time=now, request_id=first, from_="general", to="billing", by="x")
    )

    async def moved() -> bool:
        return (await routing.get(f"/v1/queue/{first}"))["group"] == "finance"

    await eventually(moved)
    await routing.appear("anna")
    await routing.load("anna", 1)
    await routing.appear("bohdan")
    await routing.tell(TransferRequested(time=now, request_id=second, by="anna"))
    await routing.load("bohdan", 1)
    await routing.load("anna", 0)
    facts = [(f["fact"], f.get("epoch")) for f in await routing.said() if f["key"] == str(second)]
    assert facts == [
        ("request_queued", None), ("request_assigned", 1), ("request_unassigned", 1),
        ("request_queued", None), ("request_assigned", 2),
    ]  # fmt: skip
    answer = await routing.http.post("/v1/operators/bohdan/redistribute", headers=routing.boss)
    assert answer.json()["redistributed"] == [str(second)]
    await routing.load("anna", 1)
    assert (await routing.get("/v1/operators/bohdan"))["status"] == "offline"


async def test_audit_finds_only_a_planted_anomaly(routing: Routing) -> None:
    clock = Clock(datetime.now(UTC))
    await routing.start(clock)
    await routing.appear("anna")
    held, hidden = uuid4(), uuid4()
    await routing.tell(opened(held))
    await routing.load("anna", 1)
    clock.forward(seconds=31)
    await routing.appear("bohdan", "away")
    audit = await routing.get("/v1/audit")
    assert (audit["anomalies"], audit["decisions"], audit["distributed"]) == (0, 1, 1)

    # the positive control: somebody is put into the queue behind the matcher's back
    await routing.world.sql(
        "routing",
        "INSERT INTO queue"
        " (request_id, request_group, topic, channel, weight, created_at, queued_at)"
        " VALUES (%s, 'first-line', 'general', 'telegram', 1, now(), now())",
        hidden,
    )
    clock.forward(seconds=31)
    await routing.load("anna", 2)
    audit = await routing.get("/v1/audit")
    assert [(i["kind"], i["request_id"], i["operator"]) for i in audit["items"]] == [
        ("waited_in_vain", str(hidden), "anna")
    ]


async def test_two_replicas_assign_every_request_once(routing: Routing) -> None:
    clock_start = datetime.now(UTC)
    for _ in range(2):
        await routing.start(READERS="2")
    for name in ("anna", "bohdan", "olena"):
        await routing.appear(name)
    ids = [uuid4() for _ in range(60)]
    topics = ("general", "delivery", "billing")
    opening = [
        opened(id_, topics[n % 3], clock_start + timedelta(microseconds=n))
        for n, id_ in enumerate(ids)
    ]

    async def close_what_is_given() -> None:
        done: set[str] = set()
        while len(done) < len(ids):
            for fact in await routing.said("request_assigned"):
                if fact["request_id"] not in done:
                    done.add(fact["request_id"])
                    await routing.tell(closed(UUID(fact["request_id"])))
            await asyncio.sleep(0.01)

    await asyncio.gather(routing.tell(*opening), close_what_is_given())
    await asyncio.gather(*(routing.load(name, 0) for name in ("anna", "bohdan", "olena")))
    rows = await routing.world.sql("routing", "SELECT count(*) FROM tombstones")
    assert rows == [(60,)]
    assigned = await routing.said("request_assigned")
    assert sorted(f["request_id"] for f in assigned) == sorted(map(str, ids))
