"""Replies on real servers and the sink: order, outcomes, retries and suspended accounts."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from notify_stack import Notify, assigned, notify_stack, opened, replied

from chassis.testing import eventually
from trunkline_contracts import Closed, ReplySent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import World


@pytest.fixture
async def notify(world: World) -> AsyncGenerator[Notify]:
    async with notify_stack(world) as stack:
        yield stack


async def test_reply_is_sent_and_recorded(notify: Notify, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await notify.start()
    id_ = uuid4()
    reply = replied(id_, "your parcel is here")
    began = time.monotonic()
    await notify.tell(opened(id_), assigned(id_), reply)

    async def there() -> list[dict[str, Any]]:
        return await notify.arrived("77")

    [arrived] = await eventually(there)
    assert time.monotonic() - began < 5
    assert arrived["text"] == "your parcel is here"
    delivery = await notify.until_state(reply, "sent")
    assert delivery["platform_id"] is not None
    assert delivery["attempts"] == 1
    path, analyst = f"/v1/deliveries?request_id={id_}", notify.world.token("analyst")
    [shown, *_] = (await notify.http.get(path, headers=analyst)).json()["items"]
    assert (shown["state"], shown["platform_id"], shown["reason"]) == ("sent", None, None)
    [sent] = await notify.said("message_sent")
    assert sent["platform_id"] == delivery["platform_id"]
    assert await notify.world.sql("notify", "SELECT text FROM sends") == [(None,)]
    ours = [r.getMessage() for r in caplog.records if r.name != "uvicorn.access"]  # the sink's own
    assert not any("telegram-token" in line for line in ours)


async def test_chat_order_holds_with_two_replicas(
    notify: Notify,
) -> None:
    notify.outside.seconds = 0.01
    for _ in range(2):
        await notify.start()
    chats = {str(chat): uuid4() for chat in range(1, 6)}
    await notify.tell(*[opened(id_, chat) for chat, id_ in chats.items()])
    await notify.tell(
        *[replied(id_, str(n), chat) for n in range(12) for chat, id_ in chats.items()]
    )

    async def all_there() -> bool:
        return len(await notify.said("message_sent")) == 60

    await eventually(all_there, within=20)
    for chat in chats:
        assert [a["text"] for a in await notify.arrived(chat)] == [str(n) for n in range(12)]


@pytest.mark.parametrize(("taken", "copies"), [(True, 2), (False, 1)])
async def test_broken_off_response_is_unknown_and_resent(
    notify: Notify, taken: bool, copies: int
) -> None:
    await notify.fault(kind="drop", taken=taken)
    await notify.start()
    id_ = uuid4()
    reply, second = replied(id_, "first"), replied(id_, "second")
    await notify.tell(opened(id_), reply, second)
    await notify.until_state(reply, "unknown")
    await notify.until_state(reply, "sent")
    await notify.until_state(second, "sent")

    arrived = await notify.arrived("77")
    assert [a["text"] for a in arrived] == ["first"] * copies + ["second"]
    assert len({a["headers"]["idempotency-key"] for a in arrived if a["text"] == "first"}) == 1
    assert len(await notify.said("message_sent")) == 2
    assert await notify.said("message_failed") == []


async def test_unknown_outcome_is_held_by_policy(
    notify: Notify,
) -> None:
    await notify.fault(kind="drop", taken=True)
    await notify.start(UNKNOWN_OUTCOME="hold")
    id_ = uuid4()
    reply, second = replied(id_, "first"), replied(id_, "second")
    await notify.tell(opened(id_), reply, second)
    await notify.until_state(second, "sent")

    assert (await notify.until_state(reply, "unknown"))["attempts"] == 1
    assert [a["text"] for a in await notify.arrived("77")] == ["first", "second"]
    assert await notify.said("message_failed") == []


async def test_blocked_customer_is_not_retried(notify: Notify) -> None:
    await notify.fault(kind="status", status=403)
    await notify.start()
    id_ = uuid4()
    reply, second = replied(id_, "first"), replied(id_, "second")
    await notify.tell(opened(id_), reply, second)
    await notify.until_state(second, "sent")

    assert (await notify.until_state(reply, "failed"))["reason"] == "refused (403)"
    [failed] = await notify.said("message_failed")
    assert (failed["request_id"], failed["reason"]) == (str(id_), "refused (403)")


async def test_rate_limit_suspends_the_account_as_asked(notify: Notify) -> None:
    await notify.fault(kind="status", status=429, retry_after=1)
    await notify.start()
    one, other = uuid4(), uuid4()
    first, later = replied(one, "one"), replied(other, "other", "88")
    began = time.monotonic()
    await notify.tell(opened(one), first)

    async def shut() -> list[Any]:
        return await notify.world.sql("notify", "SELECT 1 FROM exits WHERE shut_until > now()")

    await eventually(shut)
    await notify.tell(opened(other, "88"), later)
    await notify.until_state(first, "sent")
    await notify.until_state(later, "sent")
    assert time.monotonic() - began >= 1


async def test_attempt_of_dead_replica_is_repeated_with_same_id(
    notify: Notify,
) -> None:
    await notify.fault(kind="status", status=429, retry_after=3600)
    await notify.start(SEND_LEASE="2")
    id_ = uuid4()
    reply = replied(id_, "hello")
    await notify.tell(opened(id_), reply)

    async def shut() -> list[Any]:
        return await notify.world.sql("notify", "SELECT 1 FROM exits")

    await eventually(shut)
    # as kill -9 would leave it: claimed, never settled
    await notify.world.sql(
        "notify",
        "UPDATE sends SET state = 'sending', lease = gen_random_uuid(), next_at = now() + '1 s'",
    )
    await notify.world.sql("notify", "DELETE FROM exits")
    await notify.until_state(reply, "sent")

    assert isinstance(reply, ReplySent)
    [arrived] = await notify.arrived("77")
    assert arrived["headers"]["idempotency-key"] == str(reply.message.id)


async def test_channels_without_sender_are_settled_at_once(
    notify: Notify,
) -> None:
    await notify.start()
    id_, now = uuid4(), datetime.now(UTC)
    fetched, lost = replied(id_, channel="api"), replied(id_, channel="telepathy")
    end = Closed(time=now, request_id=id_, resolution="done", by="timer", status="closed")
    await notify.tell(opened(id_, channel="api"), fetched, lost, end)
    await notify.until_state(fetched, "sent")
    await notify.until_state(lost, "suppressed")

    assert len(await notify.said("message_sent")) == 1
    assert [f["reason"] for f in await notify.said("message_failed")] == [
        "channel telepathy has no sender"
    ]
    assert await notify.arrived() == []
