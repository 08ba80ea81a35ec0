"""The inner loop on real servers: once, in order; poison, gaps, lost leaders."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hearing import Pair
from saying import opened, received, say

from chassis.errors import StaleLeader
from chassis.messaging.relay import Relay
from chassis.testing import eventually

if TYPE_CHECKING:
    from world import World


@pytest.fixture
async def pair(world: World) -> Pair:
    pair = Pair(world)
    await pair.prepare()
    return pair


async def test_facts_are_applied_once_and_in_order(pair: Pair) -> None:
    keys = [uuid4() for _ in range(20)]
    async with pair.sayer() as sayer, pair.hearer("2"):
        await say(sayer, *[opened(key) for key in keys])
        for _ in range(5):
            await say(sayer, *[received(key) for key in keys])
        heard = await pair.hears(120)

    for key in keys:
        assert [n for k, n in heard if k == str(key)] == [1, 2, 3, 4, 5, 6]
    assert len(heard) == 120


async def test_two_replicas_share_slots_and_apply_each_fact_once(pair: Pair) -> None:
    keys = [uuid4() for _ in range(40)]
    async with pair.sayer() as sayer, pair.hearer("2") as (one, _), pair.hearer("2") as (two, _):
        for _ in range(5):
            await say(sayer, *[received(key) for key in keys])
        await pair.hears(200)
        held = [{o for o in s.leaders.held if o.startswith("reader")} for s in (one, two)]

        assert held[0] | held[1] == {"reader.ingest.00-07", "reader.ingest.08-15"}
        assert not held[0] & held[1]
    assert len(await pair.heard()) == 200


async def test_reader_resumes_where_it_stopped(pair: Pair) -> None:
    key = uuid4()
    async with pair.sayer() as sayer:
        async with pair.hearer():
            await say(sayer, opened(key))
            await pair.hears(1)
        await say(sayer, received(key), received(key))
        async with pair.hearer():
            assert [n for _, n in await pair.hears(3)] == [1, 2, 3]


async def test_unreadable_fact_is_parked_and_redriven(pair: Pair) -> None:
    bad, good = uuid4(), uuid4()
    supervisor = pair.world.token("supervisor")
    async with pair.hearer() as (_, client):
        async with pair.relay_held_back(), pair.sayer() as sayer:
            await say(sayer, opened(bad), opened(good))
            repaired = await pair.world.sql(
                "ingest", "SELECT body FROM outbox WHERE key = %s", str(bad)
            )
            spoil = "UPDATE outbox SET body = '{\"time\":12}' WHERE key = %s"
            await pair.world.sql("ingest", spoil, str(bad))
        async with pair.sayer() as sayer:
            await say(sayer, received(bad), received(good))
            await pair.hears(2)

            async def parked() -> list[dict[str, Any]]:
                answer = await client.get("/v1/parked", headers=supervisor)
                items: list[dict[str, Any]] = answer.json()["items"]
                assert len(items) == 2
                return items

            first, behind = await eventually(parked, within=2)
            assert first["key"] == str(bad)
            assert "Unreadable" in first["reason"]
            assert behind["head"] is False
            assert await pair.heard() == [(str(good), 1), (str(good), 2)]

            await pair.world.sql(
                "ingest", "UPDATE outbox SET body = %s WHERE key = %s AND sequence = 1",
                repaired[0][0], str(bad),
            )  # fmt: skip
            refused = await client.post(f"/v1/parked/{behind['id']}/redrive", headers=supervisor)
            assert refused.status_code == 409
            done = await client.post(f"/v1/parked/{first['id']}/redrive", headers=supervisor)
            assert done.status_code == 202
            heard = await pair.hears(4)

    assert heard[2:] == [(str(bad), 1), (str(bad), 2)]


async def test_refused_fact_is_parked_and_can_be_skipped(pair: Pair) -> None:
    key, other = uuid4(), uuid4()
    supervisor = pair.world.token("supervisor")
    async with pair.sayer() as sayer, pair.hearer() as (_, client):
        facts = [opened(key), received(key, "refuse"), received(key), opened(other)]
        await say(sayer, *facts)
        assert await pair.hears(2) == [(str(key), 1), (str(other), 1)]

        async def parked() -> list[dict[str, Any]]:
            items = (await client.get("/v1/parked", headers=supervisor)).json()["items"]
            assert len(items) == 2
            return list(items)

        items = await eventually(parked)
        assert items[0]["reason"] == "Refused: no such text"
        await client.post(f"/v1/parked/{items[0]['id']}/skip", headers=supervisor)

        assert (await pair.hears(3))[2] == (str(key), 3)


@pytest.mark.parametrize("n", [1, 3, 12], ids=["one", "a chain", "a batch"])
async def test_late_relay_publishes_nothing(pair: Pair, n: int) -> None:
    async with pair.sayer() as sayer:
        await say(sayer, opened(uuid4()))

        async def end() -> int:
            return int((await sayer.bus.relay.js.stream_info("INGEST")).state.last_seq)

        await eventually(end)
        late = Relay("ingest", sayer.db, sayer.bus, sayer.clock)
        rows: list[Any] = [
            (1000 + i, str(uuid4()), i, 1, "trunkline.ingest.v1.request_opened", b"{}")
            for i in range(n)
        ]
        with pytest.raises(StaleLeader):
            await late._publish_rows(rows)
        assert await end() == 1

        late._last_seq = 1
        await late._publish_rows(rows)
        assert await end() == 1 + n


async def test_reader_behind_a_trimmed_stream_gets_a_replay(pair: Pair) -> None:
    keys = [uuid4() for _ in range(10)]
    async with pair.sayer() as sayer:
        await say(sayer, *[opened(key) for key in keys])
        await say(sayer, *[received(key) for key in keys])
        nc = await pair.world.as_admin()

        async def told() -> bool:
            return (await nc.jetstream().stream_info("INGEST")).state.messages == 20

        await eventually(told)
        await sayer.bus.relay.js.purge_stream("INGEST", keep=3)
        await nc.close()
        async with pair.hearer("2"):
            heard = await pair.hears(20)

    assert sorted(heard) == sorted((str(key), n) for key in keys for n in (1, 2))


async def test_stale_leader_cannot_commit(pair: Pair) -> None:
    key = uuid4()
    async with pair.sayer() as sayer, pair.hearer() as (hearer, _):
        await say(sayer, opened(key))
        await pair.hears(1)
        # Somebody else has read on: what this leader believes is stale.
        await pair.world.sql("tickets", "UPDATE reader_position SET position = position + 1000000")
        await say(sayer, received(key))
        await asyncio.sleep(0.5)
        assert await pair.heard() == [(str(key), 1)]
        assert hearer.loops
