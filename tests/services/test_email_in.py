"""E-mail comes in on real servers: over SMTP and HTTP, small and large, and bombs harm nobody."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import aiosmtplib
import pytest
from postoffice import free_port
from reporting import SERVERS
from telling import Teller
from world import EXAMPLE

from chassis.auth import signed_ids
from chassis.errors import Refused
from chassis.testing import eventually, running
from ingest.app import make
from ingest.channels.email.parser_pool import ParserPool
from ingest.domain.items import RawDelivery
from ingest.domain.threading import CONFLICTING_REPLY_ADDRESS
from ingest.settings import Settings
from trunkline_contracts import Message, ReplySent
from trunkline_contracts.ids import conversation_key
from trunkline_contracts.parts import Contact

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx
    from world import World

SECRET = "mail-secret"
SUPPORT = "support@example.test"
ACCOUNT = f"address: {SUPPORT}, secret: env:EMAIL_MAIN_SECRET"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def mail(text: str = "hello", **headers: str) -> bytes:
    told = {"From": "Iryna <iryna@example.test>", "Subject": "Order", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in told.items()]
    return ("\r\n".join(lines) + f"\r\n\r\n{text}\r\n").encode()


def tagged(id: UUID, purpose: str) -> str:
    local, _, domain = SUPPORT.partition("@")
    return f"{local}+{signed_ids.write(id, purpose, SECRET)}@{domain}"


class Post:
    """ingest in a test's own world, and whoever sends mail to it."""

    def __init__(self, world: World, http: httpx.AsyncClient, port: int) -> None:
        self.world, self.http, self.port = world, http, port
        self.boss = world.token("supervisor")

    async def post(
        self, body: bytes, secret: str | None = SECRET, account: str = "main"
    ) -> httpx.Response:
        headers = {"Content-Type": "message/rfc822"}
        if secret is not None:
            headers["X-Trunkline-Secret"] = secret
        return await self.http.post(f"/channels/email/{account}", content=body, headers=headers)

    async def returned(self, body: bytes, to: str) -> str:
        """Deliver what nobody sent; gives the inbound id."""
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=self.port, timeout=10) as client:
            await client.mail("")
            await client.rcpt(to)
            _, answer = await client.data(body)
        return answer.split()[-1]

    async def smtp(self, body: bytes, *to: str) -> tuple[dict[str, Any], str]:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=self.port, timeout=10) as client:
            return await client.sendmail("iryna@example.test", list(to or [SUPPORT]), body)

    async def outcome(self, inbound_id: str) -> dict[str, Any]:
        async def settled() -> dict[str, Any] | None:
            answer = await self.http.get(f"/v1/inbound/{inbound_id}", headers=self.boss)
            told: dict[str, Any] = answer.json()
            return told if told["outcome"] != "pending" else None

        told = await eventually(settled)
        assert told is not None
        return told

    async def ledger(self) -> dict[str, Any]:
        async def settled() -> dict[str, Any] | None:
            found: dict[str, Any] = (await self.http.get("/v1/ledger", headers=self.boss)).json()
            return found if not found["pending"] else None

        found = await eventually(settled)
        assert found is not None
        return found

    async def said(self, kind: str) -> list[dict[str, Any]]:
        query = "SELECT body FROM outbox WHERE type = %s ORDER BY position"
        rows = await self.world.sql("ingest", query, f"trunkline.ingest.v1.{kind}")
        return [json.loads(bytes(body))["data"] for (body,) in rows]


@pytest.fixture
async def post(
    world: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncGenerator[Post]:
    """ingest with the example's mail account, or with one that a test asks for."""
    monkeypatch.setenv("EMAIL_MAIN_SECRET", SECRET)
    text = EXAMPLE.read_text()
    assert ACCOUNT in text
    await world.apply(text.replace(ACCOUNT, getattr(request, "param", ACCOUNT)))
    port = free_port()
    async with AsyncExitStack() as stack:
        app = make(world.settings("ingest", Settings, SMTP_PORT=str(port)))
        http = await stack.enter_async_context(running(app))

        async def ready() -> bool:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return (await http.get("/health/ready")).status_code == 200

        while True:
            try:
                await eventually(ready)
                break
            except OSError:
                await asyncio.sleep(0.05)
        yield Post(world, http, port)


async def test_a_mail_comes_in_by_either_door(post: Post) -> None:
    _, answer = await post.smtp(mail(Message_ID="<1@x>"))
    by_smtp = await post.outcome(answer.split()[-1])
    accepted = await post.post(mail("more", Message_ID="<2@x>", In_Reply_To="<1@x>"))
    by_http = await post.outcome(accepted.json()["inbound_id"])

    assert accepted.status_code == 202
    assert (by_smtp["outcome"], by_smtp["threaded_by"]) == ("opened", "new")
    assert (by_http["outcome"], by_http["threaded_by"]) == ("appended", "known_message_id")
    assert by_http["request_id"] == by_smtp["request_id"]
    [opened] = await post.said("request_opened")
    assert (opened["title"], opened["message"]["text"]) == ("Order", "hello")
    assert (opened["channel"], opened["account"]) == ("email", "main")
    assert opened["contact"]["address"] == "iryna@example.test"
    assert opened["contact"]["name"] == "Iryna"

    _, again = await post.smtp(mail(Message_ID="<1@x>"))
    duplicate = await post.outcome(again.split()[-1])
    assert (duplicate["outcome"], duplicate["request_id"]) == ("duplicate", by_smtp["request_id"])
    ledger = await post.ledger()
    assert ledger["balanced"]


async def test_the_secret_is_asked_for(post: Post) -> None:
    before = await post.ledger()
    for secret, account in ((None, "main"), ("wrong", "main"), ("", "main"), (SECRET, "nobody")):
        assert (await post.post(mail(), secret, account)).status_code == 401
    assert await post.ledger() == before


async def test_mail_for_nobody_here_is_refused(post: Post) -> None:
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await post.smtp(mail(), "nobody@example.test")
    assert refused.value.recipients[0].code == 550
    _, answer = await post.smtp(mail(Message_ID="<t@x>"), "Support+token@Example.test", SUPPORT)
    assert (await post.outcome(answer.split()[-1]))["outcome"] == "opened"
    _, answer = await post.smtp(mail(Message_ID="<q@x>"), '"support"@Example.test')
    assert (await post.outcome(answer.split()[-1]))["outcome"] == "opened"


async def test_mail_of_banned_sender_or_network_is_refused(
    post: Post,
) -> None:
    async def ban(whom: str) -> None:
        answer = await post.http.put(f"/v1/bans/{whom}", headers=post.boss)
        assert answer.status_code == 201

    await ban("Iryna@Example.test")
    _, answer = await post.smtp(mail(Message_ID="<b@x>"))
    told = await post.outcome(answer.split()[-1])
    assert (told["outcome"], told["reason"]) == ("rejected", "banned")
    before = await post.ledger()

    await ban("127.0.0.0/8")
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await post.smtp(mail(From="ann@example.test"))
    assert refused.value.recipients[0].code == 550
    assert await post.ledger() == before


async def test_a_large_mail_is_one_delivery(post: Post) -> None:
    big = mail("z" * 60 + "\r\n" + ("я" * 40 + "\r\n") * 20_000, Message_ID="<big@x>")
    assert len(big) > 1_500_000
    small = [mail(f"{n}", Message_ID=f"<{n}@x>", From=f"c{n}@x.test") for n in range(20)]

    first, *others = await asyncio.gather(post.post(big), *map(post.post, small), post.post(big))

    told = [await post.outcome(each.json()["inbound_id"]) for each in (first, *others)]
    words = sorted(each["outcome"] for each in told)
    assert words == ["duplicate"] + ["opened"] * 21
    ledger = await post.ledger()
    assert ledger["balanced"], ledger
    assert ledger["accepted"] == ledger["taken_in"] == 22
    rows = await post.world.sql("ingest", "SELECT max(chunks), count(*) FROM item")
    assert rows == [(-(-len(big) // 200_000), 22)]


async def test_what_is_too_large_is_refused_at_the_door(post: Post) -> None:
    assert (await post.post(b"x" * (25 * 1024 * 1024 + 1))).status_code == 413
    with pytest.raises(aiosmtplib.SMTPException):
        await post.smtp(mail(("x" * 900 + "\r\n") * 30_000))
    assert (await post.ledger())["accepted"] == 0


async def test_bombs_are_parked_quickly_and_hold_up_nobody(post: Post) -> None:
    await post.outcome((await post.post(mail(Message_ID="<0@x>"))).json()["inbound_id"])
    head = b"From: a@x.test\r\n"
    bombs = [
        head + b"Subject: " + b" =?utf-8?q?=41?=" * 20_000 + b"\r\n\r\nx",
        head + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\n" * 300_000,
        head + b"To: " + b"a@x.test, " * 100_000 + b"\r\n\r\nx",
        head + b"\r\n" * 12_000_000,
    ]
    began = time.monotonic()
    accepted = [(await post.post(bomb)).json()["inbound_id"] for bomb in bombs]
    good = await post.post(mail("good", Message_ID="<1@x>"))

    for inbound_id in accepted:
        told = await post.outcome(inbound_id)
        assert told["outcome"] == "parked"
        assert "the mail" in told["reason"]
    assert time.monotonic() - began < 5 * len(bombs)
    assert (await post.outcome(good.json()["inbound_id"]))["outcome"] == "opened"
    assert (await post.ledger())["balanced"]
    items = (await post.http.get("/v1/parked", headers=post.boss)).json()["items"]
    assert len(items) == len(bombs)


async def test_nobody_is_who_sends_without_an_address(post: Post) -> None:
    await post.outcome(await post.returned(mail(Message_ID="<1@x>"), SUPPORT))

    [opened] = await post.said("request_opened")
    assert opened["message"]["no_auto_response"] == "null return-path"


async def test_what_comes_faster_than_people_write_is_parked(post: Post) -> None:
    mails = [mail(f"{n}", Message_ID=f"<{n}@x>") for n in range(23)]
    other = mail("in time", From="petro@example.test")

    accepted = await asyncio.gather(*map(post.post, [*mails, other]))

    told = [await post.outcome(each.json()["inbound_id"]) for each in accepted]
    words = sorted(each["outcome"] for each in told)
    assert words == ["opened"] * 21 + ["parked"] * 3
    assert told[-1]["outcome"] == "opened"
    [reason] = {each["reason"] for each in told if each["outcome"] == "parked"}
    assert "more than 20 mails from one address in 60 s" in reason
    assert (await post.ledger())["balanced"]

    # Whoever has looked may let one in.
    [one, *_] = (await post.http.get("/v1/parked", headers=post.boss)).json()["items"]
    again = await post.http.post(f"/v1/parked/{one['id']}/redrive", headers=post.boss)
    assert again.status_code < 300, again.text

    async def opened() -> bool:
        answer = await post.http.get(f"/v1/inbound/{one['key']}", headers=post.boss)
        return bool(answer.json()["outcome"] == "opened")

    await eventually(opened)
    assert (await post.ledger())["balanced"]


@pytest.mark.parametrize(
    "post", [ACCOUNT + ", authserv: mx.desk.test, per_sender: 2/min"], indirect=True
)
async def test_forged_mails_keep_out_nobody(post: Post) -> None:
    failed, passed = (
        f"Authentication-Results: mx.desk.test; dmarc={word}\r\n".encode()
        for word in ("fail", "pass")
    )

    async def outcomes(head: bytes, text: str) -> list[str]:
        mails = [head + mail(f"{text} {n}") for n in range(3)]
        accepted = [(await post.post(each)).json()["inbound_id"] for each in mails]
        return sorted([(await post.outcome(each))["outcome"] for each in accepted])

    assert await outcomes(failed, "forged") == ["opened", "opened", "parked"]
    assert await outcomes(passed, "mine") == ["opened", "opened", "parked"]


async def test_an_answer_to_our_reply_is_appended(post: Post) -> None:
    opened = await post.outcome((await post.post(mail(Message_ID="<1@x>"))).json()["inbound_id"])
    reply = uuid4()
    contact = Contact(id=uuid4(), address="iryna@example.test")
    sent = ReplySent(
        time=NOW,
        request_id=UUID(opened["request_id"]),
        message=Message(id=reply, text="On its way", sent_at=NOW),
        by="anna",
        channel="email",
        account="main",
        contact=contact,
    )
    async with Teller(post.world) as teller:
        await teller.tell(sent)

    async def known() -> list[Any]:
        return await post.world.sql("ingest", "SELECT 1 FROM named WHERE kind = 'issued'")

    await eventually(known)
    away = mail("away", In_Reply_To=f"<{reply}@example.test>", Auto_Submitted="auto-replied")
    thanks = mail("thanks", Message_ID="<2@x>", In_Reply_To=f"<{reply}@example.test>")
    desk = mail("to Lviv", In_Reply_To=f"<{reply}@example.test>", Precedence="bulk")
    noted = await post.outcome((await post.post(away)).json()["inbound_id"])
    heard = await post.outcome((await post.post(desk)).json()["inbound_id"])
    appended = await post.outcome((await post.post(thanks)).json()["inbound_id"])

    assert (noted["outcome"], noted["request_id"]) == ("noted", opened["request_id"])
    assert (appended["outcome"], appended["threaded_by"]) == ("appended", "our_message_id")
    assert appended["request_id"] == opened["request_id"]
    assert (heard["outcome"], heard["request_id"]) == ("appended", opened["request_id"])
    told = [
        (each["message"]["text"], each["message"]["automatic"])
        for each in await post.said("message_received")
    ]
    assert told == [("to Lviv", "precedence"), ("thanks", None)]

    # A server gives it back to the address it came from, which says which message it was.
    bounce = SERVERS["postfix"]("<unknown@x>", "failed", "5.1.1")
    back = await post.outcome(await post.returned(bounce, tagged(reply, "bounce")))
    assert (back["outcome"], back["request_id"]) == ("noted", opened["request_id"])
    assert back["reason"] == "bounced: 5.1.1 (no such mailbox)"
    [reported] = await post.said("delivery_reported")
    assert (reported["message_id"], reported["state"]) == (str(reply), "failed")
    assert (reported["reason"], reported["permanent"]) == (back["reason"], True)
    assert (await post.ledger())["balanced"]


async def test_a_disagreement_is_told_to_everybody(post: Post) -> None:
    first, second = mail("a", Message_ID="<1@x>"), mail("b", Message_ID="<2@x>")
    [one, other] = [
        await post.outcome((await post.post(each)).json()["inbound_id"]) for each in (first, second)
    ]
    talk = UUID(conversation_key("email", "main", sha256(first).hexdigest()))
    torn = mail("?", Message_ID="<3@x>", To=tagged(talk, "reply"), In_Reply_To="<2@x>")

    told = await post.outcome((await post.post(torn)).json()["inbound_id"])

    assert one["request_id"] != other["request_id"]
    assert (told["outcome"], told["request_id"]) == ("appended", one["request_id"])
    assert (told["threaded_by"], told["reason"]) == ("reply_address", CONFLICTING_REPLY_ADDRESS)
    [received] = await post.said("message_received")
    assert (received["threaded_by"], received["message"]["flags"]) == (
        "reply_address",
        [CONFLICTING_REPLY_ADDRESS],
    )


# ---------------------------------------------------------------------- the mailroom


async def test_the_mailroom_outlives_its_processes() -> None:
    room = ParserPool()
    raw = RawDelivery("email", "main", "i", mail(), NOW, "sha")
    try:
        [item] = await room.read(raw)
        assert item.text == "hello"
        [desk] = room._free
        os.kill(desk._process.pid, signal.SIGKILL)
        [item] = await room.read(raw)
        assert item.text == "hello"
    finally:
        await room.close()


async def test_mail_parser_has_no_files_network_or_environment() -> None:
    room = ParserPool()
    try:
        await room.read(RawDelivery("email", "main", "i", mail(), NOW, "sha"))
        [desk] = room._free
        pid = desk._process.pid
        here = Path(f"/proc/{pid}")
        told = (here / "limits").read_text()
        assert (here / "environ").read_bytes() == b""
        assert len([*(here / "fd").iterdir()]) == 3
        rows = {line[:26].strip(): line[26:].split() for line in told.splitlines()[1:]}
        assert rows["Max open files"][:2] == ["3", "3"]
        assert rows["Max address space"][:2] == [str(256 * 1024 * 1024)] * 2
        assert rows["Max processes"][:2] == ["0", "0"]
        assert int(rows["Max cpu time"][0]) <= 10
    finally:
        await room.close()


async def test_time_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.channels.email.parser_pool.PARSE_TIMEOUT_S", 0.0)
    room = ParserPool()
    try:
        with pytest.raises(Refused, match="too long"):
            await room.read(RawDelivery("email", "main", "i", mail(), NOW, "sha"))
    finally:
        await room.close()
