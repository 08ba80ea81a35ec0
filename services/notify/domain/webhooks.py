"""The retry policy of webhooks: the next step of a delivery after an attempt."""

from dataclasses import dataclass
from uuid import UUID, uuid5
from zlib import crc32

from trunkline_contracts import NAMESPACE

CHANNEL = "webhook"

MINUTE_S, HOUR_S = 60.0, 3600.0
RETRY_DELAYS_S = (5.0, 5 * MINUTE_S, 30 * MINUTE_S, *(h * HOUR_S for h in (2, 5, 10, 14, 20, 24)))
"""Seconds from one failed attempt to the next: ten attempts in a little over three days."""

MAX_JITTER = 0.1
"""The largest fraction by which a delay is extended, so that retries do not coincide."""

GONE_STATUS = 410
THROTTLING_STATUSES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class WebhookOutcome:
    """The outcome of an attempt: the receiver's response, or the reason there was none."""

    status: int | None = None
    wait: float | None = None
    """Seconds the receiver asks to wait."""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookStep:
    """The next state of a delivery; `delay` is in seconds, None when no attempt follows."""

    state: str
    delay: float | None = None
    status: int | None = None
    reason: str | None = None
    pause: float | None = None
    """Seconds for which the endpoint gets no delivery at all."""
    gone: bool = False
    """Whether the receiver asked for no further deliveries."""


def delivery_id(fact: UUID, endpoint: str) -> UUID:
    """Return the id of a delivery, which is the same for every attempt."""
    return uuid5(NAMESPACE, f"webhook:{fact}:{endpoint}")


def next_webhook_step(outcome: WebhookOutcome, id: UUID, attempts: int) -> WebhookStep:
    """Return the next step after an attempt; `attempts` is the number made before it."""
    status, reason = outcome.status, outcome.reason or f"answered {outcome.status}"
    if status is not None and 200 <= status < 300:
        return WebhookStep("sent", status=status)
    if status == GONE_STATUS:
        return WebhookStep("failed", None, status, "the receiver wants no more (410)", gone=True)
    pause = outcome.wait if status in THROTTLING_STATUSES else None
    if attempts >= len(RETRY_DELAYS_S):
        return WebhookStep("failed", None, status, f"given up: {reason}", pause)
    jitter = 1 + MAX_JITTER * (crc32(b"%s:%d" % (id.bytes, attempts)) % 1000) / 1000
    delay = max(RETRY_DELAYS_S[attempts] * jitter, pause or 0.0)
    return WebhookStep("pending", delay, status, reason, pause)
