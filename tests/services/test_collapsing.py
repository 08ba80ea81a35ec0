"""Breaches of waiting requests: one bell per operator, group and kind while it is unread."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from telling import Teller

from chassis.testing import eventually, running
from notify.app import make
from notify.settings import Settings
from trunkline_contracts import (
    AssigneeChanged,
    Contact,
    Message,
    Opened,
    TargetBreached,
    TargetWarned,
    WatcherAdded,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx
    from world import World

    from trunkline_contracts import Fact

MEMBERS = ("anna", "bohdan", "olena")
MANY = 300
SENT = "SELECT body FROM outbox WHERE type = 'trunkline.notify.v1.notification_sent'"
HEARD = "SELECT count(*), count(DISTINCT fact_id) FROM group_notices"


class Notify:
    """Two replicas of notify that share the slots, and a teller of facts."""

    def __init__(self, world: World, teller: Teller) -> None:
        self.world, self.tell = world, teller.tell
        self._stack = AsyncExitStack()
        self.http: list[httpx.AsyncClient] = []

    async def start(self) -> None:
        """Run both replicas."""
        for _ in range(2):
            app = make(self.world.settings("notify", Settings, READERS="2"))
            self.http.append(await self._stack.enter_async_context(running(app)))

    async def stop(self) -> None:
        """Stop both replicas."""
        await self._stack.aclose()
        self.http.clear()

    async def bell(self, who: str) -> list[dict[str, Any]]:
        """Return an operator's notifications."""
        token = self.world.token("operator", subject=who)
        answer = await self.http[0].get(f"/v1/operators/{who}/notifications", headers=token)
        return list(answer.json()["items"])

    async def bells(self, who: str) -> list[dict[str, Any]]:
        """Return all of an operator's notifications, page by page."""
        token, found, cursor = self.world.token("operator", subject=who), [], ""
        while cursor is not None:
            path = f"/v1/operators/{who}/notifications?limit=200{cursor and f'&cursor={cursor}'}"
            page = (await self.http[0].get(path, headers=token)).json()
            found += page["items"]
            cursor = page["next"]
        return found

    async def read(self, who: str) -> int:
        """Mark everything as read; returns how many bells that were."""
        token = self.world.token("operator", subject=who)
        answer = await self.http[1].post(f"/v1/operators/{who}/notifications/read", headers=token)
        return int(answer.json()["read"])

    async def told(self, request_id: UUID) -> Counter[tuple[str, str]]:
        """Return who was told of a request by which kind, and whether by a bell of its own."""
        path = f"/v1/deliveries?request_id={request_id}"
        answer = await self.http[0].get(path, headers=self.world.token("supervisor"))
        items = [item for item in answer.json()["items"] if item["what"] == "notification"]
        return Counter((item["to"], item["state"]) for item in items)

    async def heard(self, facts: int) -> None:
        """Wait until so many warnings and breaches were told to the group, each once."""

        async def there() -> bool:
            [(rows, distinct)] = await self.world.sql("notify", HEARD)
            assert rows == distinct
            return bool(rows == facts)

        await eventually(there, within=20)


@pytest.fixture
async def notify(world: World) -> AsyncGenerator[Notify]:
    await world.apply()
    async with Teller(world) as teller:
        notify = Notify(world, teller)
        await notify.start()
        try:
            yield notify
        finally:
            await notify.stop()


def opened(request_id: UUID) -> Fact:
    now = datetime.now(UTC)
    return Opened(
        time=now, workspace=1, request_id=request_id, request_type="chat", channel="telegram",
        account="main", contact=Contact(id=uuid4(), address="77"), topic="general",
        priority="medium", status="new", message=Message(id=uuid4(), text="hi", sent_at=now),
        conversation="77",
    )  # fmt: skip


def breached(request_id: UUID, clock: str = "FRT") -> Fact:
    now = datetime.now(UTC)
    return TargetBreached(time=now, request_id=request_id, clock=clock, due_at=now, noticed_at=now)


def warned(request_id: UUID) -> Fact:
    now = datetime.now(UTC)
    return TargetWarned(time=now, request_id=request_id, clock="FRT", fraction=0.8, due_at=now)


async def test_breaches_of_waiting_requests_ring_one_bell(notify: Notify) -> None:
    requests = [uuid4() for _ in range(MANY)]
    await notify.tell(*map(opened, requests))
    await notify.tell(*map(warned, requests[:3]), *map(breached, requests))
    await notify.heard(MANY + 3)

    for who in MEMBERS:
        bell, warning = sorted(await notify.bell(who), key=lambda item: str(item["kind"]))
        assert (bell["kind"], bell["count"], bell["read"]) == ("breached", MANY, False)
        assert bell["text"].endswith(f", and {MANY - 1} more waiting in first-line")
        assert (warning["kind"], warning["count"]) == ("warned", 3)
    assert len(await notify.world.sql("notify", SENT)) == 2 * len(MEMBERS)
    states: Counter[tuple[str, str]] = Counter()
    for request_id in requests[3:23]:
        told = await notify.told(request_id)
        assert {who for who, _ in told} == set(MEMBERS)
        states += told
    assert sum(states.values()) == 20 * len(MEMBERS)

    await notify.stop()
    await notify.world.sql("notify", "UPDATE reader_position SET position = 0, stream_sequence = 0")
    await notify.start()  # everything is heard again
    await notify.tell(breached(requests[0], "TTR"))
    await notify.heard(MANY + 4)

    assert {item["count"] for item in await notify.bell("anna")} == {MANY + 1, 3}


async def test_read_bell_collects_no_more(notify: Notify) -> None:
    first, second, third = (uuid4() for _ in range(3))
    await notify.tell(opened(first), opened(second), opened(third))
    await notify.tell(breached(first), breached(second))
    await notify.heard(2)

    assert await notify.read("anna") == 1
    await notify.tell(breached(third))
    await notify.heard(3)

    mine = [(item["count"], item["read"], item["request_id"]) for item in await notify.bell("anna")]
    assert mine[0] == (1, False, str(third))
    assert mine[1][:2] == (2, True)
    assert await notify.told(third) == Counter(
        {("anna", "sent"): 1, ("bohdan", "collapsed"): 1, ("olena", "collapsed"): 1}
    )
    assert len(await notify.world.sql("notify", SENT)) == len(MEMBERS) + 1


async def test_bells_read_while_they_are_raised_lose_nothing(notify: Notify) -> None:
    requests = [uuid4() for _ in range(MANY // 2)]
    await notify.tell(*map(opened, requests))
    done = asyncio.Event()

    async def reading(who: str) -> int:
        windows = 0
        while not done.is_set():
            windows += await notify.read(who)
        return windows

    async def telling() -> None:
        for pair in zip(requests[::2], requests[1::2], strict=True):
            await notify.tell(*map(warned, pair), *map(breached, pair))
        await notify.heard(2 * len(requests))
        done.set()

    windows, _, _, _ = await asyncio.gather(*map(reading, MEMBERS), telling())

    for who in MEMBERS:
        assert sum([item["count"] for item in await notify.bells(who)]) == 2 * len(requests)
    assert int(windows or 0) > 4
    assert await notify.world.sql("notify", "SELECT count(*) FROM parked") == [(0,)]


async def test_watcher_and_assignee_get_a_bell_for_each(notify: Notify) -> None:
    """The control: what is not told to a group as such never collapses."""
    requests = [uuid4() for _ in range(4)]
    now = datetime.now(UTC)
    for request_id in requests[:2]:
        watching = WatcherAdded(time=now, request_id=request_id, watcher="bohdan", by="boss")
        await notify.tell(opened(request_id), watching)
    for request_id in requests[2:]:
        to_anna = AssigneeChanged(time=now, request_id=request_id, to="anna", mode="auto", epoch=1)
        await notify.tell(opened(request_id), to_anna)

    async def known() -> bool:
        return len(await notify.bell("anna")) == len(await notify.bell("bohdan")) == 2

    await eventually(known)
    await notify.tell(*map(breached, requests))

    async def rung() -> bool:
        kinds = {who: [i["kind"] for i in await notify.bell(who)] for who in MEMBERS}
        return {who: each.count("breached") for who, each in kinds.items()} == {
            "anna": 3,  # of her two each, of the waiting two one
            "bohdan": 2,
            "olena": 1,
        }

    await eventually(rung)
