"""What an attempt to hand a fact over can end in, and what becomes of the delivery then. No I/O."""

from dataclasses import dataclass
from uuid import UUID, uuid5
from zlib import crc32

from trunkline_contracts import NAMESPACE

CHANNEL = "webhook"

MINUTE, HOUR = 60.0, 3600.0
DELAYS = (5.0, 5 * MINUTE, 30 * MINUTE, *(h * HOUR for h in (2, 5, 10, 14, 20, 24)))
"""Seconds from one failed attempt to the next: ten attempts over three days and some hours."""

JITTER = 0.1
"""The most by which a delay is longer than it says, so that what failed together comes apart."""

LONGEST_WISH = HOUR
"""A receiver that asks for patience is believed for so long."""

GONE = 410
THROTTLING = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt: the receiver's status and wish to wait, or why there was none."""

    status: int | None = None
    wait: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of a delivery. `delay` is None when nothing more is done."""

    state: str
    delay: float | None = None
    status: int | None = None
    reason: str | None = None
    pause: float | None = None
    """Seconds for which the endpoint gets nothing at all."""
    gone: bool = False
    """Whether the endpoint wants nothing any more."""


def delivery_id(fact: UUID, endpoint: str) -> UUID:
    """Derive the id a receiver knows a delivery by: the same for every attempt."""
    return uuid5(NAMESPACE, f"webhook:{fact}:{endpoint}")


def after(outcome: Outcome, id: UUID, attempts: int) -> Next:
    """Decide after an attempt, `attempts` of which were made before it."""
    status, told = outcome.status, outcome.reason or f"answered {outcome.status}"
    if status is not None and 200 <= status < 300:
        return Next("sent", status=status)
    if status == GONE:
        return Next("failed", None, status, "the receiver wants no more (410)", gone=True)
    pause = outcome.wait if status in THROTTLING else None
    if attempts >= len(DELAYS):
        return Next("failed", None, status, f"given up: {told}", pause)
    jitter = 1 + JITTER * (crc32(b"%s:%d" % (id.bytes, attempts)) % 1000) / 1000
    delay = max(DELAYS[attempts] * jitter, pause or 0.0)
    return Next("pending", delay, status, told, pause)
