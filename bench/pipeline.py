"""The whole pipeline: lives at 50/s (latency), and as many as go (throughput, cost per life)."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from desk import update

from bench.costs import Cost, cost, percentile
from bench.wire import Pool, request
from trunkline.provision import connect_as

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from desk import Desk
    from nats.aio.msg import Msg

RATE, SECONDS, IN_FLIGHT = 50, 20, 96
_chats = itertools.count(20_000_000)


@dataclass
class Watch:
    """What the stream of requests says about the lives under way."""

    by_chat: dict[str, asyncio.Future[str]] = field(default_factory=dict)
    assigned: dict[str, asyncio.Future[tuple[str, float]]] = field(default_factory=dict)

    def expect(self, chat: str) -> asyncio.Future[str]:
        """Await a chat's request."""
        return self.by_chat.setdefault(chat, asyncio.get_running_loop().create_future())

    def owner(self, request_id: str) -> asyncio.Future[tuple[str, float]]:
        """Await a request's operator."""
        return self.assigned.setdefault(request_id, asyncio.get_running_loop().create_future())

    async def heard(self, msg: Msg) -> None:
        """Take in a fact."""
        fact = json.loads(msg.data)
        if fact["type"].endswith(".opened"):
            waiting = self.expect(str(fact["data"]["conversation"]))
            if not waiting.done():
                waiting.set_result(fact["subject"])
        else:
            waiting_for = self.owner(fact["subject"])
            if not waiting_for.done() and fact["data"]["to"]:
                waiting_for.set_result((fact["data"]["to"], time.perf_counter()))


@dataclass
class Run:
    """One instance under load."""

    desk: Desk
    watch: Watch
    doors: Pool
    tickets: Pool
    latencies: list[float] = field(default_factory=list)

    async def life(self) -> None:
        """One message, one reply, close."""
        chat = next(_chats)
        secret = self.desk.secrets["TELEGRAM_MAIN_SECRET"]
        body = update(chat, chat, "How much does it cost?")
        raw = request(
            "POST", "/channels/telegram/main", body, X_Telegram_Bot_Api_Secret_Token=secret
        )
        waiting = self.watch.expect(str(chat))
        status, answer = await self.doors.send(raw)
        accepted = time.perf_counter()
        if status >= 300:
            raise RuntimeError(f"{status}: {answer[:200]!r}")
        request_id = await asyncio.wait_for(waiting, 60)
        who, at = await asyncio.wait_for(self.watch.owner(request_id), 60)
        self.latencies.append((at - accepted) * 1000)
        token = f"Bearer {self.desk.token('operator', who)}"
        for path, said in (("reply", {"text": "Twelve."}), ("close", {"resolution": "told"})):
            raw = request("POST", f"/v1/requests/{request_id}/{path}", said, Authorization=token)
            status, answer = await self.tickets.send(raw)
            if status >= 300:
                raise RuntimeError(f"{path}: {status}: {answer[:200]!r}")
        del self.watch.by_chat[str(chat)], self.watch.assigned[request_id]

    async def at_rate(self, rate: int, seconds: int) -> int:
        """Begin lives at a rate, whatever becomes of them."""
        lives = []
        began = time.perf_counter()
        for n in range(rate * seconds):
            await asyncio.sleep(max(0, began + n / rate - time.perf_counter()))
            lives.append(asyncio.create_task(self.life()))
        await asyncio.gather(*lives)
        return len(lives)

    async def saturated(self, seconds: int, in_flight: int) -> int:
        """As many as go, so many at once."""
        until, done = time.perf_counter() + seconds, itertools.count()

        async def again() -> None:
            while time.perf_counter() < until:
                await self.life()
                next(done)

        await asyncio.gather(*(again() for _ in range(in_flight)))
        return next(done)


def pids(desk: Desk) -> dict[str, list[int]]:
    """Whose cost counts: the services and both servers; not the sink, not this program."""
    status = desk.status
    found = {"nats": [status["nats"]["pid"]], "postgres": [status["postgres"]["pid"]]}
    for service in status["services"]:
        found.setdefault(service["name"], []).append(service["pid"])
    return found


def spent(before: Cost, after: Cost, lives: int) -> dict[str, float]:
    """Milliseconds of processor per life, by process."""
    return {n: round((after.cpu[n] - before.cpu[n]) * 1000 / lives, 2) for n in after.cpu}


def run(desk: Desk) -> dict[str, Any]:
    """Measure."""
    return asyncio.run(_run(desk))


async def _run(desk: Desk) -> dict[str, Any]:
    nc = await connect_as("admin", desk.status["nats"]["url"], desk.data / "creds")
    watch = Watch()
    for kind in ("opened", "assignee_changed"):
        await nc.subscribe(f"trunkline.tickets.v1.{kind}.>", cb=watch.heard)
    under = Run(desk, watch, Pool(desk.base + 1, 64), Pool(desk.base + 3, 64))
    whose = pids(desk)
    await under.at_rate(20, 3)
    under.latencies.clear()
    figures: dict[str, Any] = {}
    phases: tuple[tuple[str, Callable[[], Awaitable[int]]], ...] = (
        ("at_50_per_s", lambda: under.at_rate(RATE, SECONDS)),
        ("saturated", lambda: under.saturated(SECONDS, IN_FLIGHT)),
    )
    for name, work in phases:
        under.latencies.clear()
        before, began = cost(whose), time.perf_counter()
        lives = await work()
        took, after = time.perf_counter() - began, cost(whose)
        by = spent(before, after, lives)
        figures[name] = {
            "lives": lives,
            "lives_per_s": round(lives / took, 1),
            "accepted_to_assigned_ms": {
                "p50": round(percentile(under.latencies, 50), 1),
                "p99": round(percentile(under.latencies, 99), 1),
            },
            "cpu_ms_per_life": round(sum(by.values()), 1),
            "cpu_ms_by_process": by,
        }
        await asyncio.sleep(3)
    after = cost(whose)
    figures["pss_mb"] = round(sum(after.pss.values()) / 1e6)
    figures["pss_mb_by_process"] = {n: round(b / 1e6) for n, b in after.pss.items()}
    under.doors.close()
    under.tickets.close()
    await nc.close()
    return {"pipeline": figures}
