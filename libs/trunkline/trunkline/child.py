"""Child processes that end with this process, keep a log, and can be restarted.

The kernel's parent-death signal is sent when the *thread* that started a child ends, so start
children from a thread that lives as long as they should.
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
    """Start a child that receives `dies_by` when this process ends.

    It gets a separate process group, so that Ctrl-C reaches this process only.
    """
    parent = os.getpid()

    def bind_to_parent() -> None:
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
            preexec_fn=bind_to_parent,  # noqa: PLW1509 (a change of user clears the signal)
            **kwargs,
        )


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now; another process may still take it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, name: str, grace: float = 1.0) -> None:
    """Wait until a port is free, at most `grace` seconds; raise CannotStart after that."""
    deadline = time.monotonic() + grace
    while True:
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise CannotStart(f"port {port} for {name} is not free: {error.strerror}") from None
        time.sleep(0.05)


class Child:
    """A child process that can be restarted, and its log."""

    name: str
    stop_signal: signal.Signals = signal.SIGTERM

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; raise CannotStart before the first start."""
        if self.process is None:
            raise CannotStart(f"{self.name} has not been started")
        return self.process.pid

    @property
    def alive(self) -> bool:
        """True while the process is running."""
        return self.process is not None and self.process.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit status, or None while it runs; a negative number is a signal."""
        return None if self.process is None else self.process.poll()

    def health_problem(self) -> str | None:
        """Return why a running child should be restarted; None while it is healthy."""
        return None

    def request_stop(self) -> None:
        """Send the stop signal without waiting."""
        if self.process is not None and self.alive:
            self.process.send_signal(self.stop_signal)

    def stop(self, timeout: float = 15.0) -> None:
        """Send the stop signal and wait; kill the child after `timeout` seconds."""
        if self.process is None:
            return
        self.request_stop()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the child (SIGKILL), as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def start(self) -> Self:
        """Start the child and wait until it serves."""
        raise AssertionError("subclasses implement start()")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def await_ready(self, ready: Callable[[], bool], timeout: float = 30.0) -> bool:
        """Wait until the child serves; return False if it ended.

        Raise CannotStart after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while self.alive:
            if ready():
                return True
            if time.monotonic() > deadline:
                self.stop()
                raise CannotStart(
                    f"{self.name} did not serve within {timeout:.0f} s; see {self.log}"
                )
            time.sleep(0.02)
        return False

    def last_error(self, since: int) -> str:
        """Return the first error in the log after byte `since`, or else the last line."""
        with self.log.open("rb") as log:
            log.seek(since)
            lines = log.read().decode(errors="replace").strip().splitlines()
        errors = [
            line
            for line in lines
            if any(word in line for word in ("FATAL", "[FTL]", "ERROR", "nats-server:"))
        ]
        return (errors or lines or ["no output"])[0 if errors else -1].strip()

    def log_size(self) -> int:
        """Return the size of the log in bytes."""
        return self.log.stat().st_size if self.log.exists() else 0
