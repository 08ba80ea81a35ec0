"""Answers leave by mail: threaded, under one id, and never both refused and forgotten."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from forging import HOSTILE, headers_of
from postoffice import free_port, open_office
from telling import Teller
from world import EXAMPLE

from chassis.testing import eventually, running
from notify.app import make
from notify.delivery.queue import ClaimedMessage
from notify.domain.outcomes import Refused, Retry, Sent, Unknown
from notify.email import acknowledgements, compose
from notify.email.threads import ReplyHeaders
from notify.settings import Settings
from notify.transport import smtp
from notify.transport.egress_policy import EgressPolicy
from notify.transport.http_client import HttpClient
from notify.transport.http_post import Account, Transport
from trunkline.sink import server as sink
from trunkline_contracts import Contact, Message, MessageAdded, Opened, ReplySent
from trunkline_contracts.ids import acknowledgement_id, contact_id, mail_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import World

    from trunkline.sink.server import SinkState

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
WAYS = Transport(HttpClient(), EgressPolicy())
SUPPORT = "support@example.test"
IRYNA = "iryna@example.test"
IDS = ("<1@mail.example.test>", "<2@mail.example.test>")


@asynccontextmanager
async def mailbox() -> AsyncGenerator[tuple[SinkState, str]]:
    """The sink's SMTP side; gives what it remembers and where it is."""
    port = free_port()
    app = sink.build(smtp=("127.0.0.1", port))
    async with app.router.lifespan_context(app):
        yield app.state.memory, f"smtp://127.0.0.1:{port}"


def attempt(
    text: str = "On its way.", letter: ReplyHeaders | None = None, to: str = IRYNA
) -> ClaimedMessage:
    return ClaimedMessage(
        uuid4(), uuid4(), "email", "main", "c", to, text, 1, 0.0, False, None, uuid4(), letter
    )


async def send(place: str, what: ClaimedMessage) -> Any:
    return await smtp.email(WAYS, Account(place, "", address=SUPPORT), what)


async def test_mail_has_message_id_and_thread_headers() -> None:
    own = uuid4()
    letter = ReplyHeaders("Де моє замовлення?", (IDS[0], str(own), IDS[1]), automatic=False)
    async with mailbox() as (memory, place):
        what = attempt("Вже їде.\n.\n" + "я" * 2000, letter)
        outcome = await send(place, what)
        again = await send(place, what)

    name = f"<{what.message_id}@example.test>"
    assert outcome == again == Sent(name)
    first, second = memory.sent
    headers = first["headers"]
    assert (first["channel"], first["to"]) == ("email", IRYNA)
    assert first["text"] == "Вже їде.\n.\n" + "я" * 2000
    assert headers["Message-ID"] == second["headers"]["Message-ID"] == name
    assert headers["In-Reply-To"] == IDS[1]
    assert headers["References"].split() == [IDS[0], f"<{own}@example.test>", IDS[1]]
    assert headers["Subject"] == "Re: Де моє замовлення?"
    assert (headers["From"], headers["To"]) == (SUPPORT, IRYNA)
    assert "Auto-Submitted" not in headers


def test_untrusted_text_cannot_add_headers() -> None:
    account = Account("", "", address=SUPPORT, name='Support, "Desk"\r\nBcc: x@evil.test')
    long = "<" + "a" * 200 + "@x>"
    letter = ReplyHeaders(
        "Hi\r\nBcc: x@evil.test\x00", ("<a b@x>", "<x\r\nBcc: y>", long), automatic=True
    )
    raw = compose.compose(account, IRYNA, "<own@x>", letter, "text", NOW, SUPPORT)
    told = message_from_bytes(raw, policy=default)

    assert told["Bcc"] is None
    assert told["Subject"] == "Re: Hi Bcc: x@evil.test"
    assert (told["Precedence"], told["X-Auto-Response-Suppress"]) == ("bulk", "All")
    assert told["In-Reply-To"] == told["References"] == long
    assert told["Auto-Submitted"] == "auto-replied"
    assert f"In-Reply-To: {long}\r\n".encode() in raw
    assert str(told["From"].addresses[0].addr_spec) == SUPPORT


async def test_untrusted_text_cannot_add_smtp_commands() -> None:
    async with open_office() as office:
        for line in HOSTILE:
            account = Account(office.place, "", ("key",), address=SUPPORT, name=line)
            letter = ReplyHeaders(line, (f"<{line}@x>", line, IDS[0]), automatic=True)
            what = replace(attempt("the answer", letter), chat=line)
            assert isinstance(await smtp.email(WAYS, account, what), Sent)

    expected = {
        "message-id", "in-reply-to", "references", "from", "reply-to", "to", "subject", "date",
        "auto-submitted", "precedence", "x-auto-response-suppress", "content-type",
        "content-transfer-encoding", "mime-version",
    }  # fmt: skip
    assert len(office.carried) == len(HOSTILE)
    for carried in office.carried:
        assert headers_of(carried.body).keys() == expected
        assert carried.body.partition(b"\r\n\r\n")[2] == b"the answer\r\n"
        assert carried.mail.get_content_type() == "text/plain"


@pytest.mark.parametrize(
    "to",
    [
        "", "nobody", "a b@x.test", "a@x.test>\r\nRCPT TO:<b@x.test", "я@x", "a@[x",
        "a@[192.0.2.1]",
        "=?utf-8?q?a=0D=0ABcc:_b?=@x.com", "a@=?utf-8?q?x=0D=0ABcc:_b?=", "a@b@x.test",
        '"a"b@x.test', '"a@b"@x.test', '"=?x"@x.test', "a,b@x.test", "a(b)@x.test", "a\nb@x.test",
        "a@x.test, b@x.test", "a:b@x.test;",
    ],
)  # fmt: skip
async def test_invalid_address_is_refused(to: str) -> None:
    assert isinstance(await send("smtp://127.0.0.1:1", attempt(to=to)), Refused)


async def test_smtp_response_decides_the_outcome() -> None:
    assert isinstance(await send(f"smtp://127.0.0.1:{free_port()}", attempt()), Retry)
    async with mailbox() as (memory, place):
        for fault, outcome in (
            (sink.Fault(status=550), Refused("refused (550)")),
            (sink.Fault(status=451), Retry("answered 451")),
        ):
            memory.faults.append(fault)
            assert await send(place, attempt()) == outcome
        assert not memory.sent
        memory.faults.append(sink.Fault(kind="drop", taken=True))
        assert isinstance(await send(place, attempt()), Unknown)
        assert len(memory.sent) == 1


class Stubborn:
    """A mail server that says what it is told to, and never a word to QUIT."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.port = free_port()
        self.open: set[asyncio.StreamWriter] = set()
        self.mails = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        writer.write(b"220 here\r\n")
        try:
            while line := await reader.readline():
                verb = line[:4].decode().strip().upper()
                if verb == "QUIT":
                    continue
                usual = "354 go on" if verb == "DATA" else "250 well"
                writer.write(f"{self.answers.get(verb, usual)}\r\n".encode())
                if verb == "DATA" and verb not in self.answers:
                    await reader.readuntil(b"\r\n.\r\n")
                    self.mails += 1
                    writer.write(f"{self.answers.get('END', '250 taken')}\r\n".encode())
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    async def left_alone(self) -> None:
        """Wait until every connection is closed."""

        async def gone() -> bool:
            return not self.open

        await eventually(gone)


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ({}, None),
        ({"RCPT": "550 nobody"}, Refused("refused (550)", permanent=True)),
        ({"MAIL": "451 later"}, Retry("answered 451")),
        ({"DATA": "554 no"}, Refused("refused (554)")),
        ({"END": "452 full"}, Retry("answered 452")),
    ],
)
async def test_quit_changes_no_outcome_and_connection_is_closed(
    answers: dict[str, str], outcome: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "QUIT_TIMEOUT_S", 0.05)
    stubborn = Stubborn(**answers)
    server = await asyncio.start_server(stubborn.serve, "127.0.0.1", stubborn.port)
    async with server:
        for _ in range(4):
            what = attempt()
            expected = outcome or Sent(f"<{what.message_id}@example.test>")
            assert await send(f"smtp://127.0.0.1:{stubborn.port}", what) == expected
        await stubborn.left_alone()
    assert stubborn.mails == (4 if outcome is None or "END" in answers else 0)


async def test_timeout_is_retried_before_data_and_unknown_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtp, "ATTEMPT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(smtp, "QUIT_TIMEOUT_S", 0.05)
    for silent, kind in (("RCPT", Retry), ("END", Unknown)):
        stubborn = Stubborn(**{silent: "250-it goes on"})
        async with await asyncio.start_server(stubborn.serve, "127.0.0.1", stubborn.port):
            assert isinstance(await send(f"smtp://127.0.0.1:{stubborn.port}", attempt()), kind)
            await stubborn.left_alone()


async def test_mail_that_cannot_be_composed_is_refused() -> None:
    outcome = await send("smtp://127.0.0.1:1", attempt("half a letter: \ud800"))

    assert outcome == Refused("it cannot be written as a mail (CannotCompose)")


async def test_account_without_valid_address_is_suspended() -> None:
    account = Account("smtp://127.0.0.1:1", "", address="support@[x")
    outcome = await smtp.email(WAYS, account, attempt())

    assert isinstance(outcome, Retry)
    assert outcome.account_suspended


def opened(request_id: UUID, who: UUID | None = None, **about: Any) -> Opened:
    return Opened(
        time=NOW,
        request_id=request_id,
        request_type="chat",
        channel="email",
        account="main",
        contact=Contact(id=who or uuid4(), address=IRYNA),
        topic="general",
        priority="medium",
        status="new",
        title="Order",
        message=Message(id=uuid4(), text="Where?", sent_at=NOW, external_id=IDS[0], **about),
        conversation="thread-1",
    )


def reply(request_id: UUID, text: str) -> ReplySent:
    return ReplySent(
        time=NOW,
        request_id=request_id,
        message=Message(id=uuid4(), text=text, sent_at=NOW),
        by="anna",
        channel="email",
        account="main",
        contact=Contact(id=uuid4(), address=IRYNA),
        conversation="thread-1",
    )


async def test_replies_are_threaded_and_in_order(world: World) -> None:
    await world.apply()
    request_id = uuid4()
    first, second = reply(request_id, "one"), reply(request_id, "two")
    more = Message(id=uuid4(), text="And?", sent_at=NOW, external_id=IDS[1])
    async with mailbox() as (memory, place), Teller(world) as teller:
        memory.faults.append(sink.Fault(status=451))
        async with running(make(world.settings("notify", Settings, SINK_SMTP=place))):
            await teller.tell(opened(request_id), first)
            await teller.tell(MessageAdded(time=NOW, request_id=request_id, message=more), second)

            async def both() -> bool:
                return len(memory.sent) == 2

            await eventually(both)
            assert [item["text"] for item in memory.sent] == ["one", "two"]
            headers = [item["headers"] for item in memory.sent]
            ids = [mail_id(each.message.id, SUPPORT) for each in (first, second)]
            assert [each["Message-ID"] for each in headers] == ids
            assert [each["In-Reply-To"] for each in headers] == [*IDS]
            assert headers[1]["References"].split() == [IDS[0], ids[0], IDS[1]]
            assert {each["Subject"] for each in headers} == {"Re: Order"}

            async def told() -> bool:
                rows = await world.sql(
                    "notify",
                    "SELECT body FROM outbox WHERE type = 'trunkline.notify.v1.message_sent'",
                )
                return sorted(i for (body,) in rows for i in ids if i.encode() in bytes(body)) == (
                    sorted(ids)
                )

            await eventually(told)
    await asyncio.sleep(0)


ACKNOWLEDGES = 'smtp: sink, acknowledge: "We have got it.\\nSomebody will answer."'


async def test_opening_mail_is_acknowledged(world: World) -> None:
    await world.apply(EXAMPLE.read_text().replace("smtp: sink", ACKNOWLEDGES))
    iryna = contact_id("email", "main", IRYNA)
    first, again, machine = (
        opened(uuid4(), iryna),
        opened(uuid4(), iryna),
        opened(uuid4(), no_auto_response="auto-submitted"),
    )
    answer = reply(first.request_id, "On its way.")
    elsewhere = answer.contact.model_copy(update={"answer_to": "orders@example.test"})
    answer = answer.model_copy(update={"contact": elsewhere})
    async with open_office() as office, Teller(world) as teller:
        app = make(world.settings("notify", Settings, SINK_SMTP=office.place))
        async with running(app) as http:
            await teller.tell(first, again, machine, answer)

            async def all_told() -> list[Any]:
                rows = await world.sql(
                    "notify",
                    "SELECT type, body FROM outbox WHERE type LIKE %s ORDER BY position",
                    "%.notification_%",
                )
                told = [(name.rpartition(".")[2], json.loads(bytes(body))) for name, body in rows]
                assert len(told) == 3
                assert len(office.carried) == 2
                return told

            told = await eventually(all_told)
            query = f"/v1/deliveries?request_id={first.request_id}"

            async def recorded() -> bool:
                answer = await http.get(query, headers=world.token("supervisor"))
                shown = [each for each in answer.json()["items"] if each["what"] == "message"]
                kinds = [(each["kind"], each["state"]) for each in shown]
                return kinds == [("acknowledgement", "sent"), ("reply", "sent")]

            await eventually(recorded)

    receipt, letter = office.carried
    own = mail_id(acknowledgement_id(first.message.id), SUPPORT)
    assert (receipt.sender, receipt.to) == ("", IRYNA)
    headers = {
        "Message-ID": own, "In-Reply-To": IDS[0], "References": IDS[0], "Subject": "Auto: Order",
        "Auto-Submitted": "auto-replied", "Precedence": "bulk", "X-Auto-Response-Suppress": "All",
    }  # fmt: skip
    assert {name: receipt.mail[name] for name in headers} == headers
    assert receipt.mail.get_payload() == "We have got it.\r\nSomebody will answer.\r\n"
    assert (letter.to, letter.mail["To"]) == ("orders@example.test", "orders@example.test")
    assert letter.mail["In-Reply-To"] == IDS[0]
    assert str(letter.mail["References"]).split() == [IDS[0], own]
    assert letter.mail["Auto-Submitted"] is letter.mail["Precedence"] is None

    by_kind = {(name, body["data"]["request_id"]): body["data"] for name, body in told}
    sent = by_kind["notification_sent", str(first.request_id)]
    assert (sent["recipient"], sent["kind"]) == (str(iryna), "acknowledged")
    suppressed = [
        by_kind["notification_suppressed", str(each.request_id)]["why"] for each in (again, machine)
    ]
    assert suppressed == [acknowledgements.CONTACT_REASON, "auto-submitted"]


async def test_conversation_gets_three_acknowledgements_at_most(world: World) -> None:
    await world.apply(EXAMPLE.read_text().replace("smtp: sink", ACKNOWLEDGES))
    async with (
        open_office() as office,
        Teller(world) as teller,
        running(make(world.settings("notify", Settings, SINK_SMTP=office.place))),
    ):
        for _ in range(4):
            await teller.tell(opened(uuid4()))

        async def enough() -> list[Any]:
            query = "SELECT body FROM outbox WHERE type LIKE %s"
            return await world.sql("notify", query, "%.notification_suppressed")

        [(body,)] = await eventually(enough)
        assert json.loads(bytes(body))["data"]["why"] == acknowledgements.CONVERSATION_REASON

        async def sent() -> bool:
            return len(office.carried) == 3

        await eventually(sent)
