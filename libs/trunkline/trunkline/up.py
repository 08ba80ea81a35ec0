"""`trunkline up`: servers, provisioning, the sink, the services; and keeping all of it alive.

Long: up, down and status speak of the same things.
"""

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
    holder,
    read_state,
    without_password,
    write_state,
)
from trunkline.paths import CannotStart
from trunkline.provisioning import follow, provision_servers, write_files
from trunkline.servers import Nats, Postgres
from trunkline.supervisor import (
    Program,
    Stopped,
    Supervisor,
    answers,
    degraded,
    stoppable,
)

READY_WITHIN, DETACHED_WITHIN, DOWN_WITHIN = 120.0, 60.0, 40.0
MARGIN = 5.0
"""What a detached start leaves of its time for saying why it failed."""
STARTER = ("-m", "trunkline")
TELL = "TRUNKLINE_TELL"
"""Names the file descriptor on which a detached `up` tells how its start went."""


class Up:
    """A running instance."""

    def __init__(
        self, instance: Instance, replicas: Mapping[str, int], *, detached: bool = False
    ) -> None:
        self.instance, self.replicas, self.detached = instance, replicas, detached
        self.supervisor = Supervisor(self._say, self._write)
        self.nats: Nats | None = None
        self.postgres: Postgres | None = None
        self.state, self.began = "starting", time.monotonic()

    def start(self) -> None:
        """Bring everything up, and return when it is ready."""
        write_files(self.instance)
        self._start_servers()
        asyncio.run(provision_servers(self.instance, self._tell_nats))
        if asyncio.run(configuration.apply_example(self.instance)):
            asyncio.run(follow(self.instance, self._tell_nats))
        for name in ("sink", *SERVICE_PORTS):
            for number in range(1, self.replicas.get(name, 1) + 1):
                self.supervisor.start(self._program(name, number))
        self.supervisor.wait_ready(self._patience())
        self.state = "ready"
        self._write()

    def _patience(self) -> float:
        whole = DETACHED_WITHIN - MARGIN if self.detached else READY_WITHIN
        return max(1.0, whole - (time.monotonic() - self.began))

    def stop(self) -> None:
        """Stop everything, servers last."""
        self.state = "stopped"
        self.supervisor.stop()
        self._write()

    def _start_servers(self) -> None:
        here = self.instance
        if not os.environ.get("DATABASE_URL"):
            self.postgres = Postgres(
                here.data / "postgres",
                here.port(POSTGRES),
                here.password,
                log=here.log("postgres"),
            )
            self.supervisor.start(self.postgres)
        if not os.environ.get("NATS_URL"):
            self.nats = Nats(
                here.data / "nats.conf",
                here.data / "nats",
                here.port(NATS),
                here.port(NATS_MONITOR),
                log=here.log("nats"),
            )
            # a store that was lost while the server was away gets its streams again
            self.supervisor.start(
                self.nats, lambda: asyncio.run(provision_servers(here, self._tell_nats))
            )

    def _tell_nats(self) -> None:
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

    def _say(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    def _write(self) -> None:
        here = self.instance
        programs = [
            {"name": p.name, "pid": p.pid, "url": p.url, "state": "running" if p.alive else "down"}
            for p in self.supervisor.programs
            if p.process is not None
        ]
        sink = next((p for p in programs if p["name"] == "sink"), {"pid": None})
        write_state(
            here.data,
            {
                "base": here.base,
                "readers": os.environ.get("READERS") or None,
                "supervisor": os.getpid(),
                "state": self.state,
                "services": [p for p in programs if p["name"] != "sink"],
                "nats": {"pid": _pid(self.nats), "url": without_password(here.nats_url)},
                "postgres": {
                    "pid": _pid(self.postgres),
                    "url": without_password(here.database_url),
                },
                "sink": {"pid": sink["pid"], "url": here.url("sink"), "smtp": here.sink_smtp},
            },
        )


def _pid(server: Nats | Postgres | None) -> int | None:
    return server.pid if server is not None and server.process is not None else None


def up(instance: Instance, replicas: Mapping[str, int], announce: Callable[[], None]) -> None:
    """Run an instance in the foreground until SIGINT or SIGTERM."""
    if not 1 <= instance.base <= HIGHEST_BASE:
        raise CannotStart(f"--port-base {instance.base} is not between 1 and {HIGHEST_BASE}")
    descriptor = os.environ.pop(TELL, None)

    def tell(line: str) -> None:
        if descriptor is not None:
            with os.fdopen(int(descriptor), "w") as pipe:
                pipe.write(line)

    try:
        with instance.claimed(), stoppable():
            _run(Up(instance, replicas, detached=descriptor is not None), announce, tell)
    except CannotStart as reason:
        tell(str(reason))
        raise


def _run(running: Up, announce: Callable[[], None], tell: Callable[[str], None]) -> None:
    try:
        running.start()
        announce()
        tell("ready")
        running.supervisor.watch()
    except Stopped:
        return
    finally:
        running.stop()


def detach(instance: Instance, arguments: list[str]) -> None:
    """Run `up` in the background and return when it is ready."""
    log = instance.log("up")
    log.parent.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    with log.open("ab") as out:
        child = Popen(  # noqa: S603 (this very program)
            [sys.executable, *STARTER, "up", *arguments],
            stdin=DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, TELL: str(writing)},
            pass_fds=[writing],
            start_new_session=True,
        )
    os.close(writing)
    try:
        told = _listen(reading, DETACHED_WITHIN)
    except BaseException:  # somebody gave up waiting: nothing stays behind in the background
        child.send_signal(signal.SIGTERM)
        child.wait(DOWN_WITHIN)
        raise
    if told == "ready":
        return
    if told is None:
        child.send_signal(signal.SIGTERM)
        told = f"it was not ready within {DETACHED_WITHIN:.0f} s"
    raise CannotStart(told if "; see " in told else f"{told or 'it ended too early'}; see {log}")


def _listen(descriptor: int, seconds: float) -> str | None:
    """What the background process tells before it closes the pipe; None if it takes too long."""
    told, until = b"", time.monotonic() + seconds
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            part = pipe.read(4096)
            if not part:
                return told.decode()
            told += part
    return None


def down(data: Path) -> bool:
    """Stop the instance in this folder; False when none runs."""
    until, seen, asked = time.monotonic() + DOWN_WITHIN, 0, False
    while (pid := holder(data)) is not None:
        # Read twice: at the instant it is locked anew, the file still names whoever was there last.
        if pid and pid == seen and not asked:
            with suppress(ProcessLookupError):  # it ends just now
                os.kill(pid, signal.SIGTERM)
            asked = True
        if time.monotonic() > until:
            raise CannotStart(f"the instance (pid {pid}) did not stop within {DOWN_WITHIN:.0f} s")
        seen = pid
        time.sleep(0.05)
    return asked


def _condition(url: str) -> dict[str, str]:
    """Return a service's state right now; of a degraded one the reason, too."""
    if answers(f"{url}/health/ready"):
        return {"state": "ready"}
    why = degraded(url)
    return {"state": "starting"} if why is None else {"state": "degraded", "reason": why}


def status(data: Path) -> dict[str, Any]:
    """Where everything is, and how it does right now."""
    state = read_state(data)
    pid = holder(data)
    if pid is None:
        raise CannotStart(f"no instance runs in {data}")
    if state.get("supervisor") != pid:
        raise CannotStart(f"the instance in {data} begins to start; ask again shortly")
    for service in state["services"]:
        if service["state"] == "running":
            service.update(_condition(service["url"]))
    return {part: state[part] for part in ("services", "nats", "postgres", "sink")}
