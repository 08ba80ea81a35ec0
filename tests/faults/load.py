"""Customers who write, platforms that deliver everything five times out of order, and operators.

Customers know neither crashes nor refusals: a platform delivers again until it gets a 2xx.
Operators answer once and close, each command under a key of its own, so that asking again after a
lost answer is safe.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
from desk import update

from faults.records import query

if TYPE_CHECKING:
    from faults.town import Town

MINE = (
    "SELECT id::text, assignee FROM tickets.requests"
    " WHERE closed_at IS NULL AND assignee IS NOT NULL"
)
OPEN = "SELECT count(*) FROM tickets.requests WHERE closed_at IS NULL"
WORKING = """
(SELECT count(*) FROM notify.sends WHERE next_at IS NOT NULL)
 + (SELECT count(*) FROM ingest.waiting) + (SELECT count(*) FROM routing.waiting)
 + (SELECT count(*) FROM tickets.waiting) + (SELECT count(*) FROM sla.waiting)
 + (SELECT count(*) FROM notify.waiting)
 + {}
"""
BEHIND = """(SELECT count(*) FROM {owner}.outbox o JOIN {service}.reader_position p
     ON p.reader = '{owner}' AND p.slot = o.slot WHERE o.position > p.position)"""
READS = {
    "ingest": ("tickets",),
    "routing": ("tickets",),
    "tickets": ("ingest", "routing", "sla", "notify"),
    "sla": ("tickets", "routing"),
    "notify": ("tickets", "routing", "sla"),
}
UNDONE = "SELECT " + WORKING.format(
    " + ".join(BEHIND.format(owner=o, service=s) for s, owners in READS.items() for o in owners)
)


@dataclass
class Load:
    """So many chats, in each of them so many messages, each delivered so many times."""

    town: Town
    chats: int
    messages: int = 3
    repeat: int = 5
    chat_from: int = 1000
    at_once: int = 12
    seed: int = 1
    endless: bool = False
    """Whether more chats come, as many again and again, for as long as the nemesis is at work."""
    patience: float = 60.0
    """Seconds for which somebody who is refused asks again."""
    deliveries: int = 0
    refused: int = 0

    async def run(self, nemesis: Coroutine[Any, Any, None] | None = None) -> None:
        """Deliver everything and work it off, while a nemesis does what it does to the town."""
        limits = httpx.Limits(max_connections=64)
        async with (
            httpx.AsyncClient(timeout=15, limits=limits) as http,
            asyncio.TaskGroup() as group,
        ):
            bad = group.create_task(nemesis) if nemesis is not None else None
            tasks = [group.create_task(self._deliver(http, bad if self.endless else None))]
            if bad is not None:
                tasks.append(bad)
            while not all_done(tasks):
                await self._work(http)
                await asyncio.sleep(0.05)
            await self._finish(http)

    async def _finish(self, http: httpx.AsyncClient, within: float = 60.0) -> None:
        """Work until everything is taken in, closed, heard by everybody, and sent."""
        until = time.monotonic() + within
        while left := await self._left(http):
            assert time.monotonic() < until, f"left after {within} s: {left}"
            await self._work(http)
            await asyncio.sleep(0.05)

    async def _left(self, http: httpx.AsyncClient) -> str:
        head = self.town.token("boss", "supervisor")
        try:
            answer = await http.get(f"{self.town.doors('ingest')[0]}/v1/ledger", headers=head)
            pending = answer.json()["pending"] if answer.status_code == 200 else 1
        except httpx.TransportError:
            pending = 1
        ((open_, undone),) = await self._look(f"SELECT ({OPEN}), ({UNDONE})")
        left = {"pending": pending, "open": open_, "undone": undone}
        return str(left) if any(left.values()) else ""

    def _order(self) -> Iterator[tuple[int, int, str]]:
        """Everything that will be delivered: repeats are near each other, the order is not kept."""
        dice = random.Random(self.seed)
        window: list[tuple[float, int, int, str]] = []
        for n in range(self.messages):
            for chat in range(self.chat_from, self.chat_from + self.chats):
                number, text = chat * 10 + n, f"message {n} of {chat}"
                self.town.texts.add(text)
                at = n * self.chats + chat - self.chat_from
                window += [
                    (at + dice.random() * self.chats, number, chat, text)
                    for _ in range(self.repeat)
                ]
        for _, number, chat, text in sorted(window):
            yield number, chat, text

    async def _deliver(self, http: httpx.AsyncClient, bad: asyncio.Task[None] | None) -> None:
        """Deliver everything, and all of it by other customers again while the bad is at work."""
        await self._deliver_all(http)
        while bad is not None and not bad.done():
            self.chat_from += self.chats
            await self._deliver_all(http)

    async def _deliver_all(self, http: httpx.AsyncClient) -> None:
        turns = asyncio.Semaphore(self.at_once)
        secret = self.town.desk.secrets["TELEGRAM_MAIN_SECRET"]
        head = {"X-Telegram-Bot-Api-Secret-Token": secret}

        async def one(number: int, chat: int, text: str, turn: int) -> None:
            async with turns:
                body = update(number, chat, text)
                path = "/channels/telegram/main"
                taken = await self._until_taken(http, "ingest", path, body, head, turn)
                self.town.accepted.add(taken.json()["inbound_id"])
                self.deliveries += 1

        async with asyncio.TaskGroup() as group:
            for turn, (number, chat, text) in enumerate(self._order()):
                group.create_task(one(number, chat, text, turn))

    async def _until_taken(
        self,
        http: httpx.AsyncClient,
        service: str,
        path: str,
        body: Any,
        head: dict[str, str],
        turn: int,
    ) -> httpx.Response:
        """Ask one replica, and the other when it is gone, until there is an answer that lasts."""
        attempt, until = 0, time.monotonic() + self.patience
        while time.monotonic() < until:
            doors = self.town.doors(service)
            try:
                url = doors[(turn + attempt) % len(doors)] + path
                answer = await http.post(url, json=body, headers=head)
                if answer.status_code < 500 and answer.status_code != 429:
                    return answer
            except httpx.TransportError:
                pass
            attempt += 1
            self.refused += 1
            await asyncio.sleep(0.1)
        raise AssertionError(f"nobody took {path}")

    async def _look(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL, which may be away for a while."""
        until = time.monotonic() + self.patience
        while True:
            try:
                return await query(self.town.dsn, sql)
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(0.2)

    async def _work(self, http: httpx.AsyncClient) -> None:
        mine = await self._look(MINE)
        async with asyncio.TaskGroup() as group:
            for request_id, who in mine:
                group.create_task(self._serve(http, request_id, who))

    async def _serve(self, http: httpx.AsyncClient, request_id: str, who: str) -> None:
        """Answer and close. Who lost it meanwhile is refused, and lets go."""
        path, text = f"/v1/requests/{request_id}", f"answer to {request_id}"
        head = self.town.token(who, "operator")
        turn = random.randrange(2)
        replied = await self._until_taken(
            http, "tickets", f"{path}/reply", {"text": text},
            head | {"Idempotency-Key": f"reply {request_id}"}, turn,
        )  # fmt: skip
        if replied.status_code == 201:
            self.town.replies[replied.json()["message_id"]] = text
        await self._until_taken(
            http, "tickets", f"{path}/close", {"resolution": "done"},
            head | {"Idempotency-Key": f"close {request_id}"}, turn,
        )  # fmt: skip


def all_done(tasks: list[asyncio.Task[None]]) -> bool:
    return all(task.done() for task in tasks)
