"""Hands one fact to one endpoint: signed, at once, over a kept connection.

Bypasses httpx's client, whose requests cost several times what is sent here; the connections are
those of `chassis.keepalive`. Redirects are answers like any other: a failure.
"""

import asyncio
import time
from datetime import UTC, datetime
from uuid import UUID

import httpx

from chassis.keepalive import KeptAlive
from chassis.webhooks import sign
from notify.custom import wait_told
from notify.outward import Forbidden, Outward, Place
from notify.webhooks.endpoints import Endpoint
from notify.webhooks.rules import Outcome

WITHIN = 15.0
"""Seconds a receiver has to answer."""
CONNECT = 5.0
MOST = 64 * 1024
"""Bytes of an answer that are read so that the connection can be kept."""

HEAD = (
    b"Content-Type: application/cloudevents+json\r\nUser-Agent: trunkline\r\n"
    b"Accept-Encoding: identity\r\n"
)


async def deliver(
    wire: KeptAlive, outward: Outward, endpoint: Endpoint, id: UUID, body: bytes, trace: str | None
) -> Outcome:
    """Hand a fact over; gives what came of it, whatever that is."""
    secrets = endpoint.secrets()
    if not secrets:
        return Outcome(reason="the secret is not set")
    now = time.time()
    try:
        async with asyncio.timeout(WITHIN):
            place = await outward.place(endpoint.url, trusted=endpoint.trusted)
            raw = _raw(place, sign(secrets, str(id), int(now), body), body, trace)
            status, wish = await _exchange(wire, place, raw)
    except Forbidden as why:
        return Outcome(reason=str(why))
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return Outcome(reason="not reached")
    except (httpx.TransportError, TimeoutError) as why:
        return Outcome(reason=f"no answer: {type(why).__name__}")
    return Outcome(status, wait_told(wish, datetime.fromtimestamp(now, UTC)))


def _raw(place: Place, signed: dict[str, str], body: bytes, trace: str | None) -> bytes:
    lines = [b"%s: %s\r\n" % (name.encode(), value.encode()) for name, value in signed.items()]
    if trace is not None and trace.isascii() and trace.isprintable():
        lines.append(b"traceparent: %s\r\n" % trace.encode())
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    return b"".join((place.head, HEAD, *lines, length, body))


async def _exchange(wire: KeptAlive, place: Place, raw: bytes) -> tuple[int, str | None]:
    """Ask once; a kept connection that had been hung up meanwhile costs no attempt."""
    while True:
        connection = await wire.connection(
            place.scheme, place.host, place.port, CONNECT, name=place.name
        )
        kept = connection.free
        try:
            connection.send(raw)
            await connection.head()
            status = connection.status
            wish = next(
                (v.decode("latin-1") for n, v in connection.headers if n.lower() == b"retry-after"),
                None,
            )
            read = 0
            while (piece := await connection.piece()) and read <= MOST:
                read += len(piece)
        except (httpx.RemoteProtocolError, httpx.ReadError):
            connection.close()
            if not kept or connection.status:
                raise
        except BaseException:
            connection.close()
            raise
        else:
            connection.release()
            return status, wish
