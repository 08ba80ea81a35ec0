"""Two replicas of ingest are killed while platforms deliver: one effect per message, all the same.

New contacts write all at once, every message and every edit comes one to five times in any order,
to either replica. Only ingest runs, as processes of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from desk import update

from chassis.testing import eventually
from trunkline.supervisor import Program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from world import World

SECRET = {"X-Telegram-Bot-Api-Secret-Token": "telegram-secret"}
SAID = "SELECT body FROM outbox WHERE type = %s ORDER BY position"


@dataclass
class Replicas:
    """Two processes of ingest, in a test's own world."""

    world: World
    programs: list[Program]
    kills: int = 0
    refused: int = 0
    deliveries: int = 0

    async def deliver(self, http: httpx.AsyncClient, body: Any, turn: int) -> None:
        """Send it as platforms do: again, here or there, when it was not taken."""
        self.deliveries += 1
        while True:
            try:
                url = f"{self.programs[turn % len(self.programs)].url}/channels/telegram/main"
                answer = await http.post(url, json=body, headers=SECRET)
                if answer.status_code == 200:
                    return
            except httpx.TransportError:
                pass
            self.refused += 1
            turn += 1
            await asyncio.sleep(0.05)

    async def kill(self, n: int) -> None:
        """Kill -9, and start again; not waited for."""
        program = self.programs[n % len(self.programs)]
        os.kill(program.pid, signal.SIGKILL)
        self.kills += 1

        async def dead() -> bool:
            return not program.alive

        await eventually(dead)
        program.start()

    async def ready(self) -> None:
        async def both() -> bool:
            return all([await asyncio.to_thread(program.ready) for program in self.programs])

        await eventually(both, within=60)

    async def settled(self) -> dict[str, Any]:
        """Wait until nothing is pending, and give the ledger."""
        boss = self.world.token("supervisor")
        async with httpx.AsyncClient(timeout=30) as http:

            async def nothing_pending() -> dict[str, Any] | None:
                answer = await http.get(f"{self.programs[0].url}/v1/ledger", headers=boss)
                found: dict[str, Any] = answer.json()
                return found if answer.status_code == 200 and not found["pending"] else None

            found = await eventually(nothing_pending, within=600)
            assert found is not None
            return found

    async def said(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.world.sql("ingest", SAID, f"trunkline.ingest.v1.{kind}")
        return [json.loads(bytes(body))["data"] for (body,) in rows]


@contextmanager
def running(world: World, folder: Path, replicas: int = 2, **more: str) -> Iterator[Replicas]:
    environment = {"LOG_LEVEL": "WARNING", **more}
    programs = []
    for n in range(replicas):
        command = [sys.executable, "-m", "trunkline.serving", "ingest"]
        told = world.env("ingest", **environment)
        programs.append(Program("ingest", command, folder / f"{n}.log", 0, told).start())
    try:
        for program in programs:
            program.wait(60)
        yield Replicas(world, programs)
    finally:
        for program in programs:
            program.request_stop()
        for program in programs:
            program.stop()


@dataclass
class Crowd:
    """So many new contacts, each with so many messages and one edit of the first."""

    contacts: int
    messages: int
    dice: random.Random = field(default_factory=lambda: random.Random(11))

    def bodies(self) -> list[dict[str, Any]]:
        """Everything once."""
        made = []
        for chat in range(1, self.contacts + 1):
            first = chat * 100
            made += [update(first + n, chat, f"{chat}/{n}") for n in range(self.messages)]
            edited = {**update(first, chat, f"{chat}/edited")["message"]}
            edited["edit_date"] = edited["date"] + 60
            made.append({"update_id": first + 99, "edited_message": edited})
        return made

    def deliveries(self) -> list[dict[str, Any]]:
        """Everything one to five times, in any order."""
        every = [body for body in self.bodies() for _ in range(self.dice.randint(1, 5))]
        self.dice.shuffle(every)
        return every

    def complaints(
        self,
        opened: Sequence[dict[str, Any]],
        received: Sequence[dict[str, Any]],
        edited: Sequence[dict[str, Any]],
    ) -> list[str]:
        """Say what is not as it must be: lost, twice, split or merged."""
        wrong = []
        told = Counter(fact["message"]["text"] for fact in (*opened, *received))
        expected = {f"{c}/{n}" for c in range(1, self.contacts + 1) for n in range(self.messages)}
        wrong += [f"lost: {text}" for text in sorted(expected - set(told))]
        wrong += [f"told {times} times: {text}" for text, times in told.items() if times > 1]
        requests = defaultdict(set)
        for fact in (*opened, *received):
            requests[fact["message"]["text"].split("/")[0]].add(fact["request_id"])
        wrong += [f"split: {chat}" for chat, ids in requests.items() if len(ids) > 1]
        every = [id for ids in requests.values() for id in ids]
        if len(set(every)) != len(every) or len(opened) != self.contacts:
            wrong.append(f"{len(opened)} requests were opened, for {len(set(every))} conversations")
        firsts = {f["message"]["id"] for f in (*opened, *received) if _first(f)}
        edits = [fact["message"]["id"] for fact in edited]
        if set(edits) != firsts or len(edits) != len(firsts):
            wrong.append(f"{len(edits)} edits of {len(firsts)} messages")
        return wrong


def _first(fact: dict[str, Any]) -> bool:
    return bool(fact["message"]["text"].endswith("/0"))


async def storm(replicas: Replicas, crowd: Crowd, kills: int, at_once: int = 48) -> dict[str, Any]:
    """Deliver everything while replicas are killed in turn; gives the ledger."""
    few = asyncio.Semaphore(at_once)
    deliveries = crowd.deliveries()
    done = 0

    async with httpx.AsyncClient(timeout=15, limits=httpx.Limits(max_connections=64)) as http:

        async def one(turn: int, body: Any) -> None:
            nonlocal done
            async with few:
                await replicas.deliver(http, body, turn)
                done += 1

        async def nemesis() -> None:
            for n in range(kills):
                share = len(deliveries) * (n + 1) // (kills + 1)

                async def so_far(share: int = share) -> bool:
                    return done >= share

                await eventually(so_far, within=600)
                await replicas.ready()
                await replicas.kill(n)

        async with asyncio.TaskGroup() as group:
            group.create_task(nemesis())
            for turn, body in enumerate(deliveries):
                group.create_task(one(turn, body))
    return await replicas.settled()


async def judged(world: World, folder: Path, crowd: Crowd, kills: int) -> None:
    await world.apply(_unlimited())
    began = time.monotonic()
    with running(world, folder, READERS="2") as replicas:
        await replicas.ready()
        ledger = await storm(replicas, crowd, kills)
        opened = await replicas.said("request_opened")
        received = await replicas.said("message_received")
        edited = await replicas.said("message_edited")
    waiting = await world.sql("ingest", "SELECT count(*) FROM early")
    print(
        f"\n{crowd.contacts} contacts, {crowd.messages} messages each: {replicas.deliveries}"
        f" deliveries, {replicas.refused} asked again, {replicas.kills} kills:"
        f" {len(opened)} requests, {len(opened) + len(received)} messages, {len(edited)} edits,"
        f" {ledger['outcomes']}, {time.monotonic() - began:.0f} s"
    )
    assert crowd.complaints(opened, received, edited) == []
    assert waiting == [(0,)]
    assert ledger["accepted"] == ledger["taken_in"] >= replicas.deliveries
    assert ledger["balanced"]
    assert ledger["outcomes"]["noted"] == crowd.contacts
    assert replicas.kills == kills


def _unlimited() -> str:
    from world import EXAMPLE

    return EXAMPLE.read_text().replace("per_account: 1000/s", "per_account: 100000/s")


async def test_new_contacts_write_at_once_while_ingest_is_killed(
    world: World, tmp_path: Path
) -> None:
    await judged(world, tmp_path, Crowd(20, 5), kills=2)


def test_what_is_lost_twice_split_or_merged_is_seen() -> None:
    """The positive control of the judgement."""
    crowd = Crowd(2, 2)

    def fact(chat: int, n: int, request: str) -> dict[str, Any]:
        return {"request_id": request, "message": {"text": f"{chat}/{n}", "id": f"{chat}/{n}"}}

    opened, received = [fact(1, 0, "a"), fact(2, 0, "b")], [fact(1, 1, "a"), fact(2, 1, "b")]
    edited = [fact(1, 0, "a"), fact(2, 0, "b")]

    assert crowd.complaints(opened, received, edited) == []
    for wrong in (
        (opened, received[1:], edited),  # lost
        (opened, [*received, received[0]], edited),  # twice
        ([*opened, fact(1, 1, "c")], received[1:], edited),  # split
        ([opened[0], fact(2, 0, "a")], [received[0], fact(2, 1, "a")], edited),  # merged
        (opened, received, edited[1:]),  # an edit lost
        (opened, received, [*edited, edited[0]]),  # an edit twice
    ):
        assert crowd.complaints(*wrong) != []


@pytest.mark.soak
@pytest.mark.timeout(1700)
async def test_a_thousand_new_contacts_ten_messages_each(world: World, tmp_path: Path) -> None:
    await judged(world, tmp_path, Crowd(1000, 10), kills=10)


@pytest.mark.soak
@pytest.mark.timeout(1700)
async def test_memory_stays_flat_over_a_hundred_thousand_messages(
    world: World, tmp_path: Path
) -> None:
    """Of one replica that takes everything in, new conversations and old, edits too."""
    total, chats, slice_ = 100_000, 20_000, 10_000
    await world.apply(_unlimited())
    resident = []
    with running(world, tmp_path, replicas=1) as replicas:
        process = psutil.Process(replicas.programs[0].pid)
        few = asyncio.Semaphore(32)
        async with httpx.AsyncClient(timeout=15) as http:

            async def one(n: int) -> None:
                async with few:
                    of = n - 3 if n % 10 == 9 else n
                    body = update(of, of * 7919 % chats + 1, f"message {n} " + "x" * 200)
                    if of != n:
                        edited = {**body["message"], "edit_date": body["message"]["date"] + 60}
                        body = {"update_id": n, "edited_message": edited}
                    await replicas.deliver(http, body, 0)

            for begin in range(0, total, slice_):
                async with asyncio.TaskGroup() as group:
                    for n in range(begin, begin + slice_):
                        group.create_task(one(n))
                await replicas.settled()
                resident.append(process.memory_info().rss / 2**20)
        ledger = await replicas.settled()
    print("\nMiB after each 10,000:", [round(each, 1) for each in resident], ledger["outcomes"])
    assert ledger["taken_in"] >= total
    assert ledger["balanced"]
    assert max(resident[3:]) - resident[2] < 16
