"""The routing service on real servers: presence, assignment, claims, leases, the audit."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from routing_stack import RoutingStack, closed, opened
from ruamel.yaml import YAML
from telling import Teller
from world import EXAMPLE

from chassis.testing import Clock, eventually
from trunkline_contracts import PriorityChanged, TopicChanged, TransferRequested

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import World


@pytest.fixture
async def routing(world: World) -> AsyncGenerator[RoutingStack]:
    await world.apply()
    async with Teller(world) as teller:
        routing = RoutingStack(world, teller)
        try:
            yield routing
        finally:
            await routing.stop()


async def test_opened_request_is_assigned_and_closed(routing: RoutingStack) -> None:
    await routing.start()
    assert (await routing.set_presence("anna"))["status"] == "online"
    id_ = uuid4()
    await routing.publish(opened(id_))

    anna = await routing.load("anna", 1)
    assert anna["channels"]["telegram"] == {"load": 1, "limit": 4}
    assert [f["fact"] for f in await routing.facts()] == [
        "operator_presence_changed", "request_queued", "request_assigned",
    ]  # fmt: skip
    (assigned,) = await routing.facts("request_assigned")
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

    await routing.publish(closed(id_))
    anna = await routing.load("anna", 0)
    assert anna["last_closed_at"] is not None
    assert (await routing.claim(id_, "anna")).json()["type"] == "closed"


async def test_waiting_requests_are_assigned_in_queue_order(routing: RoutingStack) -> None:
    await routing.start()
    old, heavy, billing, last = (uuid4() for _ in range(4))
    await routing.publish(
        opened(old), opened(heavy, priority="critical"), opened(billing, "billing"), opened(last)
    )
    items = await routing.waiting(4)
    assert [i["request_id"] for i in items] == [str(i) for i in (heavy, old, billing, last)]
    assert [i["position"] for i in items] == [1, 2, 1, 3]
    assert items[0]["expected_wait"] is None
    assert {f["group"] for f in await routing.facts("capacity_reached")} == {
        "first-line",
        "finance",
    }
    one = await routing.get(f"/v1/queue/{billing}")
    assert one["operators"] == {"olena": "offline"}

    await routing.set_presence("anna", "away")
    assert (await routing.claim(last, "anna")).status_code == 200
    assert len(await routing.waiting(3)) == 3
    await routing.set_presence("anna")
    assert [i["request_id"] for i in await routing.waiting(1)] == [str(billing)]
    assert [f["request_id"] for f in await routing.facts("request_assigned")] == [
        str(i) for i in (last, heavy, old)
    ]
    await routing.set_presence("olena")
    assert await routing.waiting(0) == []
    assert (await routing.load("olena", 1))["groups"] == ["finance", "first-line"]


async def test_second_claim_returns_409_with_the_winner(routing: RoutingStack) -> None:
    for _ in range(2):
        await routing.start()
    ids = [uuid4() for _ in range(8)]
    await routing.publish(*(opened(id_) for id_ in ids))
    await routing.waiting(8)
    for name in ("anna", "bohdan"):
        await routing.set_presence(name, "away")

    for n, id_ in enumerate(ids):
        # Two claims at a time, through two replicas; an operator's limit is five.
        responses = await asyncio.gather(
            routing.claim(id_, "anna", n % 2), routing.claim(id_, "bohdan", (n + 1) % 2)
        )
        codes = sorted(response.status_code for response in responses)
        assert codes in ([200, 409], [409, 409])
        for lost in (a.json() for a in responses if a.status_code == 409):
            assert lost["type"] in {"already_claimed", "not_eligible"}
            if lost["type"] == "already_claimed":
                (won,) = [a.json() for a in responses if a.status_code == 200]
                assert (lost["claimed_by"], lost["at"]) == (won["operator"], won["at"])
    again = await routing.claim(ids[0], (await routing.facts("request_assigned"))[0]["operator"])
    assert again.status_code == 200  # a repeated claim changes nothing
    assert len({f["request_id"] for f in await routing.facts("request_assigned")}) == 8


async def test_forbidden_and_unknown_are_refused(routing: RoutingStack) -> None:
    await routing.start()
    id_ = uuid4()
    await routing.publish(opened(id_, "billing"))
    await routing.waiting(1)
    anna = routing.operator("anna")
    assert (await routing.claim(id_, "anna")).status_code == 403
    assert (await routing.claim(id_, "olena")).json()["reason"] == "offline"
    assert (await routing.claim(uuid4(), "olena")).status_code == 404
    http = routing.http
    own = await http.put("/v1/operators/anna/presence", json={"status": "busy"}, headers=anna)
    assert own.status_code == 200
    other = await http.put("/v1/operators/olena/presence", json={"status": "busy"}, headers=anna)
    assert other.status_code == 403
    wrong = await http.put("/v1/operators/anna/presence", json={"status": "gone"}, headers=anna)
    assert wrong.status_code == 422
    assert (await http.get("/v1/queue", headers=anna)).json()["items"] == []
    assert (await http.get(f"/v1/queue/{id_}", headers=anna)).status_code == 403
    assert (await http.get(f"/v1/requests/{id_}/decisions", headers=anna)).status_code == 403
    assert (await http.get("/v1/audit", headers=anna)).status_code == 403
    assert (await http.get("/v1/queue")).status_code == 401
    unknown = await http.put(
        "/v1/operators/nobody/presence", json={"status": "busy"}, headers=routing.supervisor
    )
    assert unknown.status_code == 404
    assert len((await http.get("/v1/operators?limit=2", headers=anna)).json()["items"]) == 2


async def test_presence_lease_expires_unless_renewed(routing: RoutingStack) -> None:
    clock = Clock(datetime.now(UTC))
    await routing.start(clock)
    await routing.set_presence("anna", lease_seconds=60)
    clock.forward(seconds=50)
    await routing.set_presence("anna", lease_seconds=60)
    clock.forward(seconds=50)
    assert (await routing.set_presence("bohdan"))["status"] == "online"
    assert (await routing.get("/v1/operators/anna"))["status"] == "online"
    clock.forward(seconds=11)

    async def gone() -> bool:
        return (await routing.get("/v1/operators/anna"))["status"] == "offline"

    await eventually(gone)
    assert [(f["operator"], f["from"], f["to"], f["by"]) for f in await routing.facts()] == [
        ("anna", "offline", "online", "boss"),
        ("bohdan", "offline", "online", "boss"),
        ("anna", "online", "offline", "lease"),
    ]


async def test_lowered_limit_leaves_the_load(
    routing: RoutingStack,
) -> None:
    await routing.start()
    await routing.set_presence("bohdan")
    ids = [uuid4() for _ in range(7)]
    await routing.publish(*(opened(id_) for id_ in ids))
    await routing.waiting(2)
    text = EXAMPLE.read_text()
    line = next(x for x in text.splitlines() if "bohdan@" in x)
    await routing.world.apply(text.replace(line, line.replace("limit: 5", "limit: 2")))

    async def lowered() -> bool:
        return (await routing.get("/v1/operators/bohdan"))["limit"] == 2

    await eventually(lowered)
    await routing.publish(*(closed(id_) for id_ in ids[:3]))
    await routing.load("bohdan", 2)
    await routing.publish(closed(ids[3]))
    await routing.waiting(1)
    await routing.load("bohdan", 2)
    await routing.world.apply(text.replace(line, line.replace("limit: 5", "limit: 3")))
    await routing.waiting(0)
    await routing.load("bohdan", 3)


async def test_lone_operator_gets_redistributed_requests_again(routing: RoutingStack) -> None:
    await routing.start()
    await routing.set_presence("olena")
    id_ = uuid4()
    await routing.publish(opened(id_, "billing"))
    await routing.load("olena", 1)
    path = "/v1/operators/olena/redistribute"
    response = await routing.http.post(path, headers=routing.supervisor)
    assert response.json()["redistributed"] == [str(id_)]
    await routing.waiting(1)
    await routing.set_presence("olena")
    await routing.load("olena", 1)


async def test_retired_group_leaves_its_requests_to_another(routing: RoutingStack) -> None:
    """A group retires with topic and operator: the default topic's group takes over."""
    await routing.start()
    await routing.set_presence("olena")
    has, waits, later = uuid4(), uuid4(), uuid4()
    await routing.publish(opened(has, "billing"))
    await routing.load("olena", 1)
    await routing.set_presence("olena", "away")
    await routing.publish(opened(waits, "billing"))
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
    await routing.publish(opened(later, "billing"))
    response = await routing.http.post(
        "/v1/operators/olena/redistribute", headers=routing.supervisor
    )
    assert response.json()["redistributed"] == [str(has)]
    assert {i["group"] for i in await routing.waiting(3)} == {"first-line"}
    unknown = await routing.http.post(
        "/v1/operators/nobody/redistribute", headers=routing.supervisor
    )
    assert unknown.status_code == 404
    await routing.set_presence("anna")
    await routing.waiting(0)


async def test_priority_topic_and_transfer_move_a_request(routing: RoutingStack) -> None:
    await routing.start()
    first, second = uuid4(), uuid4()
    now = datetime.now(UTC)
    await routing.publish(
        opened(first), opened(second),
        PriorityChanged(time=now, request_id=second, from_="medium", to="critical", by="x"),
    )  # fmt: skip
    await routing.waiting(2)

    async def reordered() -> bool:
        items = (await routing.get("/v1/queue"))["items"]
        return items[0]["request_id"] == str(second)

    await eventually(reordered)
    await routing.publish(
        TopicChanged(time=now, request_id=first, from_="general", to="billing", by="x")
    )

    async def moved() -> bool:
        return (await routing.get(f"/v1/queue/{first}"))["group"] == "finance"

    await eventually(moved)
    await routing.set_presence("anna")
    await routing.load("anna", 1)
    await routing.set_presence("bohdan")
    await routing.publish(TransferRequested(time=now, request_id=second, by="anna"))
    await routing.load("bohdan", 1)
    await routing.load("anna", 0)
    facts = [(f["fact"], f.get("epoch")) for f in await routing.facts() if f["key"] == str(second)]
    assert facts == [
        ("request_queued", None), ("request_assigned", 1), ("request_unassigned", 1),
        ("request_queued", None), ("request_assigned", 2),
    ]  # fmt: skip
    response = await routing.http.post(
        "/v1/operators/bohdan/redistribute", headers=routing.supervisor
    )
    assert response.json()["redistributed"] == [str(second)]
    await routing.load("anna", 1)
    assert (await routing.get("/v1/operators/bohdan"))["status"] == "offline"


async def test_audit_finds_only_a_planted_anomaly(routing: RoutingStack) -> None:
    clock = Clock(datetime.now(UTC))
    await routing.start(clock)
    await routing.set_presence("anna")
    held, hidden = uuid4(), uuid4()
    await routing.publish(opened(held))
    await routing.load("anna", 1)
    clock.forward(seconds=31)
    await routing.set_presence("bohdan", "away")
    audit = await routing.get("/v1/audit")
    assert (audit["anomalies"], audit["decisions"], audit["distributed"]) == (0, 1, 1)

    # The positive control: a request enters the queue without the matcher.
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


async def test_two_replicas_assign_every_request_once(routing: RoutingStack) -> None:
    clock_start = datetime.now(UTC)
    for _ in range(2):
        await routing.start(READERS="2")
    for name in ("anna", "bohdan", "olena"):
        await routing.set_presence(name)
    ids = [uuid4() for _ in range(60)]
    topics = ("general", "delivery", "billing")
    opening = [
        opened(id_, topics[n % 3], clock_start + timedelta(microseconds=n))
        for n, id_ in enumerate(ids)
    ]

    async def close_assigned() -> None:
        done: set[str] = set()
        while len(done) < len(ids):
            for fact in await routing.facts("request_assigned"):
                if fact["request_id"] not in done:
                    done.add(fact["request_id"])
                    await routing.publish(closed(UUID(fact["request_id"])))
            await asyncio.sleep(0.01)

    await asyncio.gather(routing.publish(*opening), close_assigned())
    await asyncio.gather(*(routing.load(name, 0) for name in ("anna", "bohdan", "olena")))
    rows = await routing.world.sql("routing", "SELECT count(*) FROM tombstones")
    assert rows == [(60,)]
    assigned = await routing.facts("request_assigned")
    assert sorted(f["request_id"] for f in assigned) == sorted(map(str, ids))
