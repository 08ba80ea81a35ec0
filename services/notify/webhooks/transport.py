"""One attempt of a delivery: a signed POST over a kept connection.

It uses `notify.transport.http_client` because a request of httpx's client costs several times as
much CPU. Redirects are not followed: they are failures.
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
"""Seconds a receiver has to respond."""
CONNECT_TIMEOUT_S = 5.0
HEADERS = {
    "Content-Type": "application/cloudevents+json",
    "User-Agent": "trunkline",
    "Accept-Encoding": "identity",
}


async def deliver(
    http: HttpClient,
    egress: EgressPolicy,
    endpoint: Endpoint,
    id: UUID,
    body: bytes,
    trace: str | None,
) -> WebhookOutcome:
    """Deliver a fact, and return the outcome; never raises for a failure."""
    secrets = endpoint.secrets()
    if not secrets:
        return WebhookOutcome(reason="the secret is not set")
    now = time.time()
    try:
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            target = await egress.target_of(endpoint.url, trusted=endpoint.is_trusted)
            raw = _request(target, sign(secrets, str(id), int(now), body), body, trace)
            response = await exchange(http, target, raw, CONNECT_TIMEOUT_S)
    except EgressForbidden as error:
        return WebhookOutcome(reason=str(error))
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return WebhookOutcome(reason="not reached")
    except (httpx.TransportError, TimeoutError) as error:
        return WebhookOutcome(reason=f"no answer: {type(error).__name__}")
    header = response.headers.get("retry-after")
    wait = retry_after(response.status, header, datetime.fromtimestamp(now, UTC))
    return WebhookOutcome(response.status, wait)


def _request(target: Target, signature: dict[str, str], body: bytes, trace: str | None) -> bytes:
    headers = HEADERS | signature
    if trace is not None and trace.isascii() and trace.isprintable():
        headers["traceparent"] = trace
    return request_bytes(target, headers, body)
