"""One attempt to send by HTTP; the response is untrusted.

Reads are bounded, redirects are not followed, no cookie is kept, and a response that cannot be
understood leaves the outcome unknown. No reason contains an address or a token.
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
"""Bytes of a response body that are read."""
ATTEMPT_TIMEOUT_S = 10.0
"""Seconds an attempt may take, unless its channel has a timeout; much less than a lease."""

CONNECT_TIMEOUT_S = 3.0
"""Seconds to connect, TLS included."""

HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "trunkline",
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class Account:
    """The address and the credentials of an account."""

    base: str
    token: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Signing secrets: two while one replaces the other."""
    address: str = ""
    """The sender's address of mails; `name` is its display name, `user` logs in to the server."""
    name: str | None = None
    user: str | None = None
    trusted: bool = True
    """Whether `base` may be internal: a platform's or the sink's may, an integrator's may not."""


@dataclass(frozen=True, slots=True)
class Transport:
    """The connections and the egress policy that attempts share."""

    http: HttpClient
    egress: EgressPolicy


SendFunction = Callable[[Transport, Account, ClaimedMessage], Awaitable[Outcome]]


async def post(
    transport: Transport,
    account: Account,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout: float = ATTEMPT_TIMEOUT_S,
) -> HttpResponse | Outcome:
    """Post JSON, and return the response, or the outcome when there was none."""
    try:
        async with asyncio.timeout(timeout):
            target = await transport.egress.target_of(url, trusted=account.trusted)
            raw = request_bytes(target, {**HEADERS, **headers}, body)
            response = await exchange(transport.http, target, raw, CONNECT_TIMEOUT_S)
    except HostNotFound as error:
        return Retry(f"not reached: {error}")
    except EgressForbidden as error:
        return Retry(str(error), CREDENTIAL_PAUSE_S, account_suspended=True)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        return Retry(f"not reached: {type(error).__name__}")
    except (httpx.TransportError, TimeoutError) as error:
        return Unknown(f"no answer: {type(error).__name__}")
    return response if response.complete else Unknown("the response does not end")


def request_bytes(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a request; raise ValueError for a header with a control character."""
    lines = [f"{name}: {value}".encode("ascii") for name, value in headers.items()]
    if any(c < 32 for line in lines for c in line):
        raise ValueError("a header holds a control character")
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    return target.head + b"\r\n".join([*lines, length]) + body


async def exchange(
    http: HttpClient, target: Target, raw: bytes, connect_timeout: float
) -> HttpResponse:
    """Exchange a request and its response with a target."""
    return await http.exchange(
        target.scheme,
        target.host,
        target.port,
        raw,
        connect_timeout=connect_timeout,
        max_bytes=MAX_RESPONSE_BYTES,
        name=target.name,
    )
