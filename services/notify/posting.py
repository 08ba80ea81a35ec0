"""One attempt to hand something over by HTTP. Nothing that is answered is trusted.

Reads are bounded, redirects are not followed, and what cannot be understood leaves the outcome
unknown. No address or token is put into a reason.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import httpx

from notify.domain import CREDENTIAL_PAUSE, Outcome, Retry, Unknown
from notify.ledger import Attempt

MOST = 64 * 1024
WHOLE = 10.0
"""Seconds an attempt may take unless its channel says otherwise; much less than a lease."""

CONNECT = 3.0
PATIENCE = httpx.Timeout(WHOLE, connect=CONNECT)


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


Send = Callable[[httpx.AsyncClient, Account, Attempt], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a platform said."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


async def post(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    within: float = WHOLE,
) -> Answer | Outcome:
    """Post JSON; gives the answer, or the outcome when there was none."""
    common = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    patience = httpx.Timeout(within, connect=CONNECT)
    try:
        async with (
            asyncio.timeout(within),
            client.stream(
                "POST", url, content=body, headers={**common, **headers}, timeout=patience
            ) as answer,
        ):
            read = b""
            async for piece in answer.aiter_raw():
                read += piece
                if len(read) > MOST:
                    return Unknown("the answer does not end")
            return Answer(answer.status_code, read, answer.headers)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as why:
        return Retry(f"not reached: {type(why).__name__}")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        return Retry("the account's address is not one", CREDENTIAL_PAUSE, exit_shut=True)
    except (httpx.HTTPError, TimeoutError) as why:
        return Unknown(f"no answer: {type(why).__name__}")
