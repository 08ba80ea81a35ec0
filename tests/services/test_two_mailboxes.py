"""One mail to two of our mailboxes opens one request, with two replicas taking the copies in."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import aiosmtplib
import pytest
from mailing import mail
from postoffice import free_port
from taking_in import Ingest
from telling import Teller
from world import EXAMPLE

from chassis.testing import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx
    from world import World

MAIN = "{main: {address: support@example.test, secret: env:EMAIL_MAIN_SECRET, smtp: sink}}"
TWO = (
    "{main: {address: support@example.test, secret: env:EMAIL_MAIN_SECRET, smtp: sink},"
    " sales: {address: sales@example.test, secret: env:EMAIL_MAIN_SECRET, smtp: sink}}"
)
BOTH = "support@example.test, sales@example.test"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def two(world: World, port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Ingest]:
    monkeypatch.setenv("EMAIL_MAIN_SECRET", "mail-secret")
    text = EXAMPLE.read_text()
    assert MAIN in text
    await world.apply(text.replace(MAIN, TWO))
    async with Teller(world) as teller:
        ingest = Ingest(world, teller)
        try:
            await ingest.start(SMTP_PORT=str(port), READERS="2")
            await ingest.start(READERS="2")
            yield ingest
        finally:
            await ingest.stop()


async def post(ingest: Ingest, account: str, body: bytes, replica: int = 0) -> httpx.Response:
    headers = {"Content-Type": "message/rfc822", "X-Trunkline-Secret": "mail-secret"}
    return await ingest.replicas[replica].post(
        f"/channels/email/{account}", content=body, headers=headers
    )


async def told(ingest: Ingest, inbound_id: str) -> dict[str, Any]:
    async def settled() -> dict[str, Any] | None:
        answer = await ingest.http.get(f"/v1/inbound/{inbound_id}", headers=ingest.boss)
        found: dict[str, Any] = answer.json()
        return found if found["outcome"] != "pending" else None

    found = await eventually(settled)
    assert found is not None
    return found


async def test_two_mailboxes_one_mail(two: Ingest, port: int) -> None:
    def open_to_mail() -> bool:
        with socket.socket() as there:
            return there.connect_ex(("127.0.0.1", port)) == 0

    async def listening() -> bool:
        return open_to_mail()

    await eventually(listening)
    body = mail(Message_ID="<1@x>", To=BOTH)
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, timeout=10) as client:
        _, answer = await client.sendmail("iryna@example.test", BOTH.split(", "), body)
    copies = [await told(two, id) for id in answer.split()[-2:]]
    later = await told(two, (await post(two, "main", body)).json()["inbound_id"])

    copies.sort(key=lambda each: each["outcome"], reverse=True)
    opened, copy = copies
    assert (opened["outcome"], copy["outcome"], later["outcome"]) == (
        "opened", "duplicate", "duplicate",
    )  # fmt: skip
    assert opened["request_id"] == copy["request_id"] == later["request_id"]
    assert copy["reason"].startswith("also received at ")

    # With the same id and other words it is another mail.
    other = mail("else", Message_ID="<1@x>", To=BOTH)
    more = await told(two, (await post(two, "sales", other)).json()["inbound_id"])
    assert more["outcome"] == "opened"
    assert len(await two.said("request_opened")) == 2
    assert (await two.ledger())["balanced"]


async def test_copies_taken_in_at_once_open_one_request_each(two: Ingest) -> None:
    """Four readers share the slots: the copies of one mail are in one batch, or in two at once."""
    mails = [
        mail(f"{n}", Message_ID=f"<{n}@x>", To=BOTH if n % 3 else "", From=f"c{n}@example.test")
        for n in range(30)
    ]
    accepted = await asyncio.gather(
        *(
            post(two, account, body, replica)
            for n, body in enumerate(mails)
            for account, replica in (("main", n % 2), ("sales", 1 - n % 2))
        )
    )
    ids = [each.json()["inbound_id"] for each in accepted]
    outcomes = [await told(two, id) for id in ids]

    for one, other in zip(outcomes[::2], outcomes[1::2], strict=True):
        assert sorted((one["outcome"], other["outcome"])) == ["duplicate", "opened"]
        assert one["request_id"] == other["request_id"]
    assert len(await two.said("request_opened")) == len(mails)
    ledger = await two.ledger()
    assert ledger["balanced"]
    assert ledger["outcomes"]["opened"] == ledger["outcomes"]["duplicate"] == len(mails)
