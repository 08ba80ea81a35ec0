"""Hands one fact to one endpoint: signed, at once, over a kept connection.

Bypasses httpx's client, whose requests cost several times what is sent here; the connections are
those of `notify.transport.http_client`. Redirects are answers like any other: a failure.
"""

import asyncio
import time
from datetime import UTC, datetime
from uuid import UUID

import httpx

from chassis.auth.standard_webhooks import sign
from notify.domain.webhooks import Outcome
from notify.transport.custom import wait_told
from notify.transport.egress_policy import Forbidden, Outward, Place
from notify.transport.http_client import KeptAlive
from notify.transport.http_post import exchange, written
from notify.webhooks.endpoints import Endpoint

WITHIN = 15.0
"""Seconds a receiver has to answer."""
CONNECT = 5.0
HEADERS = {
    "Content-Type": "application/cloudevents+json",
    "User-Agent": "trunkline",
    "Accept-Encoding": "identity",
}


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
            answer = await exchange(wire, place, raw, CONNECT)
    except Forbidden as why:
        return Outcome(reason=str(why))
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return Outcome(reason="not reached")
    except (httpx.TransportError, TimeoutError) as why:
        return Outcome(reason=f"no answer: {type(why).__name__}")
    wish = answer.headers.get("retry-after")
    asked = wait_told(answer.status, wish, datetime.fromtimestamp(now, UTC))
    return Outcome(answer.status, asked)


def _raw(place: Place, signed: dict[str, str], body: bytes, trace: str | None) -> bytes:
    headers = HEADERS | signed
    if trace is not None and trace.isascii() and trace.isprintable():
        headers["traceparent"] = trace
    return written(place, headers, body)
