"""Child processes: they die with us, keep a log, and can be started again.

A child dies with the *thread* that started it (the kernel's parent-death signal), so start children
from a thread that lives as long as they should.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from trunkline.paths import CannotStart

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def spawn(
    command: Sequence[str | Path], *, log: Path, dies_by: signal.Signals, **kwargs: Any
) -> subprocess.Popen[bytes]:
    """Start a child that gets `dies_by` when we die.

    It has a process group of its own, so that Ctrl-C reaches only us.
    """
    parent = os.getpid()

    def bound() -> None:
        if sys.platform == "linux":
            _LIBC.prctl(_PR_SET_PDEATHSIG, dies_by)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out, warnings.catch_warnings():
        # from 3.12 on: a fork in a process with threads
        warnings.simplefilter("ignore", DeprecationWarning)
        return subprocess.Popen(  # noqa: S603 (our own commands)
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            process_group=0,
            preexec_fn=bound,  # noqa: PLW1509 (a change of user clears the signal)
            **kwargs,
        )


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, name: str, grace: float = 1.0) -> None:
    """Refuse a port that stays taken; a predecessor gets a moment to leave."""
    until = time.monotonic() + grace
    while True:
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                return
        except OSError as error:
            if time.monotonic() > until:
                raise CannotStart(f"port {port} for {name} is not free: {error.strerror}") from None
        time.sleep(0.05)


class Child:
    """A child process that can be started again, and its log."""

    name: str
    stop_signal: signal.Signals = signal.SIGTERM

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's own process."""
        if self.process is None:
            raise CannotStart(f"{self.name} has not been started")
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def returncode(self) -> int | None:
        """What it ended with; a negative number is a signal."""
        return None if self.process is None else self.process.poll()

    def sick(self) -> str | None:
        """Say why it should be started again although it is there; None while all is well."""
        return None

    def ask_to_stop(self) -> None:
        """Ask it to end, and do not wait."""
        if self.process is not None and self.alive:
            self.process.send_signal(self.stop_signal)

    def stop(self, timeout: float = 15.0) -> None:
        """Ask it to end, and insist when it does not."""
        if self.process is None:
            return
        self.ask_to_stop()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def start(self) -> Self:
        """Start it and wait until it serves."""
        raise AssertionError("each child knows how it starts")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def await_ready(self, ready: Callable[[], bool], timeout: float = 30.0) -> bool:
        """Wait until it serves; False when it ended instead."""
        until = time.monotonic() + timeout
        while self.alive:
            if ready():
                return True
            if time.monotonic() > until:
                self.stop()
                raise CannotStart(
                    f"{self.name} did not serve within {timeout:.0f} s; see {self.log}"
                )
            time.sleep(0.02)
        return False

    def complaint(self, since: int) -> str:
        with self.log.open("rb") as log:
            log.seek(since)
            lines = log.read().decode(errors="replace").strip().splitlines()
        loud = [
            line
            for line in lines
            if any(word in line for word in ("FATAL", "[FTL]", "ERROR", "nats-server:"))
        ]
        return (loud or lines or ["it said nothing"])[0 if loud else -1].strip()

    def written(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0
