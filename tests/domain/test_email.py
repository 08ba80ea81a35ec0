"""Mails as programs write them: read whole or refused for a reason; threaded by what they name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.adapters import email, mime
from ingest.adapters.item import Item, Raw, Thread, Unreadable
from ingest.adapters.mime import Excessive
from ingest.confined import items_of
from ingest.domain import Arrival, Book
from ingest.rules import Rules
from ingest.threads import key_of, keys_of
from trunkline_contracts import MessageReceived, RequestOpened

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "mails"
RULES = Rules("chat", "general", frozenset({"chat"}), frozenset({"low"}), {"general": {}})


def raw(body: bytes, inbound_id: str = "i-1") -> Raw:
    return Raw("email", "main", inbound_id, body, NOW, sha256(body).hexdigest())


def read(body: bytes | str) -> Item:
    [item] = email.read(raw(body.encode() if isinstance(body, str) else body))
    return item


def mail(text: str = "hello", **headers: str) -> bytes:
    told = {"From": "Iryna <iryna@example.test>", "Subject": "Order", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in told.items()]
    return ("\r\n".join(lines) + f"\r\n\r\n{text}\r\n").encode()


# ---------------------------------------------------------------------- one mail


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.eml")), ids=lambda path: path.stem)
def test_golden_mails(path: Path) -> None:
    body = path.read_bytes()
    told = json.loads(items_of.dump_json(email.read(raw(body)), exclude_defaults=True))
    for item in told:
        assert item.pop("digest") == sha256(body).hexdigest()
        if "conversation" in item:
            assert item.pop("conversation") == sha256(body).hexdigest()
    expected = path.with_suffix(".json")
    assert told == json.loads(expected.read_text()), json.dumps(told, ensure_ascii=False, indent=1)


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        ("utf-8", "Привіт".encode(), "Привіт"),
        ("windows-1251", "Привіт".encode("cp1251"), "Привіт"),
        ("koi8-u", "Привіт".encode("koi8-u"), "Привіт"),
        ("us-ascii", "Привіт".encode(), "Привіт"),
        ("klingon", "Привіт".encode(), "Привіт"),
        ("punycode", b"Hi-", "Hi-"),
        ("hex", b"4142", "4142"),
        ("utf-8", b"caf\xe9", "caf\ufffd"),
        ("", b"\x00a\x07b", "ab"),
    ],
)
def test_no_charset_is_believed(charset: str, data: bytes, text: str) -> None:
    body = b"From: a@x.test\r\nContent-Type: text/plain; charset=%b\r\n\r\n" % charset.encode()
    assert read(body + data).text == text


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("=?utf-8?b?0JfQsNC80L7QstC70LXQvdC90Y8=?= 17", "Замовлення 17"),
        ("=?utf-8?q?=D0=97?= =?utf-8?q?=D0=B0?=", "За"),
        ("=?utf-8?q?=D0?=\r\n =?utf-8?q?=97?=", "З"),
        ("=?iso-8859-1?q?caf=E9?= =?utf-8?q?=C3=A9?=", "caféé"),
        ("=?utf-8?b?!!!?= x", "x"),
        ("=?nonsense?q?a_b?=", "a b"),
        ("a\r\n b\tc", "a b c"),
        ("", None),
    ],
)
def test_headers_are_read_as_they_were_meant(written: str, title: str | None) -> None:
    asked = read(f"From: a@x.test\r\nSubject: {written}\r\n\r\nx").asked
    assert asked is not None
    assert asked.title == title


@pytest.mark.parametrize(
    ("written", "address", "name"),
    [
        ("Iryna <IRYNA@Example.Test>", "iryna@example.test", "Iryna"),
        ("=?utf-8?q?Iryna=2C_Ltd_=3Cx=40evil=3E?= <a@x.test>", "a@x.test", "Iryna, Ltd <x@evil>"),
        ('"Kovalenko, Petro" <p@x.test>', "p@x.test", "Kovalenko, Petro"),
        ("a@x.test (Petro)", "a@x.test", "Petro"),
        ("(" * 3000 + " a@x.test", "a@x.test", None),
        ("<<a@x.test>>", "a@x.test", None),
    ],
)
def test_senders(written: str, address: str, name: str | None) -> None:
    person = read(mail(From=written)).person
    assert person is not None
    assert (person.address, person.name) == (address, name)


def test_a_mail_nobody_wrote_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="nobody"):
        read("Subject: x\r\n\r\nx")
    with pytest.raises(Unreadable, match="empty"):
        read("\r\n")


@pytest.mark.parametrize(
    ("headers", "sign"),
    [
        ({"Auto_Submitted": "auto-replied (vacation)"}, "auto-submitted"),
        ({"Auto_Submitted": "no"}, None),
        ({"Precedence": "bulk"}, "precedence"),
        ({"Precedence": "list"}, None),
        ({"Return_Path": "<>"}, "null return-path"),
        ({"X_Autoreply": "yes"}, "x-autoreply"),
        ({}, None),
    ],
)
def test_what_a_machine_wrote_is_known(headers: dict[str, str], sign: str | None) -> None:
    assert read(mail(**headers)).automatic == sign


def bombs() -> dict[str, bytes]:
    head = b"From: a@x.test\r\n"
    multipart = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    nested = b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n)
        for n in range(2000)
    )
    return {
        "encoded words": head + b"Subject: " + b" =?utf-8?q?=41?=" * 20_000 + b"\r\n\r\nx",
        "a long To": head + b"To: " + b"a@x.test, " * 100_000 + b"\r\n\r\nx",
        "a long header": head + b"Subject: " + b"a" * 9_000 + b"\r\n\r\nx",
        "parameters": head + b"Content-Type: text/plain" + b"; a=b" * 28_000 + b"\r\n\r\nx",
        "many parts": head + multipart + b"--b\r\n\r\n" * 300_000 + b"--b--",
        "parts within parts": head + nested,
        "one boundary for all": head + (multipart + b"--b\r\n") * 2000,
        "mails within mails": head + b"Content-Type: message/rfc822\r\n\r\n" * 2000,
        "many headers": head + b"a: b\r\n" * 10_000 + b"\r\nx",
        "many files": head
        + multipart
        + b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n" * 60
        + b"--b--",
        "too large": head + b"\r\n" + b"x" * (25 * 1024 * 1024),
    }


@pytest.mark.parametrize(("name", "body"), bombs().items(), ids=bombs().keys())
def test_bombs_are_seen_before_they_cost_anything(name: str, body: bytes) -> None:
    with pytest.raises(Excessive):
        read(body)


def test_what_is_read_is_short_enough_to_travel() -> None:
    item = read(mail("я" * 200_000))
    assert len(item.text.encode()) <= email.TEXT
    html = "<p>" + "x" * 300_000
    item = read(mail(html, Content_Type="text/html"))
    assert item.html is None
    assert item.text.startswith("xxx")


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for body in (data, mail() + data, b"From: a@x.test\r\nContent-Type: " + data):
        try:
            items = email.read(raw(body))
        except (Unreadable, Excessive):
            continue
        assert items_of.validate_json(items_of.dump_json(items)) == items


@given(st.text(max_size=500))
@settings(max_examples=200, deadline=None)
def test_markup_gives_text(markup: str) -> None:
    assert isinstance(mime.plain_of(markup), str)


def test_markup_is_read_as_a_person_would() -> None:
    markup = (
        "<html><head><title>t</title><style>a>b{}</style></head><body><p>Hello <b>w</b>orld &amp;"
        " co</p><!-- no > x --><div>Second<br/>third</div><script>if(a<b) x()</script>1 < 2</body>"
    )
    assert mime.plain_of(markup) == "Hello world & co\n\nSecond\nthird\n1 < 2"


# ---------------------------------------------------------------------- threads


def arrival(body: bytes, number: int = 1) -> Arrival:
    return Arrival(f"i-{number}", 0, "email", "main", NOW, read(body), sequence=number)


def book() -> Book:
    return Book(RULES, NOW)


def take(book: Book, *bodies: bytes) -> list[Any]:
    before = len(book.outcomes)
    for number, body in enumerate(bodies, before + 1):
        book.take_in([arrival(body, number)])
    return book.outcomes[before:]


def test_an_answer_to_ours_is_appended_and_says_why() -> None:
    desk = book()
    [first] = take(desk, mail(Message_ID="<1@x>"))
    [talk] = desk.conversations.values()
    reply = uuid4()
    desk.threads.issue("main", reply, talk.key)

    [answer] = take(desk, mail("thanks", Message_ID="<2@x>", In_Reply_To=f"<{reply}@desk.test>"))

    assert (first.word, first.threaded_by) == ("opened", "new")
    assert (answer.word, answer.threaded_by) == ("appended", "our_message_id")
    assert answer.request_id == first.request_id
    [received] = [fact for fact, _ in desk.facts if isinstance(fact, MessageReceived)]
    assert (received.threaded_by, received.message.external_id) == ("our_message_id", "<2@x>")


def test_a_subject_alone_threads_nothing() -> None:
    desk = book()
    first, second = take(
        desk, mail(Message_ID="<1@x>"), mail(Message_ID="<2@x>", Subject="Re: Order")
    )
    assert (first.word, second.word) == ("opened", "opened")
    assert first.request_id != second.request_id


def test_known_messages_and_common_ancestors_thread() -> None:
    desk = book()
    first, second, third = take(
        desk,
        mail(Message_ID="<1@x>", References="<0@elsewhere>"),
        mail(Message_ID="<2@x>", References="<1@x>"),
        mail(Message_ID="<3@x>", References="<0@elsewhere>"),
    )
    assert [second.threaded_by, third.threaded_by] == ["known_message_id", "common_ancestor"]
    assert first.request_id == second.request_id == third.request_id


def test_a_common_ancestor_threads_nobody_else() -> None:
    desk = book()
    first, second = take(
        desk,
        mail(Message_ID="<1@x>", References="<list@elsewhere>"),
        mail(Message_ID="<2@x>", References="<list@elsewhere>", From="other@example.test"),
    )
    assert second.word == "opened"
    assert first.request_id != second.request_id


def test_an_answer_that_came_before_its_question() -> None:
    desk = book()
    answer, question = take(
        desk, mail(Message_ID="<2@x>", In_Reply_To="<1@x>"), mail(Message_ID="<1@x>")
    )
    assert answer.word == "opened"
    assert (question.word, question.threaded_by) == ("appended", "common_ancestor")


def test_contradicting_references_are_flagged() -> None:
    desk = book()
    take(desk, mail(Message_ID="<1@x>"), mail(Message_ID="<2@x>"))
    [torn] = take(desk, mail(Message_ID="<3@x>", In_Reply_To="<2@x>", References="<1@x>"))
    assert torn.word == "appended"
    assert torn.request_id == desk.outcomes[1].request_id
    assert "several conversations" in torn.reason


def test_the_same_mail_is_a_duplicate_and_the_same_id_another_mail() -> None:
    desk = book()
    first, again, other = take(
        desk, mail(Message_ID="<1@x>"), mail(Message_ID="<1@x>"), mail("new", Message_ID="<1@x>")
    )
    assert (again.word, again.request_id) == ("duplicate", first.request_id)
    assert other.word == "opened"
    assert other.request_id != first.request_id
    assert "used before" in other.reason


def test_mails_without_an_id_are_told_apart_by_their_bytes() -> None:
    desk = book()
    first, again, other = take(desk, mail("a"), mail("a"), mail("b"))
    assert [first.word, again.word, other.word] == ["opened", "duplicate", "opened"]


def test_machines_answering_ours_are_noted() -> None:
    desk = book()
    take(desk, mail(Message_ID="<1@x>"))
    [talk] = desk.conversations.values()
    reply = uuid4()
    desk.threads.issue("main", reply, talk.key)
    away = mail(Auto_Submitted="auto-replied", In_Reply_To=f"<{reply}@desk.test>")
    alarm = mail(Auto_Submitted="auto-generated", Message_ID="<9@monitor>")
    report = mail(Content_Type='multipart/report; report-type=delivery-status; boundary="b"')

    noted, opened, bounced = take(desk, away, alarm, report)

    assert (noted.word, noted.request_id) == ("noted", talk.last)
    assert opened.word == "opened"
    assert (bounced.word, bounced.reason) == ("noted", "a report of a machine: delivery-status")


def test_the_title_is_the_subject() -> None:
    desk = book()
    take(desk, mail(Message_ID="<1@x>"))
    [opened] = [fact for fact, _ in desk.facts if isinstance(fact, RequestOpened)]
    assert opened.title == "Order"
    assert opened.contact.address == "iryna@example.test"
    assert opened.message.external_id == "<1@x>"


def test_ours_are_known_whatever_the_domain() -> None:
    id = UUID("0b6cf1a4-58a2-4d0f-a5a2-4a0c13a3a0aa")
    assert key_of("main", f"<{id}@old.test>") == key_of("main", str(id))
    assert key_of("main", "<x@old.test>") != key_of("main", "<x@new.test>")
    assert key_of("main", "<x@old.test>") != key_of("other", "<x@old.test>")
    assert len(keys_of("main", Thread("<a@x>", ("<b@x>",)))) == 2
