"""The message dispatcher on real servers: stopping, recording results, and claiming."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from notify_stack import Notify, notify_stack, opened, replied

from chassis.testing import eventually, running
from notify.app import make
from notify.delivery import queue
from notify.delivery.dispatcher import MAX_ATTEMPTS_PER_ACCOUNT
from notify.domain.outcomes import Sent
from notify.settings import Settings
from notify.transport.channels import SENDERS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import World

    from chassis.service import Service


@pytest.fixture
async def notify(world: World) -> AsyncGenerator[Notify]:
    async with notify_stack(world) as stack:
        yield stack


async def test_stopping_ends_begun_attempts(notify: Notify) -> None:
    notify.outside.seconds = 0.6
    await notify.start()
    id_ = uuid4()
    reply = replied(id_)
    await notify.tell(opened(id_), reply)
    await notify.until_state(reply, "sending")
    await notify.stop()

    assert await notify.world.sql("notify", "SELECT state, attempts FROM sends") == [("sent", 1)]
    assert len(await notify.arrived()) == 1
    assert len(await notify.said("message_sent")) == 1


async def test_unstorable_result_delays_no_other(
    notify: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()

    async def send(_: Any, __: Any, attempt: Any) -> Any:
        asked[attempt.chat] += 1
        return Sent("a\x00b" if attempt.chat == "66" else "1")

    monkeypatch.setitem(SENDERS, "telegram", send)  # type: ignore[arg-type]
    monkeypatch.setattr(
        "notify.domain.retry.printable", lambda told, *_: told
    )  # as if nobody had looked
    await notify.start()
    odd, good = uuid4(), uuid4()
    replies = [replied(odd, chat="66"), replied(good)]
    await notify.tell(opened(odd, "66"), opened(good), *replies)

    assert (await notify.until_state(replies[0], "sent"))["platform_id"] is None
    assert (await notify.until_state(replies[1], "sent"))["platform_id"] == "1"
    assert asked == {"66": 1, "77": 1}
    assert len(await notify.said("message_sent")) == 2


async def test_unrecorded_result_is_reported_as_unhealthy(
    notify: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = queue.settle

    async def refused(tx: Any, verdicts: Any) -> Any:
        if any(each.attempt.chat == "66" for each in verdicts):
            raise psycopg.DataError
        return await settle(tx, verdicts)

    monkeypatch.setattr(queue, "settle", refused)
    monkeypatch.setattr("notify.delivery.dispatcher.STUCK_AFTER_S", 1.5)
    await notify.start()
    odd, good = uuid4(), uuid4()
    replies = [replied(odd, chat="66"), replied(good)]
    await notify.tell(opened(odd, "66"), opened(good), *replies)
    await notify.until_state(replies[1], "sent")

    async def unready() -> bool:
        answer = await notify.http.get("/health/ready")
        return answer.status_code == 503 and "an outcome is not recorded" in answer.text

    await eventually(unready)
    monkeypatch.setattr(queue, "settle", settle)
    assert (await notify.until_state(replies[0], "sent"))["attempts"] == 1
    assert len(await notify.arrived("66")) == 1


async def test_stopping_with_hanging_attempt_keeps_other_results(
    notify: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: Counter[str] = Counter()
    go, never = asyncio.Event(), asyncio.Event()

    async def send(_: Any, __: Any, attempt: Any) -> Any:
        begun[attempt.chat] += 1
        await (never if attempt.chat == "66" else go).wait()
        return Sent("1")

    monkeypatch.setitem(SENDERS, "telegram", send)  # type: ignore[arg-type]
    monkeypatch.setattr("notify.delivery.dispatcher.DRAIN_TIMEOUT_S", 1.0)
    await notify.start()
    chats = {chat: uuid4() for chat in ("66", "1", "2", "3")}
    await notify.tell(*[opened(id_, chat) for chat, id_ in chats.items()])
    await notify.tell(*[replied(id_, chat=chat) for chat, id_ in chats.items()])

    async def all_begun() -> bool:
        return len(begun) == 4

    await eventually(all_begun)
    asyncio.get_running_loop().call_later(0.2, go.set)
    began = time.monotonic()
    await notify.stop()

    assert time.monotonic() - began < 4
    states = await notify.world.sql("notify", "SELECT chat, state FROM sends ORDER BY chat")
    assert states == [("1", "sent"), ("2", "sent"), ("3", "sent"), ("66", "sending")]
    assert len(await notify.said("message_sent")) == 3


async def test_hanging_account_delays_no_other(
    notify: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, go = 0, asyncio.Event()

    async def hang(*_: Any) -> Any:
        nonlocal hanging
        hanging += 1
        await go.wait()
        return Sent("1")

    monkeypatch.setitem(SENDERS, "email", hang)  # type: ignore[arg-type]
    await notify.start()
    slow = [uuid4() for _ in range(MAX_ATTEMPTS_PER_ACCOUNT + 8)]
    await notify.tell(*[opened(id_, f"c-{id_}", "email") for id_ in slow])
    await notify.tell(*[replied(id_, chat=f"c-{id_}", channel="email") for id_ in slow])

    async def all_hands() -> bool:
        return hanging == MAX_ATTEMPTS_PER_ACCOUNT

    await eventually(all_hands)
    quick = uuid4()
    reply = replied(quick)
    await notify.tell(opened(quick), reply)
    await notify.until_state(reply, "sent")
    assert hanging == MAX_ATTEMPTS_PER_ACCOUNT

    go.set()  # and whoever waited for a hand has one

    async def all_sent() -> bool:
        return len(await notify.said("message_sent")) == len(slow) + 1

    await eventually(all_sent)


async def test_stopping_returns_claims_that_were_not_begun(
    notify: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, claimed, go = queue.claim, asyncio.Event(), asyncio.Event()

    async def slowly(*args: Any) -> Any:
        attempts = await claim(*args)
        if attempts:
            claimed.set()
            await go.wait()
        return attempts

    monkeypatch.setattr(queue, "claim", slowly)
    await notify.start(UNKNOWN_OUTCOME="hold")
    id_ = uuid4()
    reply = replied(id_)
    await notify.tell(opened(id_), reply)
    await asyncio.wait_for(claimed.wait(), 10)
    asyncio.get_running_loop().call_later(0.2, go.set)
    await notify.stop()

    due = "SELECT state, lease, next_at <= now() FROM sends"
    assert await notify.world.sql("notify", due) == [("intended", None, True)]
    assert await notify.arrived() == []
    await notify.start(UNKNOWN_OUTCOME="hold")
    await notify.until_state(reply, "sent")


async def test_claim_uses_the_index_with_many_messages(
    notify: Notify,
) -> None:
    await notify.world.sql(
        "notify",
        "INSERT INTO sends (message_id, request_id, channel, account, chat, state, by_operator,"
        " next_at) SELECT gen_random_uuid(), gen_random_uuid(), 'telegram', 'a' || n %% 5,"
        " (n %% 2000)::text, 'intended', 'anna', now() + (n - 10000) * interval '1 s'"
        " FROM generate_series(1, 20000) n",
    )
    await notify.world.sql("notify", "ANALYZE sends")
    plan = await notify.world.sql(
        "notify",
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {queue.CLAIM_MESSAGES.replace('%b', '%s')}",
        MAX_ATTEMPTS_PER_ACCOUNT, ["telegram"], ["a1"], [MAX_ATTEMPTS_PER_ACCOUNT], uuid4(), 20.0,
    )  # fmt: skip
    top = plan[0][0][0]["Plan"]
    nodes = [top]
    for node in nodes:
        nodes += node.get("Plans", [])
    scans = {(node["Node Type"], node.get("Relation Name")) for node in nodes}

    assert top["Actual Rows"] == 4 * MAX_ATTEMPTS_PER_ACCOUNT  # of all accounts but the busy one
    assert ("Seq Scan", "sends") not in scans
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 20_000


async def test_dispatcher_rests_when_another_replica_sends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own claims are commits too, and must not wake it."""
    claim, claims = queue.claim, 0

    async def counted(*args: Any) -> Any:
        nonlocal claims
        claims += 1
        return await claim(*args)

    monkeypatch.setattr(queue, "claim", counted)
    await world.apply()
    app = make(world.settings("notify", Settings))
    async with running(app):
        service: Service = app.state.service
        service.state["messages"].notify_pending(3)
        async with service.transaction():
            before = claims

        async def claimed() -> bool:
            return claims > before

        await eventually(claimed)
        await asyncio.sleep(0.4)
    assert claims <= before + 3
