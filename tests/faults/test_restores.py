"""PostgreSQL restored to an older state, by the steps of docs/operations.md; foreign messages.

Nothing that was accepted is lost, ids of facts that PostgreSQL still has stay equal, and a
subscriber that drops what it has seen drops none of what is recorded afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sysconfig
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from desk import soon, update
from nats.errors import TimeoutError as NothingCame

from faults import records
from faults.records import query
from faults.steps import run_step, steps
from faults.test_wounds import Clerk, all_is_well, clerk
from faults.town import ENVIRONMENT, SERVICES, STREAMS
from trunkline import paths
from trunkline.instance import POSTGRES
from trunkline.provision import connect_as

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from faults.checkers import Row
    from faults.town import Town

__all__ = ["clerk"]

pytestmark = pytest.mark.timeout(200, func_only=True)  # ten processes share two processors

HEAR_TIMEOUT_S, DELIVER_TIMEOUT_S = 20.0, 60.0
EPOCH = "SELECT min(first_position) FROM {}.outbox_epoch WHERE epoch > %s"
NEWEST_EPOCH = "SELECT coalesce(max(epoch), 0) FROM {}.outbox_epoch"


@dataclass
class Subscriber:
    """The internal service `crm`: it drops facts whose id it has seen."""

    town: Town
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def hear(self) -> None:
        """Take what comes until everything that TICKETS holds was seen."""
        wanted = {row.id for row in await records.outbox(self.town.dsn, "tickets")}
        until = time.monotonic() + HEAR_TIMEOUT_S
        nc = await connect_as("crm", self.town.instance.nats_url, self.town.instance.creds)
        try:
            place = await nc.jetstream(timeout=5).pull_subscribe_bind("crm", "TICKETS")
            while not wanted <= self.seen.keys():
                assert time.monotonic() < until, wanted - self.seen.keys()
                try:
                    batch = await place.fetch(200, timeout=1)
                except NothingCame:
                    continue
                for message in batch:
                    fact = json.loads(message.data)
                    self.seen.setdefault(fact["id"], fact)
                    await message.ack()
        finally:
            await nc.close()

    def dropped(self, rows: Sequence[Row]) -> list[str]:
        """Name the facts it took for others, because it had seen their id."""
        return [
            f"{row.key} {row.sequence} {row.name}"
            for row in rows
            if self.seen[row.id]["data"] != dict(row.data)
            or self.seen[row.id]["time"] != row.time.isoformat().replace("+00:00", "Z")
        ]


@pytest.fixture(scope="module")
def crm(town: Town) -> Subscriber:
    return Subscriber(town)


class Drill:
    """One restore: what was recorded before the backup, and what must be true afterwards."""

    def __init__(self, clerk: Clerk, crm: Subscriber, backup: Path) -> None:
        self.town, self.clerk, self.crm = crm.town, clerk, crm
        town = self.town
        self.accepted: list[str] = []
        self.kept: dict[str, list[Row]] = {}
        self.epochs: dict[str, int] = {}
        base, data = town.desk.base, town.desk.data
        password = (data / "creds" / "postgres.pg").read_text().strip()
        address = f"127.0.0.1:{base + POSTGRES}/postgres"
        path = [sysconfig.get_path("scripts"), str(paths.postgres_bin()), "/usr/bin", "/bin"]
        self.variables = {
            **ENVIRONMENT,
            "DATA": str(data),
            "PORT_BASE": str(base),
            "BACKUP": str(backup),
            "DATABASE": f"postgresql://postgres:{password}@{address}",
            "PATH": ":".join(path),
        }

    async def follow(self, commands: Sequence[str]) -> list[str]:
        """Run these steps as they are written."""
        return [await asyncio.to_thread(run_step, each, self.variables) for each in commands]

    def deliver(self, chat: int, text: str) -> str:
        """Deliver a message, wherever the services stand; return its inbound id."""
        self.town.texts.add(text)
        number = 10_000_000 + len(self.town.texts)
        inbound = str(self.town.desk.telegram(number, chat, text).json()["inbound_id"])
        self.town.accepted.add(inbound)
        self.accepted.append(inbound)
        return inbound

    async def begin(self, chat: int) -> str:
        """Work a little, and remember all that was recorded; return an open request."""
        (request,) = self.clerk.write(chat, f"before the backup {chat}")
        soon(lambda: self.clerk.get("tickets", f"/v1/requests/{request}")["assignee"])
        await self.crm.hear()
        for name in SERVICES:
            self.kept[name] = await records.outbox(self.town.dsn, name)
            ((self.epochs[name],),) = await query(self.town.dsn, NEWEST_EPOCH.format(name))
        return request

    async def go_on(self, request: str, chat: int) -> None:
        """Work on after the backup: all of this will be lost, and most of it be heard before."""
        for each in (chat, chat, chat + 1, chat + 2):
            inbound = self.deliver(each, f"after the backup {each} {len(self.town.texts)}")
            self.town.desk.settled(inbound)
        path = f"/v1/requests/{request}/reply"
        answer = self.clerk.post("tickets", path, {"text": "an answer that will be lost"})
        assert answer.status_code == 201, answer.text
        await self.crm.hear()

    async def finish(self, request: str, chat: int) -> None:
        """Work on after the reset, and judge."""
        settled = {each: self.town.desk.settled(each, 30) for each in self.accepted}
        assert {told["outcome"] for told in settled.values()} <= {"opened", "appended", "duplicate"}
        (after,) = self.clerk.write(chat, f"after the restore {chat}")
        assert after == request
        await all_is_well(self.town)
        await self.crm.hear()
        for name in SERVICES:
            await self._judge(name)

    async def _judge(self, name: str) -> None:
        rows = await records.outbox(self.town.dsn, name)
        kept = self.kept[name]
        assert [row.id for row in rows[: len(kept)]] == [row.id for row in kept]
        ((first,),) = await query(self.town.dsn, EPOCH.format(name), self.epochs[name])
        assert first is not None, f"{name} has no new epoch"
        assert first > max((row.position for row in kept), default=0)
        if name == "tickets":
            assert self.crm.dropped(rows) == []

    @contextlib.asynccontextmanager
    async def pouring(self, chat: int) -> AsyncGenerator[None]:
        """Deliver one message after the other while this lasts, each until it is accepted."""
        over = asyncio.Event()
        secret = self.town.desk.secrets["TELEGRAM_MAIN_SECRET"]
        head = {"X-Telegram-Bot-Api-Secret-Token": secret}

        async def pour() -> None:
            async with httpx.AsyncClient(timeout=15, headers=head) as http:
                while not over.is_set():
                    text = f"poured {chat} {len(self.town.texts)}"
                    self.town.texts.add(text)
                    inbound = await self._accepted(http, chat, text)
                    self.town.accepted.add(inbound)
                    self.accepted.append(inbound)

        async with asyncio.TaskGroup() as group:
            group.create_task(pour())
            yield
            over.set()

    async def _accepted(self, http: httpx.AsyncClient, chat: int, text: str) -> str:
        body = update(10_000_000 + len(self.town.texts), chat, text)
        url = self.town.desk.url("ingest", "/channels/telegram/main")
        until = time.monotonic() + DELIVER_TIMEOUT_S
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                answer = await http.post(url, json=body)
                if answer.is_success:
                    return str(answer.json()["inbound_id"])
            await asyncio.sleep(0.1)
        raise AssertionError(f"{text} was not accepted within {DELIVER_TIMEOUT_S} s")

    async def back_up(self, way: str) -> None:
        await self.follow(steps(BACKUPS[way]))

    async def restore(self, way: str) -> None:
        """Restore the backup and reset the streams, while a customer goes on writing."""
        await (self._cold() if way == "cold" else self._hot())

    async def _cold(self) -> None:
        town = self.town
        *commands, up, reset = steps(RESTORES["cold"])
        await asyncio.to_thread(town.stop_replicas)
        (*_, started) = await self.follow([*commands, up])
        assert "degraded" in started
        assert "the stream is ahead of its outbox" in started
        states = {each["name"]: each for each in town.desk.status["services"]}
        assert states["tickets"]["state"] == "degraded"
        assert "ahead" in states["tickets"]["reason"]
        self.deliver(81_009, f"while the instance is degraded {len(town.texts)}")
        await self.follow([reset])
        town.replies.clear()  # the sink forgot what it got; it gets none of it again
        town.add_replicas()
        await town.ready()

    async def _hot(self) -> None:
        await self.follow(steps(RESTORES["hot"]))
        self.deliver(82_009, f"after the restore of a running town {len(self.town.texts)}")
        await self.town.ready(30)


BACKUPS = {"cold": "Copying the PostgreSQL cluster", "hot": "Dumping the PostgreSQL database"}
RESTORES = {
    "cold": "Restoring the PostgreSQL cluster while the instance is down",
    "hot": "Restoring the PostgreSQL database while services run",
}


@pytest.mark.parametrize("way", ["cold", "hot"])
async def test_an_older_postgresql_loses_nothing(
    clerk: Clerk, crm: Subscriber, tmp_path: Path, way: str
) -> None:
    drill = Drill(clerk, crm, tmp_path)
    chat = 81_001 if way == "cold" else 82_001
    request = await drill.begin(chat)
    await drill.back_up(way)
    await drill.go_on(request, chat)
    await drill.restore(way)
    await drill.finish(request, chat)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ["cold", "hot"])
@pytest.mark.parametrize("again", ["cold", "hot"])
@pytest.mark.parametrize("foreign", [False, True], ids=["clean", "foreign"])
async def test_an_older_postgresql_twice_under_load(
    clerk: Clerk, crm: Subscriber, tmp_path: Path, way: str, again: str, *, foreign: bool
) -> None:
    drill = Drill(clerk, crm, tmp_path)
    chat = 90_000 + 10 * len(crm.town.texts)
    request = await drill.begin(chat)
    for each in {way, again}:
        await drill.back_up(each)
    for each in (way, again):  # to the same state both times
        await drill.go_on(request, chat)
        if foreign:
            await forge(drill.town)
        async with drill.pouring(chat + 5):
            await drill.restore(each)
    await drill.finish(request, chat)


FOREIGN = {
    "INGEST": "trunkline.ingest.v1.message_received.05.foreign",
    "ROUTING": "trunkline.routing.v1.queued.05.foreign",
    "TICKETS": "trunkline.tickets.v1.opened.05.foreign",
    "SLA": "trunkline.sla.v1.target_set.05.foreign",
    "NOTIFY": "trunkline.notify.v1.message_sent.05.foreign",
    "INBOUND": "inbound.telegram.main.05.foreign",
    "PARKED": "parked.tickets.foreign",
    "REDRIVE": "redrive.tickets.ingest",
    "WORKSPACE": "workspace.v",
}
"""A subject in each stream."""


async def test_a_foreign_message_in_each_stream_stops_nothing(
    town: Town, clerk: Clerk, crm: Subscriber
) -> None:
    (known,) = clerk.write(83_001, "before the foreign hand")
    await forge(town, *FOREIGN)
    clerk.served(known)
    (after,) = clerk.write(83_002, "after the foreign hand")
    clerk.served(after)
    for name in SERVICES:
        soon(lambda name=name: stepped_over(clerk, name))
    for item in clerk.get("ingest", "/v1/parked")["items"]:  # INBOUND's was no delivery
        assert item["key"] == "foreign"
        clerk.post("ingest", f"/v1/parked/{item['id']}/skip")
    before = {name: await records.outbox(town.dsn, name) for name in SERVICES}
    told = await asyncio.to_thread(town.desk.run, "stream", "reset", "--all")
    for name in STREAMS:
        assert f"{name}: 1 messages that its outbox does not have, kept in " in told.stdout
    await all_is_well(town)
    for name in SERVICES:
        rows = await records.outbox(town.dsn, name)
        assert [row.id for row in rows[: len(before[name])]] == [row.id for row in before[name]]
    await crm.hear()


async def forge(town: Town, *streams: str) -> None:
    """Publish a message of another hand into these streams, or all domain streams."""
    nc = await connect_as("admin", town.instance.nats_url, town.instance.creds)
    try:
        for stream in streams or STREAMS:
            ack = await nc.jetstream(timeout=5).publish(FOREIGN[stream], b'{"it": "is not ours"}')
            assert ack.stream == stream
    finally:
        await nc.close()


def stepped_over(clerk: Clerk, name: str) -> bool:
    """Whether one replica of a service names the foreign message, and both are ready."""
    answers = [clerk.desk.http.get(f"{door}/health/ready") for door in clerk.town.doors(name)]
    assert [answer.status_code for answer in answers] == [200, 200]
    return any("from an unknown publisher" in answer.text for answer in answers)
