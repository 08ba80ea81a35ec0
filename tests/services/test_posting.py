"""What is handed over by HTTP: where it may go, and what of an answer is believed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from notify.delivery.queue import ClaimedMessage
from notify.domain.outcomes import Retry, Sent, Unknown
from notify.domain.retry import CREDENTIAL_PAUSE_S
from notify.transport import custom, http_post
from notify.transport.egress_policy import EgressPolicy
from notify.transport.http_client import HttpClient, HttpResponse
from notify.transport.http_post import Account, Transport, post

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

OK = b"HTTP/1.1 200 OK\r\nSet-Cookie: who=victim; Path=/\r\nContent-Length: 2\r\n\r\nok"


class Receiver:
    """Writes down what it hears, and answers with the next of what it is given, else `OK`."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heard: list[bytes] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                self.heard.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if self.answers else OK
                writer.write(answer)
                if not answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(*answers: bytes) -> AsyncGenerator[Receiver]:
    receiver = Receiver(*answers)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield receiver


@asynccontextmanager
async def going(*inside: str) -> AsyncGenerator[Transport]:
    ways = Transport(HttpClient(), EgressPolicy([ip_network(each) for each in inside]))
    yield ways
    await ways.http.aclose()


def integrator(url: str) -> Account:
    return Account(url, "", ("whsec_" + "A" * 44,), trusted=False)


def reply() -> ClaimedMessage:
    lease = uuid4()
    return ClaimedMessage(
        uuid4(), uuid4(), "custom", "acme", "c", "c-7", "hi", 1, 0.0, False, None, lease
    )


async def test_integrator_url_is_checked_by_the_egress_policy() -> None:
    async with receiving() as receiver:
        async with going() as ways:
            outcome = await custom.custom(ways, integrator(receiver.url), reply())
            assert isinstance(outcome, Retry)
            assert (outcome.after, outcome.account_suspended) == (CREDENTIAL_PAUSE_S, True)
            assert receiver.heard == []
        async with going("127.0.0.0/8") as ways:
            assert await custom.custom(ways, integrator(receiver.url), reply()) == Sent()
            assert len(receiver.heard) == 1


async def test_cookie_is_dropped_and_redirect_not_followed() -> None:
    moved = b"HTTP/1.1 307 Go\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with receiving(OK, OK, moved) as receiver, going() as ways:
        for status in (200, 200, 307):
            answer = await post(ways, Account("", ""), receiver.url, b"{}", {"X-It": "1"})
            assert isinstance(answer, HttpResponse)
            assert answer.status == status
    assert len(receiver.heard) == 3
    assert not any(b"cookie" in each.lower() for each in receiver.heard)
    assert receiver.heard[0].startswith(b"POST /hook HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_closed_kept_connection_costs_no_attempt() -> None:
    async with receiving(OK, b"") as receiver, going() as ways:
        for _ in range(2):  # the second time it is hung up on after it has asked
            answer = await post(ways, Account("", ""), receiver.url, b"{}", {})
            assert isinstance(answer, HttpResponse)
    assert (len(receiver.heard), len(receiver.connections)) == (3, 2)


async def test_closed_new_connection_leaves_outcome_unknown() -> None:
    async with receiving(b"") as receiver, going() as ways:
        outcome = await post(ways, Account("", ""), receiver.url, b"{}", {})
    assert isinstance(outcome, Unknown)
    assert len(receiver.heard) == 1


@pytest.mark.parametrize(
    "size", [http_post.MAX_RESPONSE_BYTES, http_post.MAX_RESPONSE_BYTES + 1, 10**7]
)
async def test_response_body_is_read_up_to_the_limit(size: int) -> None:
    told = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    async with receiving(told) as receiver, going() as ways:
        answer: Any = await post(ways, Account("", ""), receiver.url, b"{}", {})
    if size > http_post.MAX_RESPONSE_BYTES:
        assert answer == Unknown("the response does not end")
    else:
        assert len(answer.body) == size


async def test_invalid_url_suspends_the_account() -> None:
    async with going() as ways:
        for url in ("nonsense", "ftp://example.test/", "http://", "https://a:b@example.test/"):
            outcome = await post(ways, Account("", ""), url, b"{}", {})
            assert isinstance(outcome, Retry)
            assert outcome.account_suspended
        outcome = await post(ways, Account("", ""), "https://nobody.invalid/", b"{}", {})
        assert outcome == Retry("not reached: the name is not known")


async def test_header_with_line_break_is_refused() -> None:
    async with receiving() as receiver, going() as ways:
        with pytest.raises(ValueError, match="control"):
            await post(ways, Account("", ""), receiver.url, b"{}", {"X": "a\r\nB: c"})
