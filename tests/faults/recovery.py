"""Watches a town while a server is away: what the door answers, and how soon all is as it was."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import psutil
import psycopg
from desk import update

from faults.load import READS
from faults.records import query

if TYPE_CHECKING:
    from faults.town import Town

ALONE = 10.0
"""Seconds after which everything goes on by itself once a server is back."""
PROMPT = 3.0
"""Seconds within which the door answers, whatever is away."""

ENDS = "SELECT " + ", ".join(
    f"(SELECT coalesce(max(position), 0) FROM {owner}.outbox)" for owner in READS
)
HEARD = "SELECT " + ", ".join(
    f"(SELECT max(position) FROM {service}.reader_position WHERE reader = '{owner}')"
    for service, owners in READS.items()
    for owner in owners
)
PAIRS = [(service, owner) for service, owners in READS.items() for owner in owners]


@dataclass(frozen=True)
class Answer:
    """What one of the doors said to a delivery, or that it said nothing (0)."""

    began: float
    seconds: float
    status: int
    retry_after: str


@dataclass
class Watch:
    """Somebody who delivers one message over and over, to both doors in turn."""

    town: Town
    answers: list[Answer] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def watching(self, chat: int, every: float = 0.1) -> AsyncGenerator[None]:
        """Deliver for as long as this lasts, without waiting for answers."""
        text = f"is anybody there? asks {chat}"
        self.town.texts.add(text)
        async with httpx.AsyncClient(timeout=15) as http, asyncio.TaskGroup() as group:

            async def ask() -> None:
                n = 0
                while True:
                    door = self.town.doors("ingest")[n % 2]
                    group.create_task(self._ask(http, door, chat, text))
                    n += 1
                    await asyncio.sleep(every)

            asking = group.create_task(ask())
            yield
            asking.cancel()
        assert any(answer.status == 200 for answer in self.answers)

    async def _ask(self, http: httpx.AsyncClient, door: str, chat: int, text: str) -> None:
        secret = self.town.desk.secrets["TELEGRAM_MAIN_SECRET"]
        head = {"X-Telegram-Bot-Api-Secret-Token": secret}
        body, began, status, again = update(chat * 10, chat, text), time.monotonic(), 0, ""
        try:
            path = f"{door}/channels/telegram/main"
            answer = await http.post(path, json=body, headers=head)
            status, again = answer.status_code, answer.headers.get("Retry-After", "")
            if answer.is_success:
                self.town.accepted.add(answer.json()["inbound_id"])
        except httpx.TransportError:
            again = "no answer"
        self.answers.append(Answer(began, time.monotonic() - began, status, again))

    def between(self, begin: float, end: float) -> Sequence[Answer]:
        """The answers to what was asked then."""
        return [answer for answer in self.answers if begin <= answer.began <= end]


def refused_in_time(answers: Sequence[Answer]) -> list[str]:
    """Complain of whoever was let in, or was not told soon to come again."""
    wrong = [] if answers else ["nobody asked"]
    for answer in answers:
        if answer.status != 503:
            wrong.append(f"answered {answer.status}")
        if not answer.retry_after.isdigit():
            wrong.append(f"come again: {answer.retry_after!r}")
        if answer.seconds > PROMPT:
            wrong.append(f"answered after {answer.seconds:.1f} s")
    return wrong


def let_in(answers: Sequence[Answer]) -> list[str]:
    """Complain of whoever was not let in, and soon."""
    wrong = [] if answers else ["nobody asked"]
    for answer in answers:
        if answer.status != 200:
            wrong.append(f"answered {answer.status} {answer.retry_after}")
        if answer.seconds > PROMPT:
            wrong.append(f"answered after {answer.seconds:.1f} s")
    return wrong


async def serves(town: Town, server: str, within: float = 30.0) -> None:
    """Wait until a server is back, and `up` has said which process it is now."""
    until = time.monotonic() + within
    while not await _answers(town, server):
        assert time.monotonic() < until, f"{server} is not back after {within} s"
        await asyncio.sleep(0.02)


async def _answers(town: Town, server: str) -> bool:
    try:
        if town.server(server).status() == psutil.STATUS_ZOMBIE:
            return False
        if server == "postgres":
            await query(town.dsn, "SELECT 1")
            return True
        async with httpx.AsyncClient(timeout=2) as http:
            answer = await http.get(f"{town.instance.monitor_url}/healthz")
            return answer.status_code == 200
    except (psutil.NoSuchProcess, httpx.TransportError, psycopg.OperationalError):
        return False


async def recovered(town: Town, within: float = ALONE) -> float:
    """Wait until each reader has applied what was said after this moment; gives how long it took.

    Only under load: somebody must say something in each service.
    """
    began = time.monotonic()
    ends = dict(zip(READS, (await query(town.dsn, ENDS))[0], strict=True))
    while deaf := await _deaf(town, ends):
        assert time.monotonic() - began < within, f"after {within} s, still deaf: {deaf}"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def _deaf(town: Town, ends: dict[str, int]) -> list[str]:
    heard = (await query(town.dsn, HEARD))[0]
    return [
        f"{service} to {owner}"
        for (service, owner), position in zip(PAIRS, heard, strict=True)
        if (position or 0) <= ends[owner]
    ]
