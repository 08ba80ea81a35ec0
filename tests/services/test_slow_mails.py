"""Mails that take long to take apart hold up no other channel; who sends many is turned away."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from mailing import mail
from taking_in import SECRET as BOT_SECRET
from taking_in import update
from world import EXAMPLE

from chassis.testing import eventually, running
from ingest.app import make
from ingest.channels.email.parser_pool import ParserProcess
from ingest.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import httpx
    from world import World

    from ingest.domain.items import RawDelivery

ACCOUNT = "address: support@example.test, secret: env:EMAIL_MAIN_SECRET"


class Post:
    """ingest, and its desks: what is called slow there waits for `takes`."""

    def __init__(self, world: World, http: httpx.AsyncClient) -> None:
        self.boss, self.http = world.token("supervisor"), http
        self.begun: list[str] = []
        self.takes: Callable[[], Awaitable[Any]] = asyncio.Event().wait

    def slow_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        work = ParserProcess.parse

        async def slowly(desk: ParserProcess, raw: RawDelivery) -> tuple[bytes, bytes]:
            self.begun.append(raw.inbound_id)
            if b"Subject: slow" in raw.body:
                await self.takes()
            return await work(desk, raw)

        monkeypatch.setattr(ParserProcess, "parse", slowly)

    async def mail(self, text: str = "hello", **headers: str) -> str:
        told = {"Content-Type": "message/rfc822", "X-Trunkline-Secret": "mail-secret"}
        answer = await self.http.post(
            "/channels/email/main", content=mail(text, **headers), headers=told
        )
        return str(answer.json()["inbound_id"])

    async def update(self, number: int) -> str:
        answer = await self.http.post(
            "/channels/telegram/main", json=update(number), headers={BOT_SECRET: "telegram-secret"}
        )
        return str(answer.json()["inbound_id"])

    async def told(self, inbound_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/inbound/{inbound_id}", headers=self.boss)
        found: dict[str, Any] = answer.json()
        return found

    async def outcome(self, inbound_id: str) -> dict[str, Any]:
        async def settled() -> dict[str, Any] | None:
            told = await self.told(inbound_id)
            return told if told["outcome"] != "pending" else None

        found = await eventually(settled)
        assert found is not None
        return found

    async def ready(self) -> int:
        return (await self.http.get("/health/ready")).status_code


@pytest.fixture
async def post(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Post]:
    monkeypatch.setenv("EMAIL_MAIN_SECRET", "mail-secret")
    text = EXAMPLE.read_text()
    assert ACCOUNT in text
    await world.apply(text.replace(ACCOUNT, f"{ACCOUNT}, per_sender: 3/min"))
    async with AsyncExitStack() as stack:
        app = make(world.settings("ingest", Settings))
        post = Post(world, await stack.enter_async_context(running(app)))
        post.slow_down(monkeypatch)

        async def ready() -> bool:
            return await post.ready() == 200

        await eventually(ready)
        yield post


async def test_slow_mails_delay_no_other_delivery(post: Post) -> None:
    quick = await post.mail(Message_ID="<q@x>")
    slow = [
        await post.mail(From=f"p{n}@x.test", Message_ID=f"<{n}@x>", Subject="slow")
        for n in range(8)
    ]
    updates = [await post.update(n) for n in range(1, 21)]

    for each in (quick, *updates):
        assert (await post.outcome(each))["outcome"] in {"opened", "appended"}
    assert {(await post.told(each))["outcome"] for each in slow} == {"pending"}
    assert await post.ready() == 200
    gate = post.takes.__self__  # type: ignore[attr-defined]  # the method of an event
    gate.set()
    assert {(await post.outcome(each))["outcome"] for each in slow} == {"opened"}
    assert sorted(post.begun) == sorted([quick, *slow])


async def test_reading_mails_is_progress(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.service.STUCK_AFTER_S", 2.0)
    monkeypatch.setattr(
        "chassis.postgres.leader_election.HEARTBEAT_S", 0.2
    )  # PostgreSQL is asked more often, too
    post.takes = lambda: asyncio.sleep(0.9)
    slow = [
        await post.mail(From=f"p{n}@x.test", Message_ID=f"<{n}@x>", Subject="slow")
        for n in range(7)
    ]
    seen = []

    async def taken_in() -> bool:
        seen.append(await post.ready())
        return (await post.told(slow[-1]))["outcome"] == "opened"

    await eventually(taken_in)
    assert set(seen) == {200}


async def test_whose_mails_cannot_be_read_is_turned_away(post: Post) -> None:
    many = {f"X-{n}": "x" for n in range(800)}
    for n in range(5):
        told = await post.outcome(await post.mail(Message_ID=f"<{n}@x>", **many))
        assert told["outcome"] == "parked"
    assert "3 unreadable mails of its sender in 60 s" in told["reason"]
    assert len(post.begun) == 3
    other = await post.mail(From="petro@example.test", Message_ID="<o@x>")
    assert (await post.outcome(other))["outcome"] == "opened"

    async def parked() -> dict[str, Any]:
        items = (await post.http.get("/v1/parked", headers=post.boss)).json()["items"]
        found: dict[str, Any] = items[-1]
        return found

    last = (await parked())["id"]
    await post.http.post(f"/v1/parked/{last}/redrive", headers=post.boss)

    async def read_at_last() -> bool:
        return len(post.begun) == 5 and "500 headers" in (await parked())["reason"]

    await eventually(read_at_last)
