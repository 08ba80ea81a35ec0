"""Supervise child processes: restart those that exit or stay unhealthy."""

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

MIN_RESTART_PAUSE_S, MAX_RESTART_PAUSE_S, STABLE_AFTER_S = 0.1, 5.0, 10.0
CHECK_INTERVAL_S = 0.1
RELAY_ALARM = "relay_alarm"
"""The readiness check that fails while a service works but does not publish."""
HEALTH_INTERVAL_S, UNHEALTHY_TIMEOUT_S = 2.0, 10.0
"""Interval of health checks, and the time a child may stay unhealthy before it is restarted. A
starting server recovers its store in less."""


class Stopped(BaseException):
    """SIGINT or SIGTERM was received."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` on the first SIGINT or SIGTERM and ignore later ones."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Program(Child):
    """A process of Trunkline that serves `/health/ready` on its port."""

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
        """The base address of the process."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start the process without waiting until it is ready."""
        wait_for_port(self.port, self.name)
        environment = {**self.environment, "HOST": "127.0.0.1", "PORT": str(self.port)}
        self.process = spawn(self.command, log=self.log, dies_by=self.stop_signal, env=environment)
        return self

    def ready(self) -> bool:
        """Return True if the process is alive and reports that it is ready."""
        return self.alive and answers_ok(f"{self.url}/health/ready")

    def degraded_reason(self) -> str | None:
        """Return the relay's alarm if that is the only reason why the process is not ready."""
        return degraded_reason(self.url) if self.alive else None

    def wait(self, timeout: float = 30.0) -> Self:
        """Wait until the process is ready.

        Raises `CannotStart` if it exits or takes longer than `timeout` seconds.
        """
        log_start = self.log_size()
        if self.await_ready(self.ready, timeout):
            return self
        raise CannotStart(
            f"{self.name} did not become ready ({self.last_error(log_start)}); see {self.log}"
        )


def answers_ok(url: str) -> bool:
    """Return True if a GET of the address returns 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  our own address
            return bool(response.status == 200)
    except OSError:
        return False


def degraded_reason(url: str) -> str | None:
    """Return the alarm of a service's relay if no other check of `/health/ready` fails."""
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=2):  # noqa: S310  our own address
            return None
    except HTTPError as error:
        with error:
            body = error.read()
    except OSError:
        return None
    try:
        failing = json.loads(body)["not_ready"]
        is_alarm = all(check["name"] == RELAY_ALARM for check in failing)
        return "; ".join(str(check["why"]) for check in failing) if is_alarm else None
    except (ValueError, KeyError, TypeError):
        return None


class _SupervisedChild:
    """A child process with the state of its restarts and health checks."""

    def __init__(self, child: Child, after_restart: Callable[[], object] | None) -> None:
        self.child, self.after_restart = child, after_restart
        self.restart_pause_s, self.failures = MIN_RESTART_PAUSE_S, 0
        self.started_at, self.restart_at = time.monotonic(), 0.0
        self.health_checked_at, self.unhealthy_since = 0.0, 0.0

    def check(self, now: float) -> str | None:
        """Restart an exited child once its pause is over; return a line about what happened."""
        if self.child.alive:
            self.restart_at = 0.0
            is_due = now - self.health_checked_at >= HEALTH_INTERVAL_S
            return self._stop_if_unhealthy(now) if is_due else None
        if not self.restart_at:
            is_stable = now - self.started_at > STABLE_AFTER_S
            self.restart_pause_s = MIN_RESTART_PAUSE_S if is_stable else self.restart_pause_s * 2
            self.restart_at = now + min(self.restart_pause_s, MAX_RESTART_PAUSE_S)
            self.failures += 1
            return f"{self.child.name} exited with {self.child.returncode}"
        return self._restart() if now >= self.restart_at else None

    def _stop_if_unhealthy(self, now: float) -> str | None:
        """Stop a child that has been unhealthy for `UNHEALTHY_TIMEOUT_S`."""
        self.health_checked_at = now
        problem = self.child.health_problem()
        self.unhealthy_since = 0.0 if problem is None else self.unhealthy_since or now
        if problem is None or now - self.unhealthy_since < UNHEALTHY_TIMEOUT_S:
            return None
        self.unhealthy_since = 0.0
        self.child.stop()
        return f"{self.child.name} was stopped and will be restarted: {problem}"

    def _restart(self) -> str:
        self.started_at, self.restart_at = time.monotonic(), 0.0
        try:
            self.child.start()
            if self.after_restart is not None:
                self.after_restart()
        except Exception as error:  # noqa: BLE001  any failure is retried in the next round
            return f"{self.child.name} could not be restarted: {error}"
        return f"{self.child.name} was restarted"


class Supervisor:
    """Starts children in order, restarts those that fail and stops them in reverse order."""

    def __init__(self, log: Callable[[str], None], state_changed: Callable[[], None]) -> None:
        self._log, self._state_changed = log, state_changed
        self._supervised: list[_SupervisedChild] = []

    @property
    def children(self) -> list[Child]:
        """All children, in the order in which they were started."""
        return [supervised.child for supervised in self._supervised]

    @property
    def programs(self) -> list[Program]:
        """The children that are processes of Trunkline."""
        return [child for child in self.children if isinstance(child, Program)]

    def start(self, child: Child, after_restart: Callable[[], object] | None = None) -> None:
        """Start a child and supervise it from now on."""
        self._supervised.append(_SupervisedChild(child, after_restart))
        child.start()
        self._state_changed()

    def check_children(self) -> None:
        """Check every child once and restart those whose restart is due."""
        for supervised in self._supervised:
            event = supervised.check(time.monotonic())
            if event is not None:
                with suppress(OSError):  # a full disk must not end the supervision
                    self._log(event)
                with suppress(OSError):
                    self._state_changed()

    def wait_ready(self, timeout: float) -> None:
        """Wait until all programs are ready or degraded; log the reason of each degraded one.

        Raises `CannotStart` if one fails repeatedly or takes longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while waiting := [p for p in self.programs if not (p.ready() or p.degraded_reason())]:
            self.check_children()
            failing = [
                supervised.child for supervised in self._supervised if supervised.failures > 2
            ]
            if failing or time.monotonic() > deadline:
                child = (failing or waiting)[0]
                reason = child.last_error(0) if child.log_size() else "it wrote nothing"
                raise CannotStart(f"{child.name} is not ready ({reason}); see {child.log}")
            time.sleep(CHECK_INTERVAL_S)
        for program in self.programs:
            if (alarm := program.degraded_reason()) is not None:
                self._log(f"degraded: {program.name}: {alarm}")

    def watch(self) -> None:
        """Supervise all children until interrupted."""
        while True:
            self.check_children()
            time.sleep(CHECK_INTERVAL_S)

    def stop(self) -> None:
        """Stop all programs at once, then the other children in reverse order."""
        for program in self.programs:
            program.request_stop()
        for child in (*self.programs, *reversed(self.children)):
            child.stop()
