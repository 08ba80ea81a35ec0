"""A stream with messages of another hand, and a stream ahead of its outbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hearing import Pair, keep
from saying import opened, received, say

from chassis.messaging import resuming
from chassis.messaging.reader import Reader
from chassis.observability.metrics import REGISTRY
from chassis.testing import eventually
from trunkline_contracts import slot_of
from trunkline_contracts.fact import fact_id_text, splice

if TYPE_CHECKING:
    from nats.js import JetStreamContext
    from world import World

    from chassis.service import Service

FORGET = "DELETE FROM outbox WHERE position > %s"


@pytest.fixture
async def pair(world: World) -> Pair:
    pair = Pair(world)
    await pair.prepare()
    return pair


def subject(key: UUID) -> str:
    return f"trunkline.ingest.v1.message_received.{slot_of(str(key)):02d}.{key}"


async def publish(
    pair: Pair, key: UUID, body: bytes = b"{}", headers: dict[str, str] | None = None
) -> int:
    """Publish into INGEST as the administrator."""
    nc = await pair.world.as_admin()
    try:
        return (await nc.jetstream().publish(subject(key), body, headers=headers)).seq
    finally:
        await nc.close()


async def end(js: JetStreamContext) -> int:
    return (await js.stream_info("INGEST")).state.last_seq


async def ids(service: Service) -> list[str]:
    """Return the id of every message of INGEST, in order."""
    js, found = service.bus.relay.js, []
    for sequence in range(1, await end(js) + 1):
        headers: dict[str, Any] = dict((await js.get_msg("INGEST", seq=sequence)).headers or {})
        found.append(str(headers.get("Nats-Msg-Id", "")))
    return found


async def published(service: Service, n: int) -> None:
    async def enough() -> bool:
        return await end(service.bus.relay.js) == n

    await eventually(enough)


async def stops(service: Service, why: str) -> None:
    async def alarmed() -> bool:
        return why in str(service.relay.alarm)

    await eventually(alarmed)


async def goes_on(pair: Pair, service: Service) -> UUID:
    """Publish one more fact, and wait until it is applied."""
    heard, key = len(await pair.heard()), uuid4()
    await say(service, opened(key))
    await pair.hears(heard + 1)
    return key


def stepped_over() -> float:
    return REGISTRY.get_sample_value("trunkline_relay_foreign_total", {"service": "ingest"}) or 0


def ignored() -> float:
    """Return how many foreign messages the hearer's reader has stepped over."""
    labels = {"service": "tickets", "reader": "ingest"}
    return REGISTRY.get_sample_value("trunkline_reader_foreign_total", labels) or 0


FOREIGN = {
    "no headers": {},
    "no number": {"Trunkline-Position": "²"},
    "no bigint": {"Trunkline-Position": "9" * 30},
    "an old position": {"Trunkline-Position": "1", "Nats-Msg-Id": "x"},
}


async def test_foreign_messages_are_skipped(pair: Pair) -> None:
    async with pair.sayer() as sayer, pair.hearer() as (hearer, client):
        key = await goes_on(pair, sayer)
        before = stepped_over()
        for headers in FOREIGN.values():
            await publish(pair, key, b'{"it": "is not ours"}', headers)
        await goes_on(pair, sayer)
        await goes_on(pair, sayer)

        assert sayer.relay.alarm is None
        assert stepped_over() - before == len(FOREIGN)
        assert "stepped over message 5" in str(sayer.relay.foreign)
        assert hearer.relay.foreign is None
        assert (await client.get("/health/ready")).json() == {"status": "ready"}
        ready = await sayer.health.ready()
        assert ready["notes"] == [{"name": "relay_foreign", "why": sayer.relay.foreign}]


FOREIGN_SUBJECTS = ("x", "04.x", "v1.opened.x.key", "v1.opened.99.key", "v1.opened.04.a.b")


async def test_foreign_subject_stops_no_reader(pair: Pair) -> None:
    async with pair.sayer() as sayer, pair.hearer() as (_, client):
        await goes_on(pair, sayer)
        before = ignored()
        nc = await pair.world.as_admin()
        for end_of_subject in FOREIGN_SUBJECTS:
            for headers in ({}, {"Trunkline-Position": "5", "Trunkline-Subject": "x"}):
                await nc.jetstream().publish(
                    f"trunkline.ingest.{end_of_subject}", b"garbage", headers=headers
                )
        await nc.close()
        await goes_on(pair, sayer)

        assert ignored() - before == 2 * len(FOREIGN_SUBJECTS)
        assert (await client.get("/health/ready")).status_code == 200


async def test_reader_that_stops_is_not_ready(pair: Pair) -> None:
    broken = [True]

    def is_own(_: object) -> bool:
        if broken:
            raise ValueError("no such thing")
        return True

    reader = Reader("INGEST", keep, is_own=is_own)
    async with pair.sayer() as sayer, pair.hearer(reader=reader) as (_, client):
        await say(sayer, opened(uuid4()))

        async def has_status(code: int, why: str = "") -> bool:
            answer = await client.get("/health/ready")
            return answer.status_code == code and why in answer.text

        stopped = "reader.ingest.00-15: the reader stopped: ValueError: no such thing"
        await eventually(lambda: has_status(503, stopped))
        broken.clear()
        await pair.hears(1)
        await eventually(lambda: has_status(200))


async def own_headers(pair: Pair, sayer: Service, key: UUID) -> dict[str, str]:
    """Return the headers of the last message, which has this key's slot."""
    js = sayer.bus.relay.js
    last = await js.get_msg("INGEST", seq=await end(js))
    assert (last.subject or "").endswith(str(key))
    return dict(last.headers or {})


@pytest.mark.parametrize("forgery", ["far", "in the chain", "well made", "previous"])
async def test_foreign_position_drops_no_fact(pair: Pair, forgery: str) -> None:
    async with pair.sayer() as sayer, pair.hearer():
        key = await goes_on(pair, sayer)
        at = (await own_headers(pair, sayer, key))["Trunkline-Position"]
        id_ = fact_id_text("trunkline.ingest.v1.message_received", str(key), 7, 0)
        claims = {
            "far": ("99999999", "0"),
            "in the chain": (str(int(at) + 9), at),
            "well made": ("99999999", at),
            "previous": ("99999999", "99999998"),
        }
        position, previous = claims[forgery]
        headers = {
            "Nats-Msg-Id": id_,
            "Trunkline-Position": position,
            "Trunkline-Previous": previous,
        }
        body = b"garbage"
        if forgery == "well made":
            body = splice("trunkline.ingest.v1.message_received", str(key), 7, b"{}", id_)
        before = ignored()
        await publish(pair, key, body, headers)

        async def seen() -> bool:
            return ignored() - before == 1

        await eventually(seen)
        if forgery != "well made":  # the relay takes that one for a fact its outbox has lost
            await say(sayer, received(key))
            assert await pair.hears(2) == [(str(key), 1), (str(key), 2)]


async def test_idle_relay_detects_a_foreign_message(pair: Pair) -> None:
    async with pair.sayer() as sayer:
        await say(sayer, opened(uuid4()))
        await publish(pair, uuid4(), headers={"Trunkline-Position": "1000", "Nats-Msg-Id": "x"})

        async def noticed() -> bool:
            return sayer.relay.foreign is not None

        await eventually(noticed)


async def test_foreign_message_stops_a_relay_that_cannot_skip(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = resuming._Judge.of

    async def strict(judge: Any, message: Any) -> Any:
        verdict = await of(judge, message)
        if verdict.ours is None:
            raise resuming.Ahead(verdict.why)
        return verdict

    monkeypatch.setattr(resuming._Judge, "of", strict)
    async with pair.sayer() as sayer, pair.hearer():
        await goes_on(pair, sayer)
        await publish(pair, uuid4())
        await stops(sayer, "it has no position")


async def test_copy_of_an_old_message_does_not_set_the_relay_back(pair: Pair) -> None:
    nc = await pair.world.as_admin()
    js = nc.jetstream()
    config = (await js.stream_info("INGEST")).config
    await js.update_stream(config.evolve(duplicate_window=0.1))
    async with pair.sayer() as sayer, pair.hearer():
        for _ in range(5):
            await goes_on(pair, sayer)
        old = await js.get_msg("INGEST", seq=2)
        kept = ("Nats-Msg-Id", "Trunkline-Position", "Trunkline-Previous")
        headers = {name: (old.headers or {})[name] for name in kept}

        async def copied() -> bool:  # once the server has forgotten the id
            copy = await js.publish(old.subject or "", old.data or b"", headers=headers)
            return copy.seq == 6

        await eventually(copied)
    await nc.close()
    async with pair.sayer() as sayer, pair.hearer():
        await goes_on(pair, sayer)

        assert await end(sayer.bus.relay.js) == 7


async def test_deleted_last_message_does_not_stop_the_relay(pair: Pair) -> None:
    first, second = uuid4(), uuid4()
    async with pair.sayer() as sayer, pair.hearer():
        await say(sayer, opened(first))
        await say(sayer, opened(second))
        await pair.hears(2)
        await sayer.bus.relay.js.purge_stream("INGEST", subject=f"*.*.*.*.*.{second}")
        await goes_on(pair, sayer)

        assert await end(sayer.bus.relay.js) == 3
    async with pair.sayer() as sayer:  # another one publishes that message again, by its id
        await say(sayer, received(first))

        async def told() -> bool:
            return sayer.relay.position == 4 and sayer.relay.alarm is None

        await eventually(told)


async def test_stream_ahead_of_outbox_stops_relay_and_readers(pair: Pair) -> None:
    async with pair.sayer() as sayer:
        await say(sayer, opened(uuid4()), opened(uuid4()))
        await say(sayer, opened(uuid4()))
        await published(sayer, 3)
        await pair.world.sql("ingest", FORGET, 2)
        await stops(sayer, "ahead of its outbox")
        with pytest.raises(Exception, match=r"relay_alarm: .*ahead"):
            await sayer.health.ready()
    async with pair.sayer() as sayer:
        await stops(sayer, "ahead of its outbox: position 3 > 2")
        assert "ahead" in str(await sayer.relay.ahead())  # readers wait for its end
        await pair.world.sql("ingest", FORGET, 0)
        await stops(sayer, "> 0")


async def test_outbox_grown_after_a_restore_stays_behind(pair: Pair) -> None:
    key = uuid4()
    async with pair.sayer() as sayer:
        await say(sayer, opened(key))
        for _ in range(3):
            await say(sayer, received(key))
        await published(sayer, 4)
        told = await ids(sayer)
    async with pair.relay_held_back():
        await pair.world.sql("ingest", FORGET, 2)
        await pair.world.sql("ingest", "SELECT setval('outbox_position_seq', 2)")
        async with pair.sayer() as sayer:
            await say(sayer, *[received(key) for _ in range(8)])
    async with pair.sayer() as sayer:  # the ids are the same at all positions, the facts are not
        await stops(sayer, "ahead of its outbox: message 4, position 4")

        assert await ids(sayer) == told


async def test_restore_under_a_running_relay_is_detected(pair: Pair) -> None:
    async with pair.sayer() as sayer:
        for _ in range(4):
            await say(sayer, opened(uuid4()))
        await published(sayer, 4)
        await pair.world.sql("ingest", "UPDATE outbox SET key = 'other' WHERE position = 4")
        await stops(sayer, "ahead of its outbox: message 4, position 4")
        await say(sayer, opened(uuid4()))
        await stops(sayer, "ahead of its outbox: message 4, position 4")

        assert await end(sayer.bus.relay.js) == 4


async def test_facts_of_a_new_epoch_have_new_ids(pair: Pair) -> None:
    key = uuid4()
    epoch = "INSERT INTO outbox_epoch VALUES (7, 2, now())"
    async with pair.sayer() as sayer, pair.hearer():
        async with pair.relay_held_back():
            await say(sayer, opened(key))
            plain = await _message(sayer)
            await pair.world.sql("ingest", epoch)
            await say(sayer, received(key))
        await pair.hears(2)
        assert plain == []
        first, second = await _message(sayer)
        await pair.world.sql("ingest", "TRUNCATE outbox_epoch")
        assert [first["id"], second["id"]] == await ids(sayer)
        assert first["id"] != second["id"]


async def _message(service: Service) -> list[dict[str, Any]]:
    js = service.bus.relay.js
    upto = await end(js)
    return [
        json.loads((await js.get_msg("INGEST", seq=n)).data or b"{}") for n in range(1, upto + 1)
    ]
