"""A running instance, and the things people do at it: write, answer, close, look."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from trunkline import paths
from trunkline.tokens import Signer

T = TypeVar("T")
TRUNKLINE = (sys.executable, "-m", "trunkline")
OFFSETS = (1, 2, 3, 4, 5, 9, 22, 23, 25, 26, 32)
CLAIM = 99
"""No instance listens there: tests that run side by side see by it whose a base is."""

_claims: list[socket.socket] = []


def free_base() -> int:
    """Give a port base none of whose ports is taken; it is this process' until it ends."""
    while True:
        base = random.randrange(20000, 30000, 100)
        with contextlib.ExitStack() as stack:
            claim = socket.socket()
            try:
                for offset in OFFSETS:
                    taken = stack.enter_context(socket.socket())
                    taken.bind(("127.0.0.1", base + offset))
                claim.bind(("127.0.0.1", base + CLAIM))
            except OSError:
                claim.close()
                continue
        _claims.append(claim)
        return base


def soon(ask: Callable[[], T], within: float = 10.0) -> T:
    """Ask until no assertion fails and the answer is truthy."""
    began = time.monotonic()
    while True:
        try:
            answer = ask()
            if answer:
                return answer
            why: Exception = AssertionError(f"still {answer!r}")
        except (
            AssertionError,
            KeyError,
            IndexError,
            httpx.TransportError,
            httpx.HTTPStatusError,
        ) as failed:
            why = failed
        waited = time.monotonic() - began
        if waited > within:
            raise AssertionError(f"not within {within} s: {why!r}") from why
        time.sleep(max(0.02, waited / 20))


@dataclass
class Desk:
    """An instance started by `trunkline up --detach`."""

    data: Path
    base: int
    environment: dict[str, str] = field(default_factory=dict)
    _tokens: dict[tuple[str, str], str] = field(default_factory=dict)
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10))

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Type a `trunkline` command."""
        return subprocess.run(
            [*TRUNKLINE, *words, "--data", str(self.data)], check=check, text=True,
            capture_output=True, env={**os.environ, **self.environment}, timeout=100,
        )  # fmt: skip

    def up(self, *words: str) -> Desk:
        """Start it."""
        done = self.run("up", "--detach", "--port-base", str(self.base), *words, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return self

    def down(self) -> None:
        """Stop it."""
        self.http.close()
        self.run("down")

    @property
    def status(self) -> dict[str, Any]:
        """What runs."""
        told: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return told

    @property
    def secrets(self) -> dict[str, str]:
        """The example workspace's secrets."""
        lines = (self.data / "secrets.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def url(self, service: str, path: str) -> str:
        """Where a service's address is."""
        ports = {"ingest": 1, "routing": 2, "tickets": 3, "sla": 4, "notify": 5, "sink": 9}
        return f"http://127.0.0.1:{self.base + ports[service]}{path}"

    def token(self, role: str, subject: str) -> str:
        """A token, made once."""
        if (role, subject) not in self._tokens:
            self._tokens[role, subject] = Signer(self.data).token(subject, [role])
        return self._tokens[role, subject]

    def ask(self, service: str, path: str, *, role: str = "supervisor", who: str = "boss") -> Any:
        """GET as somebody; gives the body."""
        head = {"Authorization": f"Bearer {self.token(role, who)}"}
        answer = self.http.get(self.url(service, path), headers=head)
        answer.raise_for_status()
        return answer.json()

    def tell(
        self,
        service: str,
        path: str,
        body: Any,
        *,
        role: str = "operator",
        who: str = "anna",
        verb: str = "POST",
    ) -> httpx.Response:
        """Send a command as somebody."""
        head = {"Authorization": f"Bearer {self.token(role, who)}"}
        return self.http.request(verb, self.url(service, path), json=body, headers=head)

    # ------------------------------------------------------------------ what people do

    def online(self, *operators: str) -> None:
        """Set operators online."""
        for who in operators:
            path = f"/v1/operators/{who}/presence"
            answer = self.tell("routing", path, {"status": "online"}, who=who, verb="PUT")
            assert answer.status_code == 200, answer.text

    def telegram(
        self, update_id: int, chat: int, text: str, secret: str | None = None
    ) -> httpx.Response:
        """Deliver a Telegram update."""
        head = {"X-Telegram-Bot-Api-Secret-Token": secret or self.secrets["TELEGRAM_MAIN_SECRET"]}
        return self.http.post(
            self.url("ingest", "/channels/telegram/main"),
            json=update(update_id, chat, text),
            headers=head,
        )

    def outcome(self, inbound_id: str) -> dict[str, Any]:
        """What became of a delivery."""
        told: dict[str, Any] = self.ask("ingest", f"/v1/inbound/{inbound_id}")
        return told

    def settled(self, inbound_id: str, within: float = 10.0) -> dict[str, Any]:
        """The same, when it is no longer pending."""

        def done() -> dict[str, Any]:
            told = self.outcome(inbound_id)
            assert told["outcome"] != "pending"
            return told

        return soon(done, within)

    def request(self, request_id: str) -> dict[str, Any]:
        """A request as it stands."""
        told: dict[str, Any] = self.ask("tickets", f"/v1/requests/{request_id}")
        return told

    def clock(self, request_id: str, name: str) -> dict[str, Any]:
        """One of a request's clocks."""
        clocks: list[dict[str, Any]] = self.ask("sla", f"/v1/requests/{request_id}/clocks")["items"]
        return next(clock for clock in clocks if clock["clock"] == name)


def update(update_id: int, chat: int, text: str) -> dict[str, Any]:
    """A Telegram update with a text message."""
    return {
        "update_id": update_id,
        "message": {
            "message_id": update_id + 3, "date": 1764000000 + update_id, "text": text,
            "chat": {"id": chat, "type": "private"},
            "from": {"id": chat, "is_bot": False, "first_name": "Iryna", "language_code": "uk"},
        },
    }  # fmt: skip


@contextlib.contextmanager
def running_desk(data: Path, *words: str, **environment: str) -> Iterator[Desk]:
    """A desk from its start to its end."""
    desk = Desk(data, free_base(), environment)
    try:
        yield desk.up(*words)
    finally:
        desk.down()
        for home in ("nats", "postgres"):
            paths.remove(data / home)
