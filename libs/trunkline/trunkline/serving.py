"""Run one service in this process: `trunkline serve ingest`.

All settings come from the environment. The service starts only if NATS and PostgreSQL write to disk
before they acknowledge.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import uvicorn
from pydantic import ValidationError

from chassis.postgres.durability_checks import UnsafeServer, check_nats, check_postgres
from chassis.settings import Settings
from chassis.web.connections import ConnectionTable, connection_limit
from chassis.web.http_protocol import limited
from trunkline.paths import CannotStart

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from starlette.types import ASGIApp

SERVICES = ("ingest", "routing", "tickets", "sla", "notify")
SERVERS_TIMEOUT_S = 30.0
GC_THRESHOLD_OBJECTS = 20_000
"""Allocations before a garbage collection; at Python's 700 it took a twelfth of the time."""
SHUTDOWN_GRACE_S = 3
"""Time for requests in flight; endless event streams are closed after it."""


class Server(uvicorn.Server):
    """A uvicorn server that exits at once, with 0, if it is stopped before it has started."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tune the garbage collector for the objects of a running service."""
        await super().startup(sockets)
        tune_garbage_collector()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Exit at once before the start is complete: nothing is in flight. Else stop normally."""
        if not self.started:
            os._exit(0)  # an exception would surface at an arbitrary place of the application
        super().handle_exit(sig, frame)


def tune_garbage_collector() -> None:
    """Collect less often, and never the objects that exist now: they stay until the exit."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD_OBJECTS, 20, 50)


def run(app: ASGIApp | str, name: str = "") -> None:
    """Serve an application until SIGTERM, then finish the requests in flight.

    Raises `CannotStart` if there are too few file descriptors.
    """
    config = uvicorn.Config(
        app,
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(os.environ.get("PORT", "8000")),
        loop="uvloop",
        http=_protocol(name),
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )
    server = Server(config)
    # uvicorn raises the signal again at its end; the default handler would not exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.run()
    if not server.started:
        sys.exit(1)


def _protocol(name: str) -> Any:
    """Return the HTTP protocol, with as many connections as the file descriptors allow."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return limited(ConnectionTable(name, connection_limit(descriptors)))
    except ValueError as error:
        raise CannotStart(str(error)) from None


async def _check_servers() -> None:
    """Wait until NATS and PostgreSQL answer; raises `CannotStart` for unsafe settings."""
    deadline = time.monotonic() + SERVERS_TIMEOUT_S
    while True:
        try:
            await check_nats(os.environ.get("NATS_MONITOR_URL"))
            await check_postgres(os.environ.get("SERVICE_DATABASE_URL", ""))
        except UnsafeServer as error:
            raise CannotStart(str(error)) from None
        except OSError as error:
            if time.monotonic() > deadline:
                raise CannotStart(str(error)) from None
        else:
            return
        await asyncio.sleep(0.25)


def serve(name: str) -> None:
    """Run one service, or the sink, in this process; raises `CannotStart` for bad settings."""
    if name == "sink":
        from trunkline.sink.server import main

        main()
    elif name in SERVICES:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            Settings()  # checked before waiting for the servers
            asyncio.run(_check_servers())
            run(f"{name}.app:app", name)
        except ValidationError as error:
            raise CannotStart(_setting_errors(error)) from None
    else:
        raise CannotStart(f"there is no service {name!r}: it is one of {', '.join(SERVICES)}, sink")


def _setting_errors(error: ValidationError) -> str:
    """Return the errors of all settings as one line."""
    return "; ".join(
        " ".join(
            [
                *(str(part).upper() for part in setting_error["loc"]),
                setting_error["msg"].removeprefix("Value error, "),
            ]
        )
        for setting_error in error.errors(include_url=False, include_input=False)
    )


def main() -> None:
    """Run `python -m trunkline.serving NAME`, which imports nothing of the other sub-commands."""
    try:
        serve(*sys.argv[1:])
    except CannotStart as reason:
        sys.exit(f"trunkline serve: {reason}")


if __name__ == "__main__":
    main()
