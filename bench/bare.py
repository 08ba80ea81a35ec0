"""The yardstick of the door: an ASGI endpoint that publishes what it is sent, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import uvicorn

from trunkline.provision import connect_as

if TYPE_CHECKING:
    from nats.js import JetStreamContext

state: dict[str, JetStreamContext] = {}
URL, CREDS = sys.argv[2], Path(sys.argv[3])


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Publish the body, answer 200."""
    if scope["type"] == "lifespan":
        await receive()
        state["js"] = (await connect_as("admin", URL, CREDS)).jetstream(timeout=5)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = (await receive()).get("body", b"")
    if body:
        # Into a stream of the same kind that nobody reads.
        await state["js"].publish(f"parked.bench.{uuid4().hex}", body)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
