"""A fact no message can carry: it is not recorded; where it was, the relay stops and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from saying import opened, received, say

from chassis.app import build
from chassis.errors import TooLarge
from chassis.messaging.reader import Reader
from chassis.messaging.relay import Relay
from chassis.messaging.transaction import MAX_FACT_BYTES
from chassis.settings import Settings
from chassis.testing import eventually, running
from trunkline_contracts import MessageReceived, slot_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from world import World

    from chassis.messaging.transaction import Tx
    from chassis.service import Service
    from trunkline_contracts.fact import Fact

APPEND = "SELECT outbox_append(1, %s::text[], %s::int[], %s::text[], %s::bytea[])"


async def fits(service: Service, upto: int) -> None:
    """Wait until the relay has told everything up to this position, and nothing alarms it."""

    async def told() -> bool:
        assert service.relay.position == upto, service.relay.alarm
        return service.relay.alarm is None

    await eventually(told)


async def test_fact_of_maximum_size_is_published_larger_is_refused(
    world: World,
) -> None:
    await world.apply()
    app = build("ingest", world.settings("ingest", Settings))
    key, other = uuid4(), uuid4()
    async with running(app):
        service: Service = app.state.service
        bare = len(received(key, "").body())
        text = "x" * (MAX_FACT_BYTES - bare - 600)
        await say(service, received(key, text))
        with pytest.raises(TooLarge, match=r"message_received would have 1\d+ bytes; at most"):
            await say(service, opened(other), received(key, text + "x" * 1_000))
        await say(service, received(key))

        await fits(service, 2)
        stored = await service.bus.relay.js.get_msg("INGEST", seq=1)
    assert len(stored.data or b"") > 0.99 * MAX_FACT_BYTES


async def test_fact_with_too_large_result_is_parked_alone(
    world: World,
) -> None:
    """Also when it is re-driven, before anything was done about it."""
    await world.apply()
    heard: list[UUID] = []
    too_much = True

    async def answer(tx: Tx, facts: Sequence[Fact]) -> None:
        for fact in facts:
            assert isinstance(fact, MessageReceived)
            if fact.message.text == "much" and too_much:
                tx.record(received(uuid4(), "x" * MAX_FACT_BYTES))
            heard.append(fact.request_id)

    bad, good = uuid4(), uuid4()
    boss = world.token("supervisor")
    sayer = build("ingest", world.settings("ingest", Settings))
    hearer = build(
        "tickets", world.settings("tickets", Settings), readers=lambda _: [Reader("INGEST", answer)]
    )
    async with running(sayer), running(hearer) as client:

        async def parked() -> dict[str, Any]:
            items = (await client.get("/v1/parked", headers=boss)).json()["items"]
            assert len(items) == 1
            assert "TooLarge: trunkline.ingest.v1.message_received would" in items[0]["reason"]
            return dict(items[0])

        async def passed() -> bool:
            return good in heard

        await say(sayer.state.service, received(bad, "much"), received(good))
        item = await eventually(parked)
        await eventually(passed)

        address = f"/v1/parked/{item['id']}/redrive"
        assert (await client.post(address, headers=boss)).status_code == 202
        await eventually(parked)
        heard.clear()
        await say(sayer.state.service, received(good))
        await eventually(passed)
        too_much = False
        assert (await client.post(address, headers=boss)).status_code == 202

        async def done() -> bool:
            return bad in heard

        await eventually(done)


async def test_a_recorded_fact_that_cannot_be_told_raises_the_alarm(world: World) -> None:
    """What stands before it is told, it is tried on and on, and nobody thinks all is well."""
    await world.apply()
    app = build("ingest", world.settings("ingest", Settings))
    async with running(app) as client:
        service: Service = app.state.service
        facts = [opened(uuid4()), received(uuid4(), "x" * 1_100_000), opened(uuid4())]
        keys = [fact.subject for fact in facts]
        slots, kinds = [slot_of(key) for key in keys], [fact.type for fact in facts]
        bodies = [fact.body() for fact in facts]
        await world.sql("ingest", APPEND, keys, slots, kinds, bodies)
        service.relay.wake()

        async def alarmed() -> bool:
            return "at position 2 has 1100" in str(service.relay.alarm)

        await eventually(alarmed)
        assert service.relay.position == 1
        answer = await client.get("/health/ready")
        assert answer.status_code == 503
        assert "refuses what comes next" in answer.text

        repaired = received(UUID(keys[1])).body()
        await world.sql("ingest", "UPDATE outbox SET body = %s WHERE position = 2", repaired)
        await fits(service, 3)
        assert (await client.get("/health/ready")).status_code == 200


async def test_whatever_keeps_the_relay_from_telling_raises_the_alarm(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.apply()
    app = build("ingest", world.settings("ingest", Settings))

    async def fail(*_: Any) -> int:
        raise RuntimeError("nobody thought of this")

    async with running(app):
        service: Service = app.state.service
        with monkeypatch.context() as broken:
            broken.setattr(Relay, "_publish", fail)
            await say(service, opened(uuid4()))

            async def alarmed() -> bool:
                return "nobody thought of this" in str(service.relay.alarm)

            await eventually(alarmed)
            assert "nobody thought" in str(service._relay_alarm())
        await fits(service, 1)
