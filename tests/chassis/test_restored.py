"""A domain stream is set back under its readers, or is not as they have read it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hearing import Pair
from restoring import StoreBackup
from saying import opened, received, say

from chassis.messaging.loop import Loop
from chassis.messaging.retention import SET_FLOOR
from chassis.testing import eventually

if TYPE_CHECKING:
    from world import World

    from chassis.service import Service

SHIFT = "UPDATE reader_position SET stream_sequence = stream_sequence + 2"


@pytest.fixture
async def pair(world: World) -> Pair:
    pair = Pair(world)
    await pair.prepare()
    return pair


async def test_stream_set_back_is_republished_and_applied_once(pair: Pair) -> None:
    key = uuid4()
    async with pair.sayer() as sayer, pair.hearer():
        await say(sayer, opened(key), received(key))
        await pair.hears(2)
        backup = StoreBackup.take(pair.world)
        await say(sayer, received(key), received(key))
        await pair.hears(4)

        await asyncio.to_thread(backup.restore)
        await say(sayer, received(key), received(uuid4()))

        heard = await pair.hears(6)
        assert await positions(sayer, 6) == [1, 2, 3, 4, 5, 6]
    assert [n for k, n in heard if k == str(key)] == [1, 2, 3, 4, 5]


async def test_stream_set_back_behind_its_floor_is_filled(pair: Pair) -> None:
    """A floor that trimming has written lies above the end of the older stream."""
    async with pair.sayer() as sayer:
        await say(sayer, opened(uuid4()), opened(uuid4()))
        await positions(sayer, 2)
        backup = StoreBackup.take(pair.world)
        await say(sayer, *(opened(uuid4()) for _ in range(3)))
        await positions(sayer, 5)
        created = str((await sayer.bus.relay.js.stream_info("INGEST")).created)
        await pair.world.sql("ingest", SET_FLOOR, "INGEST", created, 5)
    await asyncio.to_thread(backup.restore)
    async with pair.sayer() as sayer:
        assert await positions(sayer, 5) == [1, 2, 3, 4, 5]


async def positions(sayer: Service, count: int) -> list[int]:
    """Return the outbox positions in INGEST, once there are so many messages."""
    js = sayer.bus.relay.js

    async def published() -> list[int]:
        last = (await js.stream_info("INGEST")).state.last_seq
        if last < count:
            return []
        headers = [(await js.get_msg("INGEST", seq=n)).headers for n in range(1, last + 1)]
        return [int((each or {})["Trunkline-Position"]) for each in headers]

    return await eventually(published)


async def shifted(pair: Pair) -> None:
    """Read two facts, and say three more of other slots; the place read up to is put too far."""
    async with pair.sayer() as sayer, pair.hearer():
        await say(sayer, opened(uuid4()), opened(uuid4()))
        await pair.hears(2)
    await pair.world.sql("tickets", SHIFT)
    async with pair.sayer() as sayer:
        await say(sayer, *(opened(uuid4()) for _ in range(3)))

        async def told() -> bool:
            return sayer.relay.position == 5

        await eventually(told)


async def test_reader_past_facts_it_never_had_reads_them(pair: Pair) -> None:
    await shifted(pair)
    async with pair.hearer():
        assert len(set(await pair.hears(5))) == 5


async def test_reader_without_anchor_check_misses_facts(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive control."""

    async def trust(*_: object) -> None:
        return

    monkeypatch.setattr(Loop, "_check_anchor", trust)
    await shifted(pair)
    async with pair.hearer() as (_, client):

        async def ready() -> bool:
            return (await client.get("/health/ready")).status_code == 200

        await eventually(ready)
        await asyncio.sleep(0.5)  # nothing else tells that nothing comes
        assert len(await pair.heard()) < 5
