"""notify on real servers and the sink: bells, replies in order, and messages in doubt.

Long, as bells, replies and doubts are tried at the same two replicas and sink.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import uvicorn
from telling import Teller

from chassis.testing import eventually, running
from notify.app import make
from notify.delivery import queue
from notify.delivery.dispatcher import MAX_ATTEMPTS_PER_ACCOUNT
from notify.domain.outcomes import Sent
from notify.settings import Settings
from notify.transport.channels import SENDERS
from trunkline.sink import server as the_sink
from trunkline_contracts import (
    AssigneeChanged,
    Closed,
    Contact,
    Message,
    NoteAdded,
    Opened,
    Queued,
    ReplySent,
    TargetBreached,
    TargetWarned,
    WatcherAdded,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import ASGIApp, Receive, Scope, Send
    from world import World

    from chassis.service import Service
    from trunkline_contracts import Fact


class Slowly:
    """The outside world, when it takes its time."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/bot"):
            await asyncio.sleep(self.seconds)
        await self.app(scope, receive, send)


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncGenerator[str]:
    """Serve an application on a free port; gives its address."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True
        await task


class Notify:
    """notify in a test's own world, the sink, and somebody who tells facts."""

    def __init__(self, world: World, teller: Teller, sink: str, outside: Slowly) -> None:
        self.world, self.tell, self.sink, self.outside = world, teller.tell, sink, outside
        self._stack = AsyncExitStack()
        self.http: httpx.AsyncClient

    async def start(self, **more: str) -> None:
        """Run one replica more."""
        app = make(self.world.settings("notify", Settings, SINK_URL=self.sink, **more))
        self.http = await self._stack.enter_async_context(running(app))

    async def stop(self) -> None:
        """Stop every replica."""
        await self._stack.aclose()

    async def bell(self, who: str) -> list[dict[str, Any]]:
        header = self.world.token("operator", subject=who)
        answer = await self.http.get(f"/v1/operators/{who}/notifications", headers=header)
        return list(answer.json()["items"])

    async def deliveries(self, request_id: UUID) -> dict[str, dict[str, Any]]:
        header = self.world.token("supervisor")
        path = f"/v1/deliveries?request_id={request_id}"
        items = (await self.http.get(path, headers=header)).json()["items"]
        return {item["id"]: item for item in items if item["what"] == "message"}

    async def arrived(self, to: str | None = None) -> list[dict[str, Any]]:
        query = {"channel": "telegram"} | ({"to": to} if to else {})
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self.sink}/sent", params=query)
        return list(answer.json()["items"])

    async def fault(self, **what: Any) -> None:
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{self.sink}/faults", json=what)
        answer.raise_for_status()

    async def said(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.world.sql(
            "notify",
            "SELECT body FROM outbox WHERE type = %s ORDER BY position",
            f"trunkline.notify.v1.{kind}",
        )
        return [json.loads(bytes(body))["data"] for (body,) in rows]

    async def until_state(self, reply: Fact, state: str) -> dict[str, Any]:
        assert isinstance(reply, ReplySent)

        async def there() -> dict[str, Any] | None:
            found = (await self.deliveries(reply.request_id))[str(reply.message.id)]
            return found if found["state"] == state else None

        found = await eventually(there)
        assert found is not None
        return found


@pytest.fixture
async def notify(world: World) -> AsyncGenerator[Notify]:
    await world.apply()
    outside = Slowly(the_sink.build())
    async with serving(outside) as sink, Teller(world) as teller:
        notify = Notify(world, teller, sink, outside)
        try:
            yield notify
        finally:
            await notify.stop()


def opened(request_id: UUID, chat: str = "77", channel: str = "telegram") -> Fact:
    now = datetime.now(UTC)
    return Opened(
        time=now, workspace=1, request_id=request_id, request_type="chat", channel=channel,
        account="main", contact=Contact(id=uuid4(), address=chat), topic="general",
        priority="medium", status="new", message=Message(id=uuid4(), text="hi", sent_at=now),
        conversation=chat,
    )  # fmt: skip


def assigned(request_id: UUID, to: str = "anna") -> Fact:
    now = datetime.now(UTC)
    return AssigneeChanged(time=now, request_id=request_id, to=to, mode="auto", epoch=1)


def replied(
    request_id: UUID, text: str = "yes", chat: str = "77", channel: str = "telegram"
) -> Fact:
    now = datetime.now(UTC)
    return ReplySent(
        time=now, request_id=request_id, message=Message(id=uuid4(), text=text, sent_at=now),
        by="anna", channel=channel, account="main",
        contact=Contact(id=uuid4(), address=chat), conversation=chat,
    )  # fmt: skip


async def test_bell_of_assignee_and_watcher_lists_and_marks_read(notify: Notify) -> None:
    await notify.start()
    id_, now = uuid4(), datetime.now(UTC)
    await notify.tell(
        opened(id_),
        assigned(id_),
        WatcherAdded(time=now, request_id=id_, watcher="bohdan", by="anna"),
        NoteAdded(time=now, request_id=id_, note="a secret", by="anna"),
    )

    async def rung() -> bool:
        return len(await notify.bell("bohdan")) == 2

    await eventually(rung)
    [mine] = await notify.bell("anna")
    assert set(mine) == {"id", "kind", "request_id", "text", "at", "read", "count"}
    assert (mine["kind"], mine["request_id"], mine["read"]) == ("assigned", str(id_), False)
    assert [n["kind"] for n in await notify.bell("bohdan")] == ["note_added", "watching"]
    assert not any("secret" in n["text"] for n in await notify.bell("bohdan"))
    told = [
        (n["recipient"], n["kind"], n["channel"]) for n in await notify.said("notification_sent")
    ]
    assert Counter(told) == Counter(
        [
            ("anna", "assigned", "bell"),
            ("bohdan", "watching", "bell"),
            ("bohdan", "note_added", "bell"),
        ]
    )

    anna = notify.world.token("operator", subject="anna")
    path = "/v1/operators/anna/notifications"
    answer = await notify.http.post(f"{path}/read", headers=anna, json={"ids": [mine["id"]]})
    assert answer.json() == {"read": 1}
    assert [n["read"] for n in await notify.bell("anna")] == [True]
    assert (await notify.http.get(f"{path}?unread=true", headers=anna)).json()["items"] == []


async def test_bell_is_readable_by_owner_and_supervisor(notify: Notify) -> None:
    await notify.start()
    path = "/v1/operators/anna/notifications"

    async def status(role: str, subject: str) -> int:
        header = notify.world.token(role, subject=subject)
        return (await notify.http.get(path, headers=header)).status_code

    assert await status("operator", "anna") == 200
    assert await status("operator", "bohdan") == 403
    assert await status("supervisor", "bohdan") == 200
    assert await status("analyst", "anna") == 403
    assert (await notify.http.get(path)).status_code == 401


async def test_bell_pages_are_complete(notify: Notify) -> None:
    await notify.start()
    id_, now = uuid4(), datetime.now(UTC)
    notes = [NoteAdded(time=now, request_id=id_, note=str(n), by="olena") for n in range(9)]
    await notify.tell(opened(id_), assigned(id_), *notes)

    async def rung() -> bool:
        return len(await notify.bell("anna")) == 10

    await eventually(rung)
    anna, seen, cursor = notify.world.token("operator", subject="anna"), [], ""
    while cursor is not None:
        path = f"/v1/operators/anna/notifications?limit=4{f'&cursor={cursor}' if cursor else ''}"
        page = (await notify.http.get(path, headers=anna)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == 10


async def test_breach_before_its_request_is_deferred(notify: Notify) -> None:
    await notify.start()
    id_, now = uuid4(), datetime.now(UTC)
    await notify.tell(
        TargetBreached(time=now, request_id=id_, clock="FRT", due_at=now, noticed_at=now)
    )

    async def kept() -> bool:
        return bool(await notify.world.sql("notify", "SELECT 1 FROM waiting"))

    await eventually(kept)
    await notify.tell(opened(id_), assigned(id_))

    async def rung() -> bool:
        return [n["kind"] for n in await notify.bell("anna")] in (
            ["breached", "assigned"],
            ["assigned", "breached"],  # as one of the group, while it was nobody's
        ) and not await notify.world.sql("notify", "SELECT 1 FROM waiting")

    await eventually(rung)


async def test_breach_without_assignee_notifies_the_group(
    notify: Notify,
) -> None:
    await notify.start()
    first, moved, taken = uuid4(), uuid4(), uuid4()
    now = datetime.now(UTC)
    await notify.tell(
        opened(first), opened(moved), opened(taken), assigned(taken, "bohdan"),
        Queued(time=now, request_id=moved, group="finance"),
    )  # fmt: skip

    async def heard() -> bool:
        return bool(await notify.bell("bohdan"))

    await eventually(heard)
    await notify.tell(
        TargetWarned(time=now, request_id=first, clock="FRT", fraction=0.8, due_at=now),
        TargetBreached(time=now, request_id=moved, clock="FRT", due_at=now, noticed_at=now),
        TargetBreached(time=now, request_id=taken, clock="FRT", due_at=now, noticed_at=now),
    )

    async def rung() -> bool:
        told = {
            (who, n["kind"], n["request_id"])
            for who in ("anna", "bohdan", "olena")
            for n in await notify.bell(who)
        }
        return told == {
            *((who, "warned", str(first)) for who in ("anna", "bohdan", "olena")),
            ("olena", "breached", str(moved)),
            ("bohdan", "assigned", str(taken)),
            ("bohdan", "breached", str(taken)),
        }

    await eventually(rung)


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
