"""The way out to integrators' own channels: signed as Standard Webhooks 1.0 says.

The id is the same for every attempt, the timestamp is the attempt's. Whoever receives it knows by
the id what they have had, so that nothing is in doubt here: what was not answered is sent again.
"""

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import orjson

from chassis.auth.standard_webhooks import sign
from notify.delivery.queue import ClaimedMessage
from notify.domain.outcomes import (
    MAX_WAIT_S,
    Outcome,
    Refused,
    Retry,
    Sent,
    Unknown,
    printable,
    requested_wait,
)
from notify.domain.retry import CREDENTIAL_PAUSE_S
from notify.transport.http_client import HttpResponse
from notify.transport.http_post import Account, Transport, post

RESPONSE_TIMEOUT_S = 15.0
"""Seconds a receiver has to answer, by the specification."""


async def custom(ways: Transport, account: Account, attempt: ClaimedMessage) -> Outcome:
    """Hand a reply to the integrator's address."""
    id, body, now = str(attempt.message_id), body_of(attempt), time.time()
    try:
        headers = sign(account.secrets, id, int(now), body)
    except ValueError:
        return Retry("the account's secret is not one", CREDENTIAL_PAUSE_S, account_suspended=True)
    answered = await post(ways, account, account.base, body, headers, RESPONSE_TIMEOUT_S)
    if isinstance(answered, HttpResponse):
        return response_outcome(answered, datetime.fromtimestamp(now, UTC))
    return Retry(answered.reason) if isinstance(answered, Unknown) else answered


def body_of(attempt: ClaimedMessage) -> bytes:
    """Write what the integrator gets; the same bytes for every attempt."""
    return orjson.dumps(
        {
            "id": str(attempt.message_id),
            "text": attempt.text,
            "conversation": attempt.chat,
            "contact": {"id": attempt.address or attempt.chat},
            "request_id": str(attempt.request_id),
        }
    )


def response_outcome(answered: HttpResponse, now: datetime) -> Outcome:
    """Understand an answer: 2xx took it, 410 never will, and everything else may later."""
    status = answered.status
    if 200 <= status < 300:
        return Sent(_receiver_id(answered.body))
    if status == 410:
        return Refused("the receiver is gone (410)")
    wait = retry_after(status, answered.headers.get("retry-after"), now)
    busy = status in {429, 502, 503, 504}
    return Retry(f"answered {status}", wait, account_suspended=busy and wait is not None)


def retry_after(status: int, header: str | None, now: datetime) -> float | None:
    """Read a `Retry-After`: seconds, or a date; it says something only with 429 and 5xx."""
    told = (header or "").strip()
    if not told or (status != 429 and status < 500):
        return None
    if told.isascii() and told.isdigit() and len(told) < 9:
        return requested_wait(int(told))
    try:
        at = parsedate_to_datetime(told)
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError, TypeError, IndexError):  # years and zones of any size
        return None
    return requested_wait(min(max(seconds, 0.0), MAX_WAIT_S))


def _receiver_id(body: bytes) -> str | None:
    """Give the id the receiver knows it by, if it says one."""
    try:
        told = orjson.loads(body)
    except ValueError:
        return None
    id = told.get("id") if isinstance(told, dict) else None
    return printable(str(id)) if isinstance(id, str | int) and not isinstance(id, bool) else None
