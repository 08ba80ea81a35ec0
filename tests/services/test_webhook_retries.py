"""Webhook retries on real servers: failing endpoints, pauses, redrives and a lost leader."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from webhook_stack import (
    Notify,
    Receiver,
    closed,
    hook,
    opened,
    receiving,
    titled,
    webhook_stack,
)

from chassis.testing import eventually
from notify.domain.webhooks import delivery_id
from trunkline_contracts import (
    Closed,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import World


@pytest.fixture
async def notify(world: World) -> AsyncGenerator[Notify]:
    async with webhook_stack(world) as stack:
        yield stack


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def test_failing_endpoint_keeps_order_and_delays_no_other(notify: Notify) -> None:
    async with receiving() as other, receiving() as receiver:
        port = int(receiver.url.rpartition(":")[2])
        await notify.declare(
            down=hook(f"http://127.0.0.1:{port}/down", ordered="true"),
            slow=hook(f"{other.url}/slow"),
            good=hook(f"{other.url}/good"),
        )
        await notify.start()
        other.hold.clear()
    async with receiving() as other_again:
        other_again.hold.clear()
        await notify.declare(
            down=hook(f"http://127.0.0.1:{port}/down", ordered="true"),
            slow=hook(f"{other_again.url}/slow"),
            good=hook(f"{other_again.url}/good"),
        )
        ids = [uuid4() for _ in range(20)]
        facts = [f.model_copy(update={"workspace": notify.version}) for f in map(opened, ids)]
        await notify.tell(*facts)
        await notify.tell(*[titled(id_, str(n)) for n in range(3) for id_ in ids])

        async def good() -> bool:
            return len(other_again.taken("good")) == 80

        await eventually(good)
        assert other_again.most["slow"] == 8
        assert other_again.tried("slow") == []

        async def refused() -> bool:
            stand = await notify.status("down")
            items = await notify.deliveries(ids[0])
            waits = [d for d in items if d["to"] == "down" and d["attempts"] == 1]
            return stand["pending"] == 80 and len(waits) == 1

        await eventually(refused)
        first, *rest = [d for d in await notify.deliveries(ids[0]) if d["to"] == "down"]
        assert (first["reason"], first["state"], first["attempts"]) == ("not reached", "pending", 1)
        assert {d["attempts"] for d in rest} == {0}
        other_again.hold.set()
        async with receiving(port) as back:
            await notify.hurry()

            async def caught_up() -> bool:
                await notify.hurry()
                return len(back.taken("down")) >= 80

            await eventually(caught_up, 15)
            for id_ in ids:
                mine = [f.sequence for f in back.taken("down") if f.subject == str(id_)]
                assert mine == [1, 2, 3, 4]


async def test_attempts_share_an_id_and_end_in_failure(notify: Notify, receiver: Receiver) -> None:
    await notify.declare(hook=hook(f"{receiver.url}/hook", ordered="true"))
    answers = [(status, {}) for status in (500, 301, 400, 404, 502, 500, 500, 500, 500, 500)]
    receiver.answers["hook"] = list(answers)
    await notify.start()
    id_ = uuid4()
    [fact, _] = await notify.tell(opened(id_), closed(id_))

    async def given_up() -> bool:
        await notify.hurry()
        states = [d["state"] for d in await notify.deliveries(id_)]
        return states == ["failed", "sent"]

    await eventually(given_up, 15)
    tries = receiver.tried()
    assert {h["webhook-id"] for h in tries[:10]} == {str(delivery_id(fact.id, "hook"))}
    assert [h["status"] for h in tries] == [*[str(s) for s, _ in answers], "204"]
    [failed] = await notify.world.sql(
        "notify", "SELECT body FROM outbox WHERE type = 'trunkline.notify.v1.notification_failed'"
    )
    told = json.loads(bytes(failed[0]))["data"]
    assert (told["recipient"], told["channel"], told["kind"]) == ("hook", "webhook", "opened")
    assert (await notify.status("hook"))["failed"] == 1

    answer = await notify.redrive("hook", failed=True)
    assert answer.json() == {"redriven": 1}

    async def again() -> bool:
        return [d["state"] for d in await notify.deliveries(id_)] == ["sent", "sent"]

    await eventually(again)
    assert receiver.tried()[-1]["webhook-id"] == str(delivery_id(fact.id, "hook"))


async def test_retry_after_pauses_the_whole_endpoint(notify: Notify, receiver: Receiver) -> None:
    await notify.declare(hook=hook(f"{receiver.url}/hook"))
    receiver.answers["hook"] = [(429, {"Retry-After": "3000"})]
    await notify.start()
    await notify.tell(opened(uuid4()))

    async def paused() -> bool:
        return bool((await notify.status("hook"))["state"] == "paused")

    await eventually(paused)
    await notify.tell(opened(uuid4()))

    async def written() -> bool:
        return bool((await notify.status("hook"))["pending"] == 2)

    await eventually(written)
    await notify.hurry()
    await asyncio.sleep(0.7)
    assert len(receiver.tried()) == 1
    assert (await notify.redrive("hook", **{"from": 0})).json() == {"redriven": 2}

    async def both() -> bool:
        return len(receiver.taken()) == 2

    await eventually(both)
    assert (await notify.status("hook"))["state"] == "active"


async def test_gone_endpoint_gets_nothing_until_redriven(
    notify: Notify, receiver: Receiver
) -> None:
    await notify.declare(hook=hook(f"{receiver.url}/hook"))
    receiver.answers["hook"] = [(410, {})]
    await notify.start()
    first, second = uuid4(), uuid4()
    await notify.tell(opened(first))

    async def disabled() -> bool:
        return bool((await notify.status("hook"))["state"] == "disabled")

    await eventually(disabled)
    await notify.tell(opened(second))

    async def written() -> bool:
        return bool((await notify.status("hook"))["pending"] == 1)

    await eventually(written)
    await asyncio.sleep(0.7)
    assert len(receiver.tried()) == 1
    assert (await notify.redrive("hook", request_id=str(first))).json() == {"redriven": 1}

    async def both() -> bool:
        return {f.subject for f in receiver.taken()} == {str(first), str(second)}

    await eventually(both)


@pytest.mark.parametrize("well", [True, False])
async def test_second_replica_continues_after_the_leader(
    notify: Notify,
    receiver: Receiver,
    well: bool,
) -> None:
    await notify.declare(hook=hook(f"{receiver.url}/hook", ordered="true"))
    for _ in range(2):
        await notify.start()
    ids = [uuid4() for _ in range(30)]
    leader = await notify.leader()
    await notify.tell(*map(opened, ids))
    await notify.tell(*map(titled, ids))

    async def begun() -> bool:
        return len(receiver.got) > 10

    await eventually(begun)
    if well:
        await notify.end(leader)
    else:  # its session is lost while deliveries are on their way
        await notify.apps[leader].state.service.leaders._drop()
    await notify.tell(*map(closed, ids))

    async def ended() -> bool:
        return {f.subject for f in receiver.taken() if isinstance(f, Closed)} == set(map(str, ids))

    await eventually(ended, 15)
    for id_ in ids:
        mine = [f.sequence for f in receiver.taken() if f.subject == str(id_)]
        assert list(dict.fromkeys(mine)) == sorted(set(mine)) == [1, 2, 3]
    times = Counter(h["webhook-id"] for h in receiver.tried())
    assert set(times.values()) <= ({1} if well else {1, 2})


async def test_stopped_leader_records_running_attempts(notify: Notify, receiver: Receiver) -> None:
    await notify.declare(slow=hook(f"{receiver.url}/slow"))
    await notify.start()
    receiver.hold.clear()
    await notify.tell(opened(uuid4()))

    async def under_way() -> bool:
        return receiver.under_way["slow"] == 1

    await eventually(under_way)
    asyncio.get_running_loop().call_later(1.5, receiver.hold.set)
    await notify.end(0)

    assert await notify.world.sql("notify", "SELECT state FROM deliveries") == [("sent",)]
