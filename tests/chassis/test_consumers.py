"""Provisioned consumers: missing, grouped otherwise, or eaten from by a leader that was deposed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hearing import Pair
from saying import received, say
from world import the_plan

from chassis.errors import NotReady
from chassis.messaging import pull_consumer
from chassis.messaging.connections import NatsConnection
from chassis.messaging.pull_consumer import PullConsumer
from chassis.messaging.slots import Consumer, slot_groups
from trunkline.provision import connect_as, provision_streams

if TYPE_CHECKING:
    from world import World


@pytest.fixture
async def pair(world: World) -> Pair:
    pair = Pair(world)
    await pair.prepare()
    return pair


def consumer(groups: int, subjects: str = "") -> Consumer:
    """Return the consumer that a replica of tickets reads by, with this number of slot groups."""
    return Consumer.of("tickets", "ingest", "INGEST", subjects, slot_groups(groups)[0])


async def test_wrong_consumer_is_reported_by_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_consumer, "RESET_TIMEOUT_S", 0.3)
    line = NatsConnection(world.nats.url, "tickets", world.creds, "tickets")
    await line.open()
    admin = await world.as_admin()

    async def refused(wanted: Consumer) -> str:
        with pytest.raises(NotReady) as why:
            async with PullConsumer(line, wanted, 1, own_positions=False):
                pass
        return str(why.value)

    grouped = await refused(consumer(4))
    other = await refused(consumer(1, "trunkline.ingest"))
    await admin.jetstream().delete_consumer("INGEST", consumer(1).name)
    missing = await refused(consumer(1))
    await admin.close()
    await line.close()

    assert grouped.startswith("READERS is 4, and tickets's consumers are provisioned for 1,2: ")
    assert "`readers` in provision.yaml" in grouped
    described = "the consumer tickets-ingest-00-15 of INGEST"
    assert other == f"{described} reads other subjects: run `trunkline provision`"
    assert missing == f"{described} is not there: run `trunkline provision`"


async def test_reader_resumes_when_its_consumer_is_created_again(pair: Pair) -> None:
    key = uuid4()
    async with pair.sayer() as sayer, pair.hearer():
        await say(sayer, received(key))
        await pair.hears(1)
        nc = await pair.world.as_admin()
        js = nc.jetstream(timeout=10)
        await js.delete_consumer("INGEST", consumer(1).name)
        await say(sayer, received(key))
        assert await provision_streams(js, the_plan()) == [f"INGEST/{consumer(1).name}"]
        await nc.close()

        assert [n for _, n in await pair.hears(2)] == [1, 2]


@pytest.mark.parametrize(("said", "eaten"), [(20, 5), (3, 3)], ids=["the first", "the last"])
async def test_messages_taken_by_another_pull_are_applied(
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    said: int,
    eaten: int,
) -> None:
    monkeypatch.setattr(pull_consumer, "COMPARE_INTERVAL_S", 0.2)
    keys = [uuid4() for _ in range(said)]
    async with pair.sayer() as sayer, pair.hearer():
        await say(sayer, received(uuid4()))
        await pair.hears(1)
        # What a frozen leader has asked for stands in the server's queue before what is asked now.
        nc = await connect_as("tickets", pair.world.nats.url, pair.world.creds)
        frozen = await nc.subscribe(inbox := nc.new_inbox())
        call = f"$JS.API.CONSUMER.MSG.NEXT.INGEST.{consumer(1).name}"
        for _ in range(eaten):
            await nc.publish(call, b'{"batch":1,"expires":5000000000}', reply=inbox)
        await nc.flush()
        await say(sayer, *[received(key) for key in keys])
        heard = (await pair.hears(1 + said))[1:]
        taken = frozen.pending_msgs
        await nc.close()

    assert taken
    assert "unknown publisher" not in caplog.text
    assert sorted(heard) == sorted((str(key), 1) for key in keys)
