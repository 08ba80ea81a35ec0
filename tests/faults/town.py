"""A running instance with two replicas of every service, whose processes can be hurt."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from desk import Desk, free_base

from faults.checkers import Limit
from faults.records import query
from trunkline.instance import Instance, read_state
from trunkline.supervisor import Program

SERVICES = ("ingest", "routing", "tickets", "sla", "notify")
STREAMS = tuple(name.upper() for name in SERVICES)
LIMITS = {
    "anna": Limit(5, {"telegram": 4}),
    "bohdan": Limit(5),
    "olena": Limit(5),
}
"""What the example workspace says of its operators."""

HOLDERS = """
SELECT a.client_port FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND a.usename = %s
GROUP BY a.client_port ORDER BY count(*) DESC"""
"""The connections that hold a service's offices."""

ENVIRONMENT = {"READERS": "2", "SEND_LEASE": "4", "SINK_KEEP": "1000000"}
"""Readers in two groups; a message a dead replica was sending is tried again after 4 s.

The sink forgets nothing: webhooks arrive there too."""


@dataclass
class Town:
    """`trunkline up` cares for the first replica of each service; this cares for the second."""

    desk: Desk
    second: dict[str, Program] = field(default_factory=dict)
    crashes: int = 0
    texts: set[str] = field(default_factory=set)
    """Everything customers have written here."""
    accepted: set[str] = field(default_factory=set)
    """The number of every delivery that got a 2xx."""
    replies: dict[str, str] = field(default_factory=dict)
    """Everything operators have answered, by message id."""

    @property
    def instance(self) -> Instance:
        return Instance.running(self.desk.data)

    @property
    def dsn(self) -> str:
        """The superuser's way into PostgreSQL."""
        return self.instance.database_url

    def token(self, subject: str, *roles: str) -> dict[str, str]:
        token = self.instance.signer.token(subject, list(roles))
        return {"Authorization": f"Bearer {token}"}

    def doors(self, service: str) -> Sequence[str]:
        """Where both replicas are reached."""
        urls = [self.instance.url(service)]
        if service in self.second:
            urls.append(self.second[service].url)
        return urls

    def add_replicas(self) -> None:
        for name in SERVICES:
            environment = self.instance.environment(name) | ENVIRONMENT
            command = [sys.executable, "-m", "trunkline.serving", name]
            log = self.instance.log(f"{name}-second")
            self.second[name] = Program(name, command, log, 0, environment).start()
        for program in self.second.values():
            program.wait(60)

    def heal(self) -> None:
        """Start again what an unlucky test has left dead or frozen."""
        for program in self.second.values():
            if program.alive:
                os.kill(program.pid, signal.SIGCONT)
            else:
                program.start()

    def stop_replicas(self) -> None:
        for program in self.second.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(program.pid, signal.SIGCONT)
            program.request_stop()
        for program in self.second.values():
            program.stop()
        self.second.clear()

    def pids(self, service: str) -> tuple[int, int]:
        """The process ids of both replicas."""
        found = [s for s in read_state(self.desk.data)["services"] if s["name"] == service]
        return int(found[0]["pid"]), self.second[service].pid

    async def leader(self, service: str) -> int:
        """The process id of the replica that holds most of its service's offices."""
        for _ in range(100):
            ports = [row[0] for row in await query(self.dsn, HOLDERS, service)]
            for pid in self.pids(service):
                with contextlib.suppress(psutil.Error):
                    mine = {c.laddr.port for c in psutil.Process(pid).net_connections()}
                    if ports and ports[0] in mine:
                        return pid
            await asyncio.sleep(0.1)
        raise AssertionError(f"{service} has no leader")

    async def kill(self, service: str) -> None:
        """Kill -9 of the leader; it is started again at once, and not waited for."""
        pid = await self.leader(service)
        self.crashes += 1
        if pid == self.second[service].pid:
            # in this thread: a child dies with the thread that started it
            self.second[service].kill()
            self.second[service].start()
        else:
            os.kill(pid, signal.SIGKILL)

    def server(self, name: str) -> psutil.Process:
        """`nats` or `postgres`: the server's own process."""
        return psutil.Process(read_state(self.desk.data)[name]["pid"])

    def kill_server(self, name: str) -> None:
        """Kill -9 of a server and all its children; `up` starts it again at once."""
        server = self.server(name)
        for process in (server, *server.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    @contextlib.contextmanager
    def frozen(self, *processes: psutil.Process) -> Iterator[None]:
        """Stopped where they are; they go on when this is over."""
        try:
            for process in processes:
                process.suspend()
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    @contextlib.contextmanager
    def gone(self, server: str) -> Iterator[None]:
        """Kill -9 of a server, which nobody starts again before this is over."""
        with self.frozen(psutil.Process(read_state(self.desk.data)["supervisor"])):
            self.kill_server(server)
            yield

    @contextlib.contextmanager
    def nobody_at(self, service: str) -> Iterator[None]:
        """Kill -9 of both replicas of a service; they are started again when this is over."""
        first, _ = self.pids(service)
        with self.frozen(psutil.Process(read_state(self.desk.data)["supervisor"])):
            os.kill(first, signal.SIGKILL)
            self.second[service].kill()
            self.crashes += 2
            yield
        self.second[service].start()

    async def ready(self, within: float = 60.0) -> None:
        """Wait until both replicas of everything are."""
        until = time.monotonic() + within
        async with httpx.AsyncClient(timeout=2) as http:
            for url in [url for service in SERVICES for url in self.doors(service)]:
                while why := await _unready(http, url):
                    assert time.monotonic() < until, f"{url} is not ready after {within} s: {why}"
                    await asyncio.sleep(0.1)

    async def online(self) -> None:
        """Everybody comes to work."""
        async with httpx.AsyncClient(timeout=10) as http:
            for who in LIMITS:
                answer = await http.put(
                    f"{self.doors('routing')[0]}/v1/operators/{who}/presence",
                    json={"status": "online"},
                    headers=self.token(who, "operator"),
                )
                assert answer.status_code == 200, answer.text


async def _unready(http: httpx.AsyncClient, url: str) -> str:
    try:
        answer = await http.get(f"{url}/health/ready")
    except httpx.TransportError as why:
        return repr(why)
    return "" if answer.status_code == 200 else answer.text


@contextlib.contextmanager
def running_town(data: Path, environment: dict[str, str] | None = None) -> Iterator[Town]:
    """A town from its start to its end."""
    desk = Desk(data, free_base(), ENVIRONMENT | (environment or {}))
    town = Town(desk)
    try:
        desk.up()
        town.add_replicas()
        yield town
    finally:
        town.stop_replicas()
        desk.down()
