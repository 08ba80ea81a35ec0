"""The sender of integrators' own channels, signed by Standard Webhooks 1.0.

The id is the same for every attempt, the timestamp is the attempt's. The receiver detects
duplicates by the id, so an attempt without a response is simply repeated.
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
"""Seconds a receiver has to respond, by the specification."""


async def custom(transport: Transport, account: Account, attempt: ClaimedMessage) -> Outcome:
    """Send a reply to the integrator's URL."""
    id, body, now = str(attempt.message_id), body_of(attempt), time.time()
    try:
        headers = sign(account.secrets, id, int(now), body)
    except ValueError:
        return Retry(
            "the account's secret is not valid", CREDENTIAL_PAUSE_S, account_suspended=True
        )
    response = await post(transport, account, account.base, body, headers, RESPONSE_TIMEOUT_S)
    if isinstance(response, HttpResponse):
        return response_outcome(response, datetime.fromtimestamp(now, UTC))
    return Retry(response.reason) if isinstance(response, Unknown) else response


def body_of(attempt: ClaimedMessage) -> bytes:
    """Return the body of a reply; it is the same for every attempt."""
    return orjson.dumps(
        {
            "id": str(attempt.message_id),
            "text": attempt.text,
            "conversation": attempt.chat,
            "contact": {"id": attempt.address or attempt.chat},
            "request_id": str(attempt.request_id),
        }
    )


def response_outcome(response: HttpResponse, now: datetime) -> Outcome:
    """Return the outcome of a response: 2xx accepted it, 410 never will, any other may later."""
    status = response.status
    if 200 <= status < 300:
        return Sent(_receiver_id(response.body))
    if status == 410:
        return Refused("the receiver is gone (410)")
    wait = retry_after(status, response.headers.get("retry-after"), now)
    busy = status in {429, 502, 503, 504}
    return Retry(f"answered {status}", wait, account_suspended=busy and wait is not None)


def retry_after(status: int, header: str | None, now: datetime) -> float | None:
    """Return the seconds of a `Retry-After`, a number or a date; None except for 429 and 5xx."""
    value = (header or "").strip()
    if not value or (status != 429 and status < 500):
        return None
    if value.isascii() and value.isdigit() and len(value) < 9:
        return requested_wait(int(value))
    try:
        at = parsedate_to_datetime(value)
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    except (
        ValueError,
        OverflowError,
        TypeError,
        IndexError,
    ):  # a year or a zone may be out of range
        return None
    return requested_wait(min(max(seconds, 0.0), MAX_WAIT_S))


def _receiver_id(body: bytes) -> str | None:
    """Return the id the receiver assigned, if the body has one."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return None
    id = document.get("id") if isinstance(document, dict) else None
    return printable(str(id)) if isinstance(id, str | int) and not isinstance(id, bool) else None
