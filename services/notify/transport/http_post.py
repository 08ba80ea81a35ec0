"""One attempt to hand something over by HTTP. Nothing that is answered is trusted.

Reads are bounded, redirects are not followed, no cookie is kept, and what cannot be understood
leaves the outcome unknown. No address or token is put into a reason.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import httpx

from notify.delivery.queue import ClaimedMessage
from notify.domain.outcomes import Outcome, Retry, Unknown
from notify.domain.retry import CREDENTIAL_PAUSE_S
from notify.transport.egress_policy import EgressForbidden, EgressPolicy, HostNotFound, Target
from notify.transport.http_client import HttpClient, HttpResponse

MAX_RESPONSE_BYTES = 64 * 1024
"""Bytes of an answer that are read."""
ATTEMPT_TIMEOUT_S = 10.0
"""Seconds an attempt may take unless its channel says otherwise; much less than a lease."""

CONNECT_TIMEOUT_S = 3.0

HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "trunkline",
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class Account:
    """Where and as whom to send."""

    base: str
    token: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What a delivery is signed with: two while one replaces the other."""
    address: str = ""
    """From which address mail is sent, under which name, and who we are to the server."""
    name: str | None = None
    user: str | None = None
    trusted: bool = True
    """Whether it may be inside: a platform's address, or the stand-in's, but no integrator's."""


@dataclass(frozen=True, slots=True)
class Transport:
    """What every attempt goes out by."""

    http: HttpClient
    egress: EgressPolicy


SendFunction = Callable[[Transport, Account, ClaimedMessage], Awaitable[Outcome]]


async def post(
    ways: Transport,
    account: Account,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    within: float = ATTEMPT_TIMEOUT_S,
) -> HttpResponse | Outcome:
    """Post JSON; gives the answer, or the outcome when there was none."""
    try:
        async with asyncio.timeout(within):
            place = await ways.egress.target_of(url, trusted=account.trusted)
            raw = request_bytes(place, {**HEADERS, **headers}, body)
            answer = await exchange(ways.http, place, raw, CONNECT_TIMEOUT_S)
    except HostNotFound as why:
        return Retry(f"not reached: {why}")
    except EgressForbidden as why:
        return Retry(str(why), CREDENTIAL_PAUSE_S, account_suspended=True)
    except (httpx.ConnectError, httpx.ConnectTimeout) as why:
        return Retry(f"not reached: {type(why).__name__}")
    except (httpx.TransportError, TimeoutError) as why:
        return Unknown(f"no answer: {type(why).__name__}")
    return answer if answer.complete else Unknown("the answer does not end")


def request_bytes(place: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    """Write a request; raises ValueError for a header that would break out of its line."""
    lines = [f"{name}: {value}".encode("ascii") for name, value in headers.items()]
    if any(c < 32 for line in lines for c in line):
        raise ValueError("a header holds a control character")
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    return place.head + b"\r\n".join([*lines, length]) + body


async def exchange(wire: HttpClient, place: Target, raw: bytes, patience: float) -> HttpResponse:
    """Ask a place that was judged."""
    return await wire.exchange(
        place.scheme,
        place.host,
        place.port,
        raw,
        patience=patience,
        most=MAX_RESPONSE_BYTES,
        name=place.name,
    )
