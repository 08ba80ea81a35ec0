"""A domain stream made anew from its outbox: what it had alone is kept, ids tell facts apart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from hearing import Pair
from nats.js.errors import NotFoundError
from saying import opened, received, say

from chassis.messaging import loop
from chassis.messaging.epochs import Epochs
from chassis.testing import eventually
from trunkline import provisioning
from trunkline.instance import Instance
from trunkline.paths import CannotStart
from trunkline.provisioning import provision_servers
from trunkline.stream_reset import choose_streams, hold_all, reset
from trunkline_contracts import slot_of

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from world import World

    from chassis.service import Service
    from trunkline_contracts import MessageReceived

KEEP = "DELETE FROM outbox WHERE position > %s"
REWIND = "SELECT setval('outbox_position_seq', %s)"


@pytest.fixture
async def pair(world: World) -> Pair:
    pair = Pair(world)
    await pair.prepare()
    return pair


@pytest.fixture
def instance(world: World, monkeypatch: pytest.MonkeyPatch) -> Instance:
    monkeypatch.setenv("NATS_URL", world.nats.url)
    monkeypatch.setenv("NATS_MONITOR_URL", world.nats.monitor_url)
    monkeypatch.setenv("NATS_CREDS_DIR", str(world.creds))
    monkeypatch.setenv("DATABASE_URL", world.admin_dsn)
    return Instance(world.data)


def without_consumers(lines: list[str]) -> list[str]:
    """Leave out the lines of consumers, which are made anew with their stream."""
    return [line for line in lines if "/" not in line]


async def messages(service: Service) -> list[dict[str, Any]]:
    """Return every fact of INGEST, in order; none while there is no stream."""
    js = service.bus.relay.js
    try:
        sequences = range(1, (await js.stream_info("INGEST")).state.last_seq + 1)
    except NotFoundError:
        return []
    return [json.loads((await js.get_msg("INGEST", seq=n)).data or b"") for n in sequences]


async def published(service: Service, n: int) -> list[dict[str, Any]]:
    async def enough() -> list[dict[str, Any]]:
        found = await messages(service)
        assert len(found) == n
        return found

    return await eventually(enough)


async def say_again(service: Service, fact: MessageReceived) -> None:
    """Say something though the session was ended, as whoever is answered 503 does."""

    async def said() -> bool:
        try:
            await say(service, fact)
        except psycopg.OperationalError as why:
            raise AssertionError from why
        return True

    await eventually(said)


async def restore(pair: Pair, position: int) -> None:
    """Set ingest back to a position; what its readers have applied stays."""
    await pair.world.sql("ingest", KEEP, position)
    await pair.world.sql("ingest", REWIND, position)


async def restored(pair: Pair, sayer: Service, key: UUID) -> list[dict[str, Any]]:
    """Publish five facts, go back to the second, and say one other; return what was published."""
    for text in ("1", "2", "3", "4", "5"):
        await say(sayer, opened(key) if text == "1" else received(key, text))
    await pair.hears(5)
    before = await published(sayer, 5)
    await restore(pair, 2)
    await say(sayer, received(key, "another 3"))

    async def stopped() -> bool:
        return "ahead" in str(sayer.relay.alarm)

    await eventually(stopped)
    return before


async def test_a_reset_after_a_restore_gives_new_facts_new_ids(
    pair: Pair, instance: Instance
) -> None:
    key = uuid4()
    async with pair.sayer() as sayer, pair.hearer():
        before = await restored(pair, sayer, key)
        lines = await reset(instance, ["INGEST"])
        await say_again(sayer, received(key, "another 4"))
        after = await published(sayer, 4)
        heard = await pair.hears(7)

        assert sayer.relay.alarm is None
    assert [fact["id"] for fact in after[:2]] == [fact["id"] for fact in before[:2]]
    assert not {fact["id"] for fact in after[2:]} & {fact["id"] for fact in before}
    assert [fact["sequence"] for fact in after] == [1, 2, 3, 4]
    assert heard[5:] == [(str(key), 3), (str(key), 4)]  # though it had come to 5 already
    assert "INGEST: 3 messages that its outbox does not have" in lines[0]
    assert "from position 3 on" in lines[1]
    (file,) = (instance.data / "salvage").iterdir()
    kept = [json.loads(json.loads(line)["data"]) for line in file.read_text().splitlines()]
    assert kept == before[2:]
    assert file.stat().st_mode & 0o777 == 0o600


async def test_without_the_epoch_a_new_fact_has_a_seen_id(
    pair: Pair, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Epochs, "at", lambda *_: 0)
    async with pair.sayer() as sayer, pair.hearer():
        before = await restored(pair, sayer, uuid4())
        await reset(instance, ["INGEST"])
        after = await published(sayer, 3)

    assert after[2]["id"] == before[2]["id"]
    assert after[2]["data"] != before[2]["data"]


async def test_a_reset_can_be_repeated_and_each_restore_has_its_epoch(
    pair: Pair, instance: Instance
) -> None:
    key, epochs = uuid4(), "SELECT epoch, first_position FROM outbox_epoch ORDER BY epoch"
    async with pair.sayer() as sayer, pair.hearer():
        await restored(pair, sayer, key)
        await reset(instance, ["INGEST"])
        second = await published(sayer, 3)
        again = without_consumers(await reset(instance, ["INGEST"]))
        assert again == [
            "INGEST: 0 messages that its outbox does not have",
            "INGEST",
        ]
        assert await published(sayer, 3) == second
        await restore(pair, 2)
        await say_again(sayer, received(key, "a third 3"))
        await reset(instance, ["INGEST"])
        third = await published(sayer, 3)

    (first, at), (later, also_at) = await pair.world.sql("ingest", epochs)
    assert (at, also_at, first < later) == (3, 3, True)
    assert third[2]["id"] != second[2]["id"]


async def restored_together(pair: Pair, sayer: Service) -> UUID:
    """Publish five facts that are heard, then set both services back to the second."""
    key = uuid4()
    async with pair.hearer():
        for text in ("1", "2", "3", "4", "5"):
            await say(sayer, opened(key) if text == "1" else received(key, text))
        await pair.hears(5)
    await restore(pair, 2)
    await pair.world.sql("tickets", "DELETE FROM heard WHERE sequence > 2")
    back = "UPDATE reader_position SET position = least(position, 2), stream_sequence = 2"
    await pair.world.sql("tickets", back)
    return key


async def test_a_held_stream_is_not_read_until_its_reset(pair: Pair, instance: Instance) -> None:
    async with pair.sayer() as sayer:
        key = await restored_together(pair, sayer)
        changed = await provision_servers(instance)
        assert "INGEST is held" in changed
        async with pair.hearer() as (hearer, client):

            async def waits() -> str:
                return hearer.loops[0].state.wait_reason or ""

            assert "INGEST is held: INGEST: the stream is ahead" in await eventually(waits)
            ready = (await client.get("/health/ready")).json()
            assert ready["notes"] == [{"name": "reader.ingest.00-15", "why": await waits()}]
            await say(sayer, received(key, "another 3"))
            lines = await reset(instance, ["INGEST"])
            others = ("TICKETS", "ROUTING", "SLA", "NOTIFY")
            assert without_consumers(lines[2:]) == [
                "INGEST",
                *(f"{each} is released" for each in others),
            ]

            assert await pair.hears(3) == [(str(key), n) for n in (1, 2, 3)]
            assert (await published(sayer, 3))[2]["data"]["message"]["text"] == "another 3"


async def test_streams_can_be_held_and_released_by_hand(instance: Instance) -> None:
    await provision_servers(instance)
    streams = ("INGEST", "TICKETS", "ROUTING", "SLA", "NOTIFY")
    for release, done in ((False, "held"), (True, "released")):
        assert await hold_all(instance, release=release) == [f"{s} is {done}" for s in streams]
        assert await hold_all(instance, release=release) == []
        assert await provision_servers(instance) == []


async def test_without_the_hold_a_quiet_service_applies_what_was_lost(
    pair: Pair, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object, **__: object) -> dict[str, str]:
        return {}

    monkeypatch.setattr(provisioning, "hold_when_ahead", nothing)
    async with pair.sayer() as sayer:
        await restored_together(pair, sayer)
        await provision_servers(instance)
        async with pair.hearer():
            assert len(await pair.hears(5)) == 5


async def test_a_reset_of_a_spoiled_stream_keeps_all_ids(pair: Pair, instance: Instance) -> None:
    async with pair.sayer() as sayer:
        await say(sayer, opened(uuid4()), opened(uuid4()))
        before = await published(sayer, 2)
        nc = await pair.world.as_admin()
        await nc.jetstream().publish("trunkline.ingest.v1.opened.00.x", b"\xff is no text")
        await nc.close()
        lines = await reset(instance, ["INGEST"])

        assert await published(sayer, 2) == before
    (file,) = (instance.data / "salvage").iterdir()
    assert lines[0] == f"INGEST: 1 messages that its outbox does not have, kept in {file}"
    assert json.loads(file.read_text())["hex"] == b"\xff is no text".hex()
    assert await pair.world.sql("ingest", "SELECT * FROM outbox_epoch") == []


async def believe_a_foreign_position(pair: Pair, hearer: Service, key: UUID) -> None:
    """Move the hearer's position of a key's slot to 99999999 by a foreign message."""
    slot, nc = slot_of(str(key)), await pair.world.as_admin()
    other = next(each for each in iter(uuid4, None) if slot_of(str(each)) == slot)
    subject = f"trunkline.ingest.v1.message_received.{slot:02d}.{other}"
    headers = {"Trunkline-Position": "99999999"}
    await nc.jetstream().publish(subject, b"garbage", headers=headers)
    await nc.close()

    async def is_believed() -> bool:
        return hearer.loops[0].state.positions.at[slot] == 99999999

    await eventually(is_believed)


async def test_a_reset_heals_a_position_beyond_the_outbox(
    pair: Pair, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = uuid4()
    async with pair.sayer() as sayer, pair.hearer() as (hearer, _):
        await say(sayer, opened(key))
        await pair.hears(1)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "doubt_about", lambda *_: None)
            await believe_a_foreign_position(pair, hearer, key)
            await say(sayer, received(key))

            async def is_published() -> bool:
                return sayer.relay.position == 2

            await eventually(is_published)
            assert len(await pair.heard()) == 1
        lines = await reset(instance, ["INGEST"])
        await say(sayer, received(key))

        assert await pair.hears(3) == [(str(key), n) for n in (1, 2, 3)]
    assert "tickets was at position 99999999" in lines[1]
    assert lines[1].endswith("set back to 1")


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["INBOUND"], "INBOUND is not reset: it holds deliveries that nothing else has"),
        (["WORKSPACE"], "WORKSPACE is not reset"),
        (["NOPE"], r"no domain stream 'NOPE': it is one of INGEST, TICKETS, ROUTING, SLA, NOTIFY"),
        ([], "name at least one stream of .*, or use --all"),
    ],
)
def test_streams_of_other_kinds_are_refused(names: list[str], why: str, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=why):
        choose_streams(Instance(tmp_path).plan, names, is_all=False)
