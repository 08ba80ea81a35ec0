"""sla on real servers: facts move clocks, and each deadline is noticed once by any replica."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from telling import Teller
from world import EXAMPLE

from chassis.settings import Settings
from chassis.testing import eventually, running
from sla.app import make
from trunkline_contracts import AssigneeChanged, Closed, Contact, Message, Opened, ReplySent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx
    from world import World

    from trunkline_contracts import Fact


class Sla:
    """Replicas of sla in the environment of a test, and a publisher of facts for them."""

    def __init__(self, world: World, teller: Teller) -> None:
        self.world = world
        self.tell = teller.tell
        self._stack = AsyncExitStack()
        self.http: httpx.AsyncClient
        self.boss = world.token("supervisor")

    async def start(self) -> None:
        """Start one more replica."""
        app = make(self.world.settings("sla", Settings))
        self.http = await self._stack.enter_async_context(running(app))

    async def stop(self) -> None:
        """Stop every replica."""
        await self._stack.aclose()

    async def clocks(self, request_id: UUID) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/requests/{request_id}/clocks", headers=self.boss)
        return {item["clock"]: item for item in answer.json().get("items", [])}

    async def published(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.world.sql(
            "sla", "SELECT body FROM outbox WHERE type = %s ORDER BY position",
            f"trunkline.sla.v1.{kind}",
        )  # fmt: skip
        return [json.loads(bytes(body))["data"] for (body,) in rows]


@pytest.fixture
async def sla(world: World) -> AsyncGenerator[Sla]:
    await world.apply(targets("PT15M"))
    async with Teller(world) as teller:
        sla = Sla(world, teller)
        try:
            yield sla
        finally:
            await sla.stop()


def targets(first: str) -> str:
    """Return the example workspace with another target for the first response."""
    text = EXAMPLE.read_text()
    assert "FRT: PT15M" in text
    return text.replace("FRT: PT15M", f"FRT: {first}")


def opened(request_id: UUID, at: datetime | None = None) -> Fact:
    at = at or datetime.now(UTC)
    return Opened(
        time=at, workspace=1, request_id=request_id, request_type="chat", channel="telegram",
        account="main", contact=Contact(id=uuid4(), address="77"), topic="general",
        priority="medium", status="new", message=Message(id=uuid4(), text="hi", sent_at=at),
    )  # fmt: skip


def assigned(request_id: UUID, to: str = "anna") -> Fact:
    now = datetime.now(UTC)
    return AssigneeChanged(
        time=now, request_id=request_id, to=to, group="first-line", mode="auto", epoch=1
    )


def replied(request_id: UUID, at: datetime | None = None) -> Fact:
    at = at or datetime.now(UTC)
    return ReplySent(
        time=at, request_id=request_id, message=Message(id=uuid4(), text="yes", sent_at=at),
        by="anna", channel="telegram", account="main", contact=Contact(id=uuid4()),
    )  # fmt: skip


def closed(request_id: UUID) -> Fact:
    now = datetime.now(UTC)
    return Closed(
        time=now, request_id=request_id, resolution="done", by="operator", status="closed"
    )


async def test_request_whole_life_is_timed(sla: Sla) -> None:
    await sla.start()
    id_ = uuid4()
    await sla.tell(opened(id_))

    async def runs() -> bool:
        found = await sla.clocks(id_)
        return {c["state"] for c in found.values()} == {"running"} and len(found) == 3

    await eventually(runs)
    await sla.tell(assigned(id_), replied(id_), closed(id_))

    async def met() -> bool:
        states = {name: clock["state"] for name, clock in (await sla.clocks(id_)).items()}
        return states == {"FRT": "met", "TTR": "met", "ACCEPT": "met"}

    await eventually(met)
    frt = (await sla.clocks(id_))["FRT"]
    assert set(frt) == {
        "clock", "state", "started_at", "due_at", "stopped_at", "elapsed", "target", "policy",
    }  # fmt: skip
    assert frt["target"] == 900
    assert frt["policy"] == "standard"
    assert {m["clock"] for m in await sla.published("target_met")} == {"FRT", "TTR", "ACCEPT"}


async def test_deadline_is_noticed_once_and_in_time(sla: Sla) -> None:
    await sla.world.apply(targets("PT1S"))
    for _ in range(2):
        await sla.start()
    ids = [uuid4() for _ in range(20)]
    facts = [opened(id_).model_copy(update={"workspace": 2}) for id_ in ids]
    await sla.tell(*facts)

    async def all_noticed() -> bool:
        return len(await sla.published("target_breached")) >= len(ids)

    await eventually(all_noticed)
    breached = await sla.published("target_breached")
    due = {str(fact.subject): fact.time + timedelta(seconds=1) for fact in facts}
    assert sorted(b["request_id"] for b in breached) == sorted(map(str, ids))
    for breach in breached:
        late = datetime.fromisoformat(breach["noticed_at"]) - due[breach["request_id"]]
        assert datetime.fromisoformat(breach["due_at"]) == due[breach["request_id"]]
        assert timedelta(seconds=0.5) <= late < timedelta(seconds=2)


async def test_deadline_during_outage_is_noticed_after_it(sla: Sla) -> None:
    id_, then = uuid4(), datetime.now(UTC) - timedelta(hours=1)
    await sla.tell(opened(id_, then))
    await sla.start()

    async def noticed() -> bool:
        return len(await sla.published("target_breached")) == 2

    await eventually(noticed)
    assert {b["clock"] for b in await sla.published("target_breached")} == {"FRT", "ACCEPT"}
    assert {w["clock"] for w in await sla.published("target_warned")} == set()


async def test_late_fact_disproves_a_breach(sla: Sla) -> None:
    id_, then = uuid4(), datetime.now(UTC) - timedelta(minutes=20)
    await sla.start()
    await sla.tell(opened(id_, then))

    async def breached() -> bool:
        return (await sla.clocks(id_))["FRT"]["state"] == "breached"

    await eventually(breached)
    overdue = (await sla.http.get("/v1/overdue", headers=sla.boss)).json()
    assert {(i["request_id"], i["clock"]) for i in overdue["items"]} == {
        (str(id_), "FRT"), (str(id_), "ACCEPT"),
    }  # fmt: skip
    await sla.tell(replied(id_, then + timedelta(minutes=14)))

    async def met() -> bool:
        return (await sla.clocks(id_))["FRT"]["state"] == "met"

    await eventually(met)
    [restated] = await sla.published("targets_restated")
    assert [(t["clock"], t["state"]) for t in restated["targets"]] == [("FRT", "met")]
    overdue = (await sla.http.get("/v1/overdue", headers=sla.boss)).json()
    assert [i["clock"] for i in overdue["items"]] == ["ACCEPT"]


async def test_overdue_pages_follow_each_other(sla: Sla) -> None:
    then = datetime.now(UTC) - timedelta(minutes=30)
    await sla.tell(*[opened(uuid4(), then) for _ in range(5)])
    await sla.start()

    async def noticed() -> bool:
        return len(await sla.published("target_breached")) == 10

    await eventually(noticed)
    seen, cursor = [], ""
    while True:
        query = f"limit=4{f'&cursor={cursor}' if cursor else ''}"
        page = (await sla.http.get(f"/v1/overdue?{query}", headers=sla.boss)).json()
        seen += [(i["request_id"], i["clock"]) for i in page["items"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == 10
    wrong = await sla.http.get("/v1/overdue?cursor=nonsense", headers=sla.boss)
    assert wrong.status_code == 422


async def test_roles_decide_readable_clocks(sla: Sla) -> None:
    id_ = uuid4()
    await sla.start()
    await sla.tell(opened(id_), assigned(id_, "anna"))

    async def accepted() -> bool:
        return (await sla.clocks(id_))["ACCEPT"]["state"] == "met"

    await eventually(accepted)
    path = f"/v1/requests/{id_}/clocks"

    async def status(**claims: Any) -> int:
        header = sla.world.token(*claims["roles"], subject=claims["subject"])
        return (await sla.http.get(path, headers=header)).status_code

    assert await status(roles=["operator"], subject="anna") == 200
    assert await status(roles=["operator"], subject="bohdan") == 200  # of the same group
    assert await status(roles=["operator"], subject="stranger") == 403
    assert await status(roles=["integrator"], subject="acme") == 403
    assert (await sla.http.get(path)).status_code == 401
    unknown = await sla.http.get(f"/v1/requests/{uuid4()}/clocks", headers=sla.boss)
    assert unknown.status_code == 404


async def test_timer_finds_due_clocks_by_index(sla: Sla) -> None:
    await sla.world.sql(
        "sla",
        "INSERT INTO clocks (request_id, clock, slot, policy, target, started_at, wake_at)"
        " SELECT gen_random_uuid(), 'FRT', n %% 16, 'p', 1, now(),"
        " CASE WHEN n %% 50 = 0 THEN now() + n * interval '1 second' END"
        " FROM generate_series(1, 20000) n",
    )
    await sla.world.sql("sla", "ANALYZE clocks")
    plan = await sla.world.sql(
        "sla",
        "EXPLAIN SELECT request_id FROM clocks WHERE wake_at <= now()"
        " AND slot = ANY(%s::smallint[]) ORDER BY wake_at LIMIT 2000",
        list(range(16)),
    )

    assert "clocks_wake" in "\n".join(line for (line,) in plan)
