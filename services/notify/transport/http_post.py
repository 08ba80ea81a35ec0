"""One attempt to hand something over by HTTP. Nothing that is answered is trusted.

Reads are bounded, redirects are not followed, no cookie is kept, and what cannot be understood
leaves the outcome unknown. No address or token is put into a reason.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import httpx

from notify.delivery.queue import Attempt
from notify.domain.sending import CREDENTIAL_PAUSE, Outcome, Retry, Unknown
from notify.transport.egress_policy import Forbidden, NotKnown, Outward, Place
from notify.transport.http_client import Answer, KeptAlive

MOST = 64 * 1024
"""Bytes of an answer that are read."""
WHOLE = 10.0
"""Seconds an attempt may take unless its channel says otherwise; much less than a lease."""

CONNECT = 3.0

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
class Ways:
    """What every attempt goes out by."""

    wire: KeptAlive
    outward: Outward


Send = Callable[[Ways, Account, Attempt], Awaitable[Outcome]]


async def post(
    ways: Ways,
    account: Account,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    within: float = WHOLE,
) -> Answer | Outcome:
    """Post JSON; gives the answer, or the outcome when there was none."""
    try:
        async with asyncio.timeout(within):
            place = await ways.outward.place(url, trusted=account.trusted)
            raw = written(place, {**HEADERS, **headers}, body)
            answer = await exchange(ways.wire, place, raw, CONNECT)
    except NotKnown as why:
        return Retry(f"not reached: {why}")
    except Forbidden as why:
        return Retry(str(why), CREDENTIAL_PAUSE, exit_shut=True)
    except (httpx.ConnectError, httpx.ConnectTimeout) as why:
        return Retry(f"not reached: {type(why).__name__}")
    except (httpx.TransportError, TimeoutError) as why:
        return Unknown(f"no answer: {type(why).__name__}")
    return answer if answer.whole else Unknown("the answer does not end")


def written(place: Place, headers: Mapping[str, str], body: bytes) -> bytes:
    """Write a request; raises ValueError for a header that would break out of its line."""
    lines = [f"{name}: {value}".encode("ascii") for name, value in headers.items()]
    if any(c < 32 for line in lines for c in line):
        raise ValueError("a header holds a control character")
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    return place.head + b"\r\n".join([*lines, length]) + body


async def exchange(wire: KeptAlive, place: Place, raw: bytes, patience: float) -> Answer:
    """Ask a place that was judged."""
    return await wire.exchange(
        place.scheme, place.host, place.port, raw, patience=patience, most=MOST, name=place.name
    )
