"""One service, one process: `trunkline serve ingest`.

The environment says everything; before the service starts, the servers behind it are asked whether
they write before they acknowledge. Long by a few lines: a process's beginning is in one place.
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
PATIENCE = 30.0
YOUNG = 20_000
"""Objects made before the collector looks; at Python's 700 it took a twelfth of all time."""
LAST_ANSWERS = 3
"""Seconds for requests in flight; streams that never end are cut then."""


class Server(uvicorn.Server):
    """Told to stop, it ends what was begun, which is no failure; told early, it ends at once."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and be at rest."""
        await super().startup(sockets)
        rest_collector()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop as soon as there is something to stop: until then nothing has been begun."""
        if not self.started:
            os._exit(0)  # an exception would come out wherever the application happens to be
        super().handle_exit(sig, frame)


def rest_collector() -> None:
    """Have the collector look seldom, and never at what is there by now: that stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 50)


def run(app: ASGIApp | str, name: str = "") -> None:
    """Serve an application until SIGTERM, letting requests in flight end."""
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
        timeout_graceful_shutdown=LAST_ANSWERS,
    )
    server = Server(config)
    # uvicorn raises the signal again when all is done; what it did before is to end us with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.run()
    if not server.started:
        sys.exit(1)


def _protocol(name: str) -> Any:
    """Return a service's protocol, with as many connections as there are file descriptors for."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return limited(ConnectionTable(name, connection_limit(descriptors)))
    except ValueError as error:
        raise CannotStart(str(error)) from None


async def _check_servers() -> None:
    """Wait until the servers answer, and refuse unsafe ones."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            await check_nats(os.environ.get("NATS_MONITOR_URL"))
            await check_postgres(os.environ.get("SERVICE_DATABASE_URL", ""))
        except UnsafeServer as unsafe:
            raise CannotStart(str(unsafe)) from None
        except OSError as error:
            if time.monotonic() > until:
                raise CannotStart(str(error)) from None
        else:
            return
        await asyncio.sleep(0.25)


def serve(name: str) -> None:
    """Run one service, or the sink, in this process."""
    if name == "sink":
        from trunkline.sink.server import main

        main()
    elif name in SERVICES:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            Settings()  # before anything is waited for
            asyncio.run(_check_servers())
            run(f"{name}.app:app", name)
        except ValidationError as bad:
            raise CannotStart(_refusal(bad)) from None
    else:
        raise CannotStart(f"there is no service {name!r}: it is one of {', '.join(SERVICES)}, sink")


def _refusal(bad: ValidationError) -> str:
    """Return what is wrong with each setting, in one line."""
    return "; ".join(
        " ".join(
            [
                *(str(part).upper() for part in each["loc"]),
                each["msg"].removeprefix("Value error, "),
            ]
        )
        for each in bad.errors(include_url=False, include_input=False)
    )


def main() -> None:
    """`python -m trunkline.serving NAME`: the command without the rest of the command."""
    try:
        serve(*sys.argv[1:])
    except CannotStart as reason:
        sys.exit(f"trunkline serve: {reason}")


if __name__ == "__main__":
    main()
