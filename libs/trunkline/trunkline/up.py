"""`trunkline up`, `down` and `status`: start, stop and inspect an instance."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

from trunkline import configuration
from trunkline.instance import (
    HIGHEST_BASE,
    NATS,
    NATS_MONITOR,
    POSTGRES,
    SERVICE_PORTS,
    SINK,
    Instance,
    lock_holder,
    read_state,
    without_password,
    write_state,
)
from trunkline.paths import CannotStart
from trunkline.provisioning import apply_to_nats, provision_servers, write_files
from trunkline.servers import Nats, Postgres
from trunkline.supervisor import (
    Program,
    Stopped,
    Supervisor,
    answers_ok,
    degraded_reason,
    stoppable,
)

READY_TIMEOUT_S, DETACHED_READY_TIMEOUT_S, STOP_TIMEOUT_S = 120.0, 60.0, 40.0
ERROR_REPORT_MARGIN_S = 5.0
"""Time a detached start reserves for reporting why it failed."""
PROGRAM_ARGUMENTS = ("-m", "trunkline")
RESULT_PIPE_VARIABLE = "TRUNKLINE_TELL"
"""Variable with the file descriptor to which a detached `up` writes `ready` or its error."""


class InstanceRunner:
    """Runs an instance: its servers, its services and the sink."""

    def __init__(
        self, instance: Instance, replicas: Mapping[str, int], *, detached: bool = False
    ) -> None:
        self.instance, self.replicas, self.detached = instance, replicas, detached
        self.supervisor = Supervisor(self._log, self._write_state)
        self.nats: Nats | None = None
        self.postgres: Postgres | None = None
        self.state, self.started_at = "starting", time.monotonic()

    def start(self) -> None:
        """Start everything and return when it is ready."""
        write_files(self.instance)
        self._start_servers()
        asyncio.run(provision_servers(self.instance, self._reload_nats))
        if asyncio.run(configuration.apply_example(self.instance)):
            asyncio.run(apply_to_nats(self.instance, self._reload_nats))
        for name in ("sink", *SERVICE_PORTS):
            for number in range(1, self.replicas.get(name, 1) + 1):
                self.supervisor.start(self._program(name, number))
        self.supervisor.wait_ready(self._ready_timeout())
        self.state = "ready"
        self._write_state()

    def _ready_timeout(self) -> float:
        timeout = (
            DETACHED_READY_TIMEOUT_S - ERROR_REPORT_MARGIN_S if self.detached else READY_TIMEOUT_S
        )
        return max(1.0, timeout - (time.monotonic() - self.started_at))

    def stop(self) -> None:
        """Stop everything, the servers last."""
        self.state = "stopped"
        self.supervisor.stop()
        self._write_state()

    def _start_servers(self) -> None:
        instance = self.instance
        if not os.environ.get("DATABASE_URL"):
            self.postgres = Postgres(
                instance.data / "postgres",
                instance.port(POSTGRES),
                instance.password,
                log=instance.log("postgres"),
            )
            self.supervisor.start(self.postgres)
        if not os.environ.get("NATS_URL"):
            self.nats = Nats(
                instance.data / "nats.conf",
                instance.data / "nats",
                instance.port(NATS),
                instance.port(NATS_MONITOR),
                log=instance.log("nats"),
            )
            # The store may have been lost with the server: create its streams again.
            self.supervisor.start(
                self.nats, lambda: asyncio.run(provision_servers(instance, self._reload_nats))
            )

    def _reload_nats(self) -> None:
        if self.nats is not None:
            self.nats.reload()

    def _program(self, name: str, number: int) -> Program:
        offset = {**SERVICE_PORTS, "sink": SINK}[name]
        first = number == 1
        return Program(
            name if first else f"{name}-{number}",
            [sys.executable, "-m", "trunkline.serving", name],
            self.instance.log(name if first else f"{name}-{number}"),
            self.instance.port(offset) if first else 0,
            self.instance.environment(name, number),
        )

    def _log(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    def _write_state(self) -> None:
        instance = self.instance
        programs = [
            {"name": p.name, "pid": p.pid, "url": p.url, "state": "running" if p.alive else "down"}
            for p in self.supervisor.programs
            if p.process is not None
        ]
        sink = next((p for p in programs if p["name"] == "sink"), {"pid": None})
        write_state(
            instance.data,
            {
                "base": instance.base,
                "readers": os.environ.get("READERS") or None,
                "supervisor": os.getpid(),
                "state": self.state,
                "services": [p for p in programs if p["name"] != "sink"],
                "nats": {"pid": _pid(self.nats), "url": without_password(instance.nats_url)},
                "postgres": {
                    "pid": _pid(self.postgres),
                    "url": without_password(instance.database_url),
                },
                "sink": {
                    "pid": sink["pid"],
                    "url": instance.url("sink"),
                    "smtp": instance.sink_smtp,
                },
            },
        )


def _pid(server: Nats | Postgres | None) -> int | None:
    return server.pid if server is not None and server.process is not None else None


def up(instance: Instance, replicas: Mapping[str, int], announce: Callable[[], None]) -> None:
    """Run an instance in the foreground until SIGINT or SIGTERM."""
    if not 1 <= instance.base <= HIGHEST_BASE:
        raise CannotStart(f"--port-base {instance.base} is not between 1 and {HIGHEST_BASE}")
    descriptor = os.environ.pop(RESULT_PIPE_VARIABLE, None)

    def report(line: str) -> None:
        if descriptor is not None:
            with os.fdopen(int(descriptor), "w") as pipe:
                pipe.write(line)

    try:
        with instance.locked(), stoppable():
            _run(
                InstanceRunner(instance, replicas, detached=descriptor is not None),
                announce,
                report,
            )
    except CannotStart as reason:
        report(str(reason))
        raise


def _run(
    runner: InstanceRunner, announce: Callable[[], None], report: Callable[[str], None]
) -> None:
    try:
        runner.start()
        announce()
        report("ready")
        runner.supervisor.watch()
    except Stopped:
        return
    finally:
        runner.stop()


def detach(instance: Instance, arguments: list[str]) -> None:
    """Run `up` in the background and return when it is ready."""
    log = instance.log("up")
    log.parent.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    with log.open("ab") as out:
        child = Popen(  # noqa: S603 (this program itself)
            [sys.executable, *PROGRAM_ARGUMENTS, "up", *arguments],
            stdin=DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, RESULT_PIPE_VARIABLE: str(writing)},
            pass_fds=[writing],
            start_new_session=True,
        )
    os.close(writing)
    try:
        result = _read_result(reading, DETACHED_READY_TIMEOUT_S)
    except BaseException:  # The wait was interrupted: leave no process in the background.
        child.send_signal(signal.SIGTERM)
        child.wait(STOP_TIMEOUT_S)
        raise
    if result == "ready":
        return
    if result is None:
        child.send_signal(signal.SIGTERM)
        result = f"the instance was not ready within {DETACHED_READY_TIMEOUT_S:.0f} s"
    raise CannotStart(
        result
        if "; see " in result
        else f"{result or 'the instance exited during its start'}; see {log}"
    )


def _read_result(descriptor: int, seconds: float) -> str | None:
    """Return what the child wrote before it closed the pipe; None after a timeout in seconds."""
    result, deadline = b"", time.monotonic() + seconds
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            part = pipe.read(4096)
            if not part:
                return result.decode()
            result += part
    return None


def down(data: Path) -> bool:
    """Stop the instance in this folder; return False if none runs.

    Raises `CannotStart` if it is still running after `STOP_TIMEOUT_S`.
    """
    deadline, last_pid, is_asked = time.monotonic() + STOP_TIMEOUT_S, 0, False
    while (pid := lock_holder(data)) is not None:
        # Read the pid twice: just after a new lock the file still holds the previous pid.
        if pid and pid == last_pid and not is_asked:
            with suppress(ProcessLookupError):  # it has just exited
                os.kill(pid, signal.SIGTERM)
            is_asked = True
        if time.monotonic() > deadline:
            raise CannotStart(
                f"the instance (pid {pid}) did not stop within {STOP_TIMEOUT_S:.0f} s"
            )
        last_pid = pid
        time.sleep(0.05)
    return is_asked


def _service_state(url: str) -> dict[str, str]:
    """Return the current state of a service, with the reason if it is degraded."""
    if answers_ok(f"{url}/health/ready"):
        return {"state": "ready"}
    alarm = degraded_reason(url)
    return {"state": "starting"} if alarm is None else {"state": "degraded", "reason": alarm}


def status(data: Path) -> dict[str, Any]:
    """Return the addresses, process ids and current states of all parts.

    Raises `CannotStart` if no instance runs in the folder or if it has only begun to start.
    """
    state = read_state(data)
    pid = lock_holder(data)
    if pid is None:
        raise CannotStart(f"no instance runs in {data}")
    if state.get("supervisor") != pid:
        raise CannotStart(f"the instance in {data} is starting; try again shortly")
    for service in state["services"]:
        if service["state"] == "running":
            service.update(_service_state(service["url"]))
    return {part: state[part] for part in ("services", "nats", "postgres", "sink")}
