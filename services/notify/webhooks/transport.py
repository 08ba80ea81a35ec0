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
from notify.domain.webhooks import WebhookOutcome
from notify.transport.custom import retry_after
from notify.transport.egress_policy import EgressForbidden, EgressPolicy, Target
from notify.transport.http_client import HttpClient
from notify.transport.http_post import exchange, request_bytes
from notify.webhooks.endpoints import Endpoint

RESPONSE_TIMEOUT_S = 15.0
"""Seconds a receiver has to answer."""
CONNECT_TIMEOUT_S = 5.0
HEADERS = {
    "Content-Type": "application/cloudevents+json",
    "User-Agent": "trunkline",
    "Accept-Encoding": "identity",
}


async def deliver(
    wire: HttpClient,
    outward: EgressPolicy,
    endpoint: Endpoint,
    id: UUID,
    body: bytes,
    trace: str | None,
) -> WebhookOutcome:
    """Hand a fact over; gives what came of it, whatever that is."""
    secrets = endpoint.secrets()
    if not secrets:
        return WebhookOutcome(reason="the secret is not set")
    now = time.time()
    try:
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            place = await outward.target_of(endpoint.url, trusted=endpoint.is_trusted)
            raw = _request(place, sign(secrets, str(id), int(now), body), body, trace)
            answer = await exchange(wire, place, raw, CONNECT_TIMEOUT_S)
    except EgressForbidden as why:
        return WebhookOutcome(reason=str(why))
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return WebhookOutcome(reason="not reached")
    except (httpx.TransportError, TimeoutError) as why:
        return WebhookOutcome(reason=f"no answer: {type(why).__name__}")
    wish = answer.headers.get("retry-after")
    asked = retry_after(answer.status, wish, datetime.fromtimestamp(now, UTC))
    return WebhookOutcome(answer.status, asked)


def _request(place: Target, signed: dict[str, str], body: bytes, trace: str | None) -> bytes:
    headers = HEADERS | signed
    if trace is not None and trace.isascii() and trace.isprintable():
        headers["traceparent"] = trace
    return request_bytes(place, headers, body)
