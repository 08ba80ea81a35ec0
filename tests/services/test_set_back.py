"""INBOUND or PostgreSQL is set back, created anew or loses messages; the ledger finds losses.

What was accepted and exists nowhere any more is counted as lost.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from faults.broken import unaware
from restoring import StoreBackup, copy_back, copy_tables
from taking_in import Ingest, update
from telling import Teller
from world import provision_nats

from chassis.errors import NotReady
from chassis.testing import eventually
from ingest import envelope
from ingest.domain.items import RawDelivery
from ingest.gateway.inbound_ids import InboundIdIssuer
from ingest.intake import store
from trunkline.instance import Instance
from trunkline.stream_reset import reset

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx
    from world import World

ACKED = "SELECT acked FROM inbound_epoch ORDER BY number DESC LIMIT 1"
NUMBERS = "SELECT number, cause FROM inbound_epoch ORDER BY number"


async def deliver(ingest: Ingest, first: int, last: int, replica: int = 0) -> list[httpx.Response]:
    """Deliver updates one after the other, each as soon as it is accepted."""
    accepted = []
    for number in range(first, last + 1):

        async def let_in(number: int = number) -> httpx.Response | None:
            answer = await ingest.post(update(number, number, f"text {number}"), replica=replica)
            return answer if answer.status_code == 200 else None

        answer = await eventually(let_in)
        assert answer is not None
        accepted.append(answer)
    return accepted


async def restore(backup: StoreBackup, ingest: Ingest) -> None:
    """Set NATS back, and wait until the gateway is connected again."""
    returns = [app.state.service.bus.own.reconnects for app in ingest.apps]
    await asyncio.to_thread(backup.restore)

    async def connected() -> bool:
        now = [app.state.service.bus.own.reconnects for app in ingest.apps]
        return all(each > before for each, before in zip(now, returns, strict=True))

    await eventually(connected)


async def settled(ingest: Ingest, accepted: Sequence[httpx.Response]) -> list[str]:
    return [(await ingest.outcome(each))["outcome"] for each in accepted]


async def noted(ingest: Ingest, sequence: int) -> None:
    """Wait until PostgreSQL has the marks up to a sequence."""

    async def known() -> bool:
        return bool(await ingest.world.sql("ingest", ACKED) == [(sequence,)])

    await eventually(known)


async def reason(ingest: Ingest, accepted: httpx.Response) -> tuple[str, str | None]:
    path = f"/v1/inbound/{accepted.json()['inbound_id']}"
    told = (await ingest.http.get(path, headers=ingest.boss)).json()
    return told["outcome"], told["reason"]


async def began(ingest: Ingest) -> list[tuple[int, str]]:
    return [tuple(row) for row in await ingest.world.sql("ingest", NUMBERS)]


async def noticed(ingest: Ingest, number: int) -> None:
    """Wait until an epoch has begun: deliveries pulled before are not taken in."""

    async def begun() -> bool:
        return len(await began(ingest)) == number

    await eventually(begun)


def figures(ledger: dict[str, Any]) -> list[tuple[int, int, int, int]]:
    """Return accepted, taken in, pending and lost of each epoch."""
    names = ("accepted", "taken_in", "pending", "lost")
    return [tuple(epoch[name] for name in names) for epoch in ledger["epochs"]]


@pytest.mark.parametrize("readers", ["1", "2"])
async def test_ledger_counts_foreign_messages_apart(ingest: Ingest, readers: str) -> None:
    """A message whose subject is no delivery's is not awaited, and holds nothing up."""
    if readers != "1":
        await ingest.stop()
        await ingest.start(READERS=readers)
    nc = await ingest.world.as_admin()
    subjects = ("x", "05.x", "email.x", "telegram.main.x.key", "telegram.main.99.key")
    for end_of_subject in subjects:
        await nc.jetstream().publish(f"inbound.{end_of_subject}", b"garbage")
    await nc.close()
    accepted = await deliver(ingest, 1, 2)

    assert await settled(ingest, accepted) == ["opened", "opened"]
    for _ in range(2):
        ledger = await ingest.ledger()
        assert (ledger["accepted"], ledger["foreign"], ledger["balanced"]) == (2, 5, True)
        assert figures(ledger) == [(2, 2, 0, 0)]
    assert (await ingest.http.get("/health/ready")).status_code == 200
    rows = await ingest.world.sql("ingest", "SELECT subject FROM inbound_foreign ORDER BY sequence")
    assert [subject for (subject,) in rows] == [f"inbound.{each}" for each in subjects]


def pause_intake(patch: pytest.MonkeyPatch) -> None:
    async def wait(*_: Any) -> None:
        raise NotReady("the test holds it up")

    patch.setattr(store, "save", wait)


async def test_set_back_before_the_position_takes_in_new_deliveries(
    ingest: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    before = await deliver(ingest, 1, 5)
    await settled(ingest, before)
    backup = StoreBackup.take(ingest.world)
    gone = await deliver(ingest, 6, 10)
    await settled(ingest, gone)
    await noted(ingest, 10)

    await restore(backup, ingest)
    assert await settled(ingest, await deliver(ingest, 11, 18)) == ["opened"] * 8

    ledger = await ingest.ledger()
    assert figures(ledger) == [(10, 10, 0, 0), (8, 8, 0, 0)]
    assert (ledger["lost"], ledger["balanced"]) == (0, True)
    assert await settled(ingest, [*before, *gone]) == ["opened"] * 10
    assert await began(ingest) == [(1, "created"), (2, "set_back")]
    assert ledger["outcomes"]["duplicate"] == 0
    errors = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    assert [each for each in errors if "INBOUND begins epoch 2 (set_back)" in each]
    metrics = (await ingest.http.get("/metrics")).text
    assert 'trunkline_inbound_setback_total{cause="set_back",service="ingest"} 1.0' in metrics


async def test_set_back_between_position_and_acknowledged_counts_lost(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settled(ingest, await deliver(ingest, 1, 4))
    with monkeypatch.context() as paused:
        pause_intake(paused)
        kept = await deliver(ingest, 5, 7)
        backup = StoreBackup.take(ingest.world)
        lost = await deliver(ingest, 8, 12)
        await noted(ingest, 12)
        await restore(backup, ingest)
        after = await deliver(ingest, 13, 14)
        await noticed(ingest, 2)

    assert await settled(ingest, [*kept, *after]) == ["opened"] * 5
    ledger = await ingest.ledger()
    assert figures(ledger) == [(9, 4, 0, 5), (5, 5, 0, 0)]
    assert (ledger["lost"], ledger["balanced"]) == (5, False)
    assert [await reason(ingest, each) for each in lost] == [("pending", "not_in_inbound")] * 5

    async def acknowledge(count: int) -> int:
        body = {"lost": count, "reason": "restored from the backup of last night"}
        answer = await ingest.http.post("/v1/ledger/losses", json=body, headers=ingest.boss)
        return answer.status_code

    assert [await acknowledge(count) for count in (4, 5)] == [409, 201]
    ledger = await ingest.ledger()
    assert (ledger["lost"], ledger["lost_acknowledged"], ledger["balanced"]) == (5, 5, True)


async def store_raw(world: World, first: int, last: int) -> list[str]:
    """Store deliveries as a gateway does, while ingest is away; return their ids."""
    issuer, ids = InboundIdIssuer(world.environment["INBOUND_KEY"]), []
    nc = await world.as_admin()
    for number in range(first, last + 1):
        body = json.dumps(update(number, number, f"text {number}")).encode()
        raw = RawDelivery("telegram", "main", issuer.issue(), body, datetime.now(UTC))
        letter = envelope.write(raw, content_type="application/json")
        await nc.jetstream().publish(letter.subject, letter.body, headers=letter.headers)
        ids.append(raw.inbound_id)
    await nc.close()
    return ids


async def outcomes(ingest: Ingest, ids: Sequence[str]) -> list[str]:
    rows = await ingest.world.sql(
        "ingest", "SELECT inbound_id::text, outcome FROM item WHERE inbound_id = ANY(%s::uuid[])",
        list(ids),
    )  # fmt: skip
    found = dict(rows)
    return [found.get(id, "pending") for id in ids]


async def mail(ingest: Ingest, number: int, size: int) -> httpx.Response:
    """Deliver a mail; of more than 200 KB in several chunks."""
    text = "\r\n".join(["word " * 14] * (size // 70 + 1))
    body = f"From: c{number}@example.test\r\nSubject: {number}\r\n"
    body += f"Message-ID: <{number}@example.test>\r\n\r\n{text}"
    head = {"Content-Type": "message/rfc822", "X-Trunkline-Secret": "mail-secret"}
    answer = await ingest.http.post("/channels/email/main", content=body, headers=head)
    assert answer.status_code == 202, answer.text
    return answer


async def replaced(world: World, ingest: Ingest, readers: str) -> list[str]:
    """Take in ten deliveries, set back six of eight sequences, and store ten others."""
    world.environment["EMAIL_MAIN_SECRET"] = "mail-secret"
    await ingest.start(READERS=readers)
    await settled(ingest, [*await deliver(ingest, 1, 3), await mail(ingest, 1, 100)])
    backup = StoreBackup.take(world)
    await settled(ingest, [*await deliver(ingest, 4, 8), await mail(ingest, 2, 210_000)])
    last, read = await ingest.stored(), "SELECT max(stream_sequence) FROM reader_position"

    async def is_stored() -> bool:
        where = " WHERE reader = 'inbound'"
        return await ingest.world.sql("ingest", read + where) == [(last,)]

    await eventually(is_stored)
    await ingest.stop()
    backup.restore()
    return await store_raw(world, 11, 20)  # two more than the sequences that were taken away


async def test_two_replicas_find_other_messages_at_their_position(world: World) -> None:
    """Set back and grown past the position while ingest is away."""
    await world.apply()
    async with Teller(world) as teller:
        it = Ingest(world, teller)
        ids = await replaced(world, it, "2")
        await asyncio.gather(it.start(READERS="2"), it.start(READERS="2"))
        try:

            async def taken_in() -> bool:
                return await outcomes(it, ids) == ["opened"] * len(ids)

            await eventually(taken_in)
            after = [*await deliver(it, 21, 22, replica=1), await mail(it, 3, 210_000)]
            assert await settled(it, after) == ["opened"] * 3
            ledger = await it.ledger()
            assert await began(it) == [(1, "created"), (2, "set_back")]
            assert figures(ledger) == [(10, 10, 0, 0), (13, 13, 0, 0)]
            assert ledger["balanced"]
        finally:
            await it.stop()


async def test_without_ids_a_stream_grown_again_is_not_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive control."""
    await world.apply()
    unaware(monkeypatch)
    async with Teller(world) as teller:
        it = Ingest(world, teller)
        ids = await replaced(world, it, "1")
        await it.start(READERS="1")
        try:

            async def newest() -> bool:
                return (await outcomes(it, ids))[-1] == "opened"

            await eventually(newest)
            assert (await outcomes(it, ids))[:5] == ["pending"] * 5
        finally:
            await it.stop()


async def test_new_stream_without_the_old_deliveries_counts_them_lost(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settled(ingest, await deliver(ingest, 1, 3))
    with monkeypatch.context() as paused:
        pause_intake(paused)
        lost = await deliver(ingest, 4, 7)
        await noted(ingest, 7)
        nc = await ingest.world.as_admin()
        await nc.jetstream().delete_stream("INBOUND")
        await nc.close()
        assert (await ingest.post(update(8, 8))).status_code == 503
        await provision_nats(ingest.world.nats, ingest.world.creds)
        after = await deliver(ingest, 9, 10)
        await noticed(ingest, 2)

    assert await settled(ingest, after) == ["opened"] * 2
    ledger = await ingest.ledger()
    assert figures(ledger) == [(7, 3, 0, 4), (2, 2, 0, 0)]
    assert [epoch["cause"] for epoch in ledger["epochs"]] == ["created", "created"]
    assert await reason(ingest, lost[0]) == ("pending", "not_in_inbound")


async def test_set_back_twice_and_deeper_counts_each_loss_once(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settled(ingest, await deliver(ingest, 1, 2))
    first = StoreBackup.take(ingest.world, "first")
    with monkeypatch.context() as paused:
        pause_intake(paused)
        await deliver(ingest, 3, 4)
        second = StoreBackup.take(ingest.world, "second")
        await deliver(ingest, 5, 6)
        await noted(ingest, 6)
        await restore(second, ingest)
        await deliver(ingest, 7, 7)
        await noted(ingest, 5)
        await restore(first, ingest)
        after = await deliver(ingest, 8, 9)
        await noticed(ingest, 3)

    await settled(ingest, after)
    ledger = await ingest.ledger()
    assert figures(ledger) == [(4, 2, 0, 2), (3, 0, 0, 3), (2, 2, 0, 0)]
    assert (ledger["accepted"], ledger["lost"]) == (9, 5)


async def test_older_tables_under_a_running_ingest_take_in_inbound(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INGEST is ahead of the older outbox, so it is reset first, as for any older PostgreSQL."""
    await settled(ingest, await deliver(ingest, 1, 3))
    older = await copy_tables(ingest.world, "ingest")
    banned = "/v1/bans/telegram:8"
    answer = await ingest.http.put(banned, json={"reason": "spam"}, headers=ingest.boss)
    assert answer.is_success
    later = await deliver(ingest, 4, 8)
    assert await settled(ingest, later) == [*["opened"] * 4, "rejected"]

    await copy_back(ingest.world, "ingest", older)
    for name, value in {
        "NATS_URL": ingest.world.nats.url,
        "NATS_MONITOR_URL": ingest.world.nats.monitor_url,
        "NATS_CREDS_DIR": str(ingest.world.creds),
        "DATABASE_URL": ingest.world.admin_dsn,
    }.items():
        monkeypatch.setenv(name, value)
    await reset(Instance(ingest.world.data), ["INGEST"])

    assert await settled(ingest, later) == ["opened"] * 5
    ledger = await ingest.ledger()
    assert (ledger["accepted"], ledger["taken_in"], ledger["balanced"]) == (8, 8, True)
    assert await began(ingest) == [(1, "created")]


async def test_planted_losses_are_reported_at_once(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive control of the ledger: a message removed, an item removed, an item too many."""
    taken = await deliver(ingest, 1, 3)
    await settled(ingest, taken)
    assert (await ingest.ledger())["balanced"]
    with monkeypatch.context() as paused:
        pause_intake(paused)
        (lost,) = await deliver(ingest, 4, 4)
        nc = await ingest.world.as_admin()
        await nc.jetstream().delete_msg("INBOUND", 4)
        await nc.close()
        ledger = await ingest.ledger()
        assert (ledger["lost"], ledger["balanced"]) == (1, False)
        assert await reason(ingest, lost) == ("pending", "not_in_inbound")

    id = taken[1].json()["inbound_id"]
    await ingest.world.sql("ingest", "DELETE FROM item WHERE inbound_id = %s", id)
    ledger = (await ingest.http.get("/v1/ledger", headers=ingest.boss)).json()
    assert (ledger["pending"], ledger["overlooked"], ledger["balanced"]) == (1, 1, False)
    assert await reason(ingest, taken[1]) == ("pending", None)


UNDO = """
ALTER TABLE item DROP COLUMN epoch;
DROP TABLE inbound_epoch, inbound_loss;
CREATE UNIQUE INDEX item_delivery ON item (stream_created, sequence) WHERE n = 0"""
OLD_ITEM = """
INSERT INTO item (inbound_id, n, stream_created, sequence, channel, account, received_at, outcome,
    first) VALUES (gen_random_uuid(), 0, %s, %s, 'telegram', 'main', now(), 'noted', false)"""
OLD_POSITION = """
INSERT INTO reader_position (reader, slot, position, stream_created, stream_sequence)
VALUES ('inbound', 3, 2, %s, 2)"""


async def test_items_of_earlier_creations_get_epochs(world: World) -> None:
    """The migration numbers the creations that there were, and keeps the present one's places."""
    first, second = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, 8, 0, 0, 5, tzinfo=UTC)
    for statement in UNDO.split(";"):
        await world.sql("ingest", statement)
    for created, sequence in ((first, 1), (first, 2), (second, 1), (second, 2)):
        await world.sql("ingest", OLD_ITEM, created, sequence)
    await world.sql("ingest", OLD_POSITION, str(second))

    migration = files("ingest") / "migrations" / "0010.inbound_epochs.sql"
    await world.sql("ingest", migration.read_text().replace("%", "%%"))

    epochs = "SELECT number, stream_created, kept = 0 FROM inbound_epoch ORDER BY number"
    assert await world.sql("ingest", epochs) == [
        (1, "2026-03-01 00:00:00+00", True), (2, str(second), False),
    ]  # fmt: skip
    found = await world.sql("ingest", "SELECT epoch, sequence FROM item ORDER BY 1, 2")
    assert found == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert await world.sql("ingest", "SELECT epoch FROM reader_position") == [(2,)]
