"""Keeps children alive: whatever dies is started again, until somebody says stop.

Long: the whole care for a child is read together.
"""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Self
from urllib.error import HTTPError

from trunkline.child import Child, free_port, spawn, wait_for_port
from trunkline.paths import CannotStart

FIRST_PAUSE, LONGEST_PAUSE, SETTLED = 0.1, 5.0, 10.0
LOOK = 0.1
RELAY_ALARM = "relay_alarm"
"""The name of the check that fails while a service publishes nothing, and does the rest."""
ASK, SICK = 2.0, 10.0
"""Seconds between questions how a child does, and how long it may complain before it is started
again: a server that is starting recovers its store in less."""


class Stopped(BaseException):
    """Somebody sent SIGINT or SIGTERM."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `Stopped`; later ones change nothing."""

    def heard(_number: int, _frame: FrameType | None) -> None:
        for number in old:
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in old:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class Program(Child):
    """One of our own processes, which answers `/health/ready` on its port."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(log)
        self.name, self.command, self.port = name, command, port or free_port()
        self.environment = dict(environment or {})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start it, without waiting until it is ready."""
        wait_for_port(self.port, self.name)
        environment = {**self.environment, "HOST": "127.0.0.1", "PORT": str(self.port)}
        self.process = spawn(self.command, log=self.log, dies_by=self.stop_signal, env=environment)
        return self

    def ready(self) -> bool:
        """Whether it says it is ready."""
        return self.alive and answers(f"{self.url}/health/ready")

    def degraded(self) -> str | None:
        """Return why it publishes nothing, when only that keeps it from being ready."""
        return degraded(self.url) if self.alive else None

    def wait(self, timeout: float = 30.0) -> Self:
        """Wait until it is ready."""
        since = self.log_size()
        if self.await_ready(self.ready, timeout):
            return self
        raise CannotStart(f"{self.name} ended at once ({self.last_error(since)}); see {self.log}")


def answers(url: str) -> bool:
    """Whether a GET there is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  our own address
            return bool(answer.status == 200)
    except OSError:
        return False


def degraded(url: str) -> str | None:
    """Return the alarm of a service's relay, when it is all that `/health/ready` complains of."""
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=2):  # noqa: S310  our own address
            return None
    except HTTPError as refused:
        with refused:
            body = refused.read()
    except OSError:
        return None
    try:
        failing = json.loads(body)["not_ready"]
        is_alarm = all(check["name"] == RELAY_ALARM for check in failing)
        return "; ".join(str(check["why"]) for check in failing) if is_alarm else None
    except (ValueError, KeyError, TypeError):
        return None


class _Care:
    """One child, and how patient to be with it."""

    def __init__(self, child: Child, after_restart: Callable[[], object] | None) -> None:
        self.child, self.after_restart = child, after_restart
        self.pause, self.started, self.due, self.fails = FIRST_PAUSE, time.monotonic(), 0.0, 0
        self.asked, self.sick_since = 0.0, 0.0

    def look(self, now: float) -> str | None:
        """Start the child again when it is gone and its pause is over; say what was done."""
        if self.child.alive:
            self.due = 0.0
            return self._cure(now) if now - self.asked >= ASK else None
        if not self.due:
            self.pause = FIRST_PAUSE if now - self.started > SETTLED else self.pause * 2
            self.due = now + min(self.pause, LONGEST_PAUSE)
            self.fails += 1
            return f"{self.child.name} ended with {self.child.returncode}"
        return self._restart() if now >= self.due else None

    def _cure(self, now: float) -> str | None:
        """End a child that has been there for a while and does not do well."""
        self.asked = now
        why = self.child.health_problem()
        self.sick_since = 0.0 if why is None else self.sick_since or now
        if why is None or now - self.sick_since < SICK:
            return None
        self.sick_since = 0.0
        self.child.stop()
        return f"{self.child.name} is ended, to be started again: {why}"

    def _restart(self) -> str:
        self.started, self.due = time.monotonic(), 0.0
        try:
            self.child.start()
            if self.after_restart is not None:
                self.after_restart()
        except Exception as error:  # noqa: BLE001  whatever it was, the next round tries again
            return f"{self.child.name} does not come back: {error}"
        return f"{self.child.name} is started again"


class Supervisor:
    """Starts children in order, keeps them alive, and stops them in the opposite order."""

    def __init__(self, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._say, self._changed = say, changed
        self._cares: list[_Care] = []

    @property
    def children(self) -> list[Child]:
        """All children, in the order they were started."""
        return [care.child for care in self._cares]

    @property
    def programs(self) -> list[Program]:
        """Those of the children that are our own processes."""
        return [child for child in self.children if isinstance(child, Program)]

    def start(self, child: Child, after_restart: Callable[[], object] | None = None) -> None:
        """Start a child and care for it from now on."""
        self._cares.append(_Care(child, after_restart))
        child.start()
        self._changed()

    def look_after(self) -> None:
        """Look once whether everybody is alive."""
        for care in self._cares:
            told = care.look(time.monotonic())
            if told is not None:
                with suppress(OSError):  # a full disk: it is no reason to stop looking
                    self._say(told)
                with suppress(OSError):
                    self._changed()

    def wait_ready(self, timeout: float) -> None:
        """Wait until all programs are ready, or degraded: those are named, with the reason.

        Raises `CannotStart` with the reason of one that takes too long.
        """
        until = time.monotonic() + timeout
        while waiting := [p for p in self.programs if not (p.ready() or p.degraded())]:
            self.look_after()
            hopeless = [care.child for care in self._cares if care.fails > 2]
            if hopeless or time.monotonic() > until:
                child = (hopeless or waiting)[0]
                reason = child.last_error(0) if child.log_size() else "it said nothing"
                raise CannotStart(f"{child.name} is not ready ({reason}); see {child.log}")
            time.sleep(LOOK)
        for program in self.programs:
            if (why := program.degraded()) is not None:
                self._say(f"degraded: {program.name}: {why}")

    def watch(self) -> None:
        """Keep everybody alive, for ever."""
        while True:
            self.look_after()
            time.sleep(LOOK)

    def stop(self) -> None:
        """Stop the programs together, then the rest, last started first."""
        for program in self.programs:
            program.request_stop()
        for child in (*self.programs, *reversed(self.children)):
            child.stop()
