"""NATS is restored to an older state, or its store is lost: the steps of the operations page.

With the five services as processes, two replicas each; the second ones run on meanwhile. Every
delivery that was taken in, or is in INBOUND, ends with an outcome; the others are counted lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from desk import update

from chassis.testing import eventually
from faults import records
from faults.judged import judge
from faults.load import Load
from faults.records import query
from faults.recovery import serves
from faults.steps import run_step, steps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from faults.town import Town

pytestmark = pytest.mark.timeout(200, func_only=True)  # ten processes share two processors

ACKED = "SELECT acked FROM ingest.inbound_epoch ORDER BY number DESC LIMIT 1"
LAST = "SELECT max(number) FROM ingest.inbound_epoch"
KNOWN = "SELECT coalesce((SELECT lost FROM ingest.inbound_loss ORDER BY id DESC LIMIT 1), 0)"
OUTCOMES = "SELECT inbound_id::text, outcome FROM ingest.item WHERE inbound_id = ANY(%s::uuid[])"


@dataclass
class Drill:
    """A town, a backup of its NATS store, and who writes meanwhile."""

    town: Town
    backup: Path
    chat: int = field(default_factory=lambda: random.randrange(10**6, 10**9))
    dice: random.Random = field(default_factory=lambda: random.Random(8))
    refused: int = 0

    @property
    def variables(self) -> dict[str, str]:
        desk = self.town.desk
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        told = {"DATA": str(desk.data), "PORT_BASE": str(desk.base), "BACKUP": str(self.backup)}
        return {**desk.environment, **told, "PATH": path}

    def snapshot(self) -> None:
        """Copy the streams of the running server while it stands still."""
        with self.town.frozen(self.town.server("nats")):
            store = self.town.desk.data / "nats" / "jetstream"
            subprocess.run(["rm", "-rf", str(self.backup)], check=True)
            self.backup.mkdir(parents=True)
            subprocess.run(["cp", "-a", str(store), f"{self.backup}/"], check=True)

    async def write(self, count: int) -> dict[str, str]:
        """Have new customers write one message each, at both doors; return texts by inbound id."""
        secret = self.town.desk.secrets["TELEGRAM_MAIN_SECRET"]
        head, texts = {"X-Telegram-Bot-Api-Secret-Token": secret}, {}
        async with httpx.AsyncClient(timeout=15, headers=head) as http:
            for _ in range(count):
                self.chat += 1
                text, doors = f"message of {self.chat}", self.town.doors("ingest")
                body = update(self.chat * 10, self.chat, text)

                async def let_in(turn: int = self.chat, body: Any = body) -> httpx.Response | None:
                    url = f"{doors[turn % 2]}/channels/telegram/main"  # noqa: B023 (awaited here)
                    with contextlib.suppress(httpx.TransportError):
                        answer = await http.post(url, json=body)
                        if answer.status_code == 200:
                            return answer
                    self.refused += 1
                    return None

                accepted = await eventually(let_in, within=60)
                assert accepted is not None
                texts[accepted.json()["inbound_id"]] = text
        self.town.accepted.update(texts)
        self.town.texts.update(texts.values())
        return texts

    async def settled(self, texts: dict[str, str]) -> None:
        """Wait until each of these has an outcome."""

        async def taken_in() -> bool:
            return len(await query(self.town.dsn, OUTCOMES, list(texts))) == len(texts)

        await eventually(taken_in, within=40)

    @contextlib.asynccontextmanager
    async def intake_held_up(self) -> AsyncGenerator[None]:
        """Let nothing be taken in while this lasts, and while PostgreSQL runs."""
        conn = await psycopg.AsyncConnection.connect(self.town.dsn)
        try:
            await conn.execute("LOCK TABLE ingest.item IN SHARE ROW EXCLUSIVE MODE")
            yield
        finally:
            with contextlib.suppress(psycopg.Error):
                await conn.close()

    async def noted(self, count: int) -> None:
        """Wait until the ledger knows of so many deliveries beside those taken in."""

        async def known() -> bool:
            taken = "SELECT max(sequence) FROM ingest.item WHERE epoch = (" + LAST + ")"
            ((acked,),) = await query(self.town.dsn, ACKED)
            ((last,),) = await query(self.town.dsn, taken)
            return bool(acked >= (last or 0) + count)

        await eventually(known)

    async def typed(self, heading: str, **more: str) -> None:
        """Type what the operations page says."""
        for command in steps(heading):
            await asyncio.to_thread(run_step, command, self.variables | more)

    async def reasons(self, ids: dict[str, str]) -> set[tuple[str, str]]:
        head = self.town.token("boss", "supervisor")
        async with httpx.AsyncClient(timeout=15, headers=head) as http:
            door = self.town.doors("ingest")[1]
            told = [(await http.get(f"{door}/v1/inbound/{id}")).json() for id in ids]
        return {(each["outcome"], each["reason"]) for each in told}

    async def unknown(self) -> int:
        """Return how many losses the ledger has that nobody acknowledged."""
        head = self.town.token("boss", "supervisor")
        async with httpx.AsyncClient(timeout=15, headers=head) as http:
            answer = await http.get(f"{self.town.doors('ingest')[0]}/v1/ledger")
            ledger = answer.json()
        return int(ledger["lost"]) - int(ledger["lost_acknowledged"])

    async def judged(self, lost: dict[str, str]) -> None:
        """Audit names the losses until they are acknowledged; nothing else is wrong."""
        audit = await asyncio.to_thread(self.town.desk.run, "audit", check=False)
        unknown = await self.unknown()
        if unknown:
            assert audit.returncode == 1, audit.stdout
            assert f"{unknown} accepted deliveries are lost and not acknowledged" in audit.stdout
        assert not lost or await self.reasons(lost) == {("pending", "not_in_inbound")}
        ((known,),) = await query(self.town.dsn, KNOWN)
        await self.typed("Losses are acknowledged", LOST=str(known + unknown))
        self.town.accepted -= lost.keys()
        rows = await records.outbox(self.town.dsn, "tickets")
        opened = {row.data["message"]["text"] for row in rows if row.name == "opened"}
        self.town.texts -= set(lost.values()) - opened
        await Load(self.town, chats=0).run()
        assert await judge(self.town) == {}


async def drill(
    town: Town, backup: Path, restore: Callable[[Drill], Coroutine[Any, Any, None]], count: int = 4
) -> None:
    """Write before and after a backup, and what is not taken in; restore it; judge what is left."""
    here = Drill(town, backup)
    town.heal()
    await town.ready()
    await town.online()
    await here.settled(await here.write(count))
    here.snapshot()
    await here.settled(await here.write(count))
    async with here.intake_held_up():
        lost = await here.write(count)
        await here.noted(count)
        await restore(here)
    await here.settled(await here.write(3 * count))
    await town.ready()
    assert await here.unknown() == len(lost)
    await here.judged(lost)


async def restore_inbound(here: Drill) -> None:
    await here.typed("INBOUND alone is restored")
    here.town.replies.clear()  # the sink has begun anew


async def restore_nats(here: Drill) -> None:
    await here.typed("All of NATS is restored")
    here.town.replies.clear()


async def lose_nats(here: Drill) -> None:
    """Lose the store; what a reader has pulled already is not lost, so wait until it has not."""
    before = await query(here.town.dsn, LAST)
    await here.typed("The NATS store is lost")
    await serves(here.town, "nats")

    async def noticed() -> bool:
        return await query(here.town.dsn, LAST) != before

    await eventually(noticed, within=30)


async def test_inbound_older_than_postgresql(town: Town, tmp_path: Path) -> None:
    await drill(town, tmp_path / "backup", restore_inbound)


async def test_all_of_nats_older_than_postgresql(town: Town, tmp_path: Path) -> None:
    await drill(town, tmp_path / "backup", restore_nats)


async def test_nats_store_lost_while_it_runs(town: Town, tmp_path: Path) -> None:
    await drill(town, tmp_path / "backup", lose_nats)


async def storm(here: Drill, restore: Callable[[Drill], Coroutine[Any, Any, None]]) -> None:
    """Restore under load: new customers write all the time, at both doors."""
    written: dict[str, str] = {}
    restored = asyncio.Event()

    async def customers() -> None:
        while not restored.is_set():
            written.update(await here.write(5))

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(customers())
        await asyncio.sleep(here.dice.uniform(0, 2))
        await asyncio.to_thread(here.snapshot)
        await asyncio.sleep(here.dice.uniform(0, 4))
        await restore(here)
        await asyncio.sleep(here.dice.uniform(0, 2))
        restored.set()
    await here.town.ready()
    await here.settled(await here.write(5))
    taken = {id for id, _ in await query(here.town.dsn, OUTCOMES, list(written))}
    lost = {id: text for id, text in written.items() if id not in taken}
    unknown = await here.unknown()
    print(f"\n{restore.__name__}: {len(written)} accepted, {len(lost)} lost, {unknown} counted")
    assert len(lost) <= unknown <= len(lost) + here.refused
    await here.judged(lost)


@pytest.mark.soak
@pytest.mark.timeout(1700, func_only=True)
async def test_nats_restored_again_and_again_under_load(town: Town, tmp_path: Path) -> None:
    """Each kind at many moments. A refused delivery may have been stored, and be lost as well."""
    town.heal()
    await town.ready()
    await town.online()
    for turn in range(12):
        restore = (restore_inbound, restore_nats, lose_nats)[turn % 3]
        await storm(Drill(town, tmp_path / "backup"), restore)
