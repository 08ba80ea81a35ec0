"""Mails as programs write them: read whole, or refused for a reason."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailing import mail, raw, read

from ingest.channels.email import bodies, message, mime
from ingest.channels.email.mime import Excessive
from ingest.channels.email.parser_worker import items_of
from ingest.domain.items import Unreadable

GOLDEN = Path(__file__).parent / "mails"


# ---------------------------------------------------------------------- one mail


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.eml")), ids=lambda path: path.stem)
def test_golden_mails(path: Path) -> None:
    body = path.read_bytes()
    told = json.loads(items_of.dump_json(message.read(raw(body)), exclude_defaults=True))
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
        ("a(c)@x.test", "a@x.test", None),
        ("<a@ x.test>", "a@x.test", None),
    ],
)
def test_senders(written: str, address: str, name: str | None) -> None:
    person = read(mail(From=written)).person
    assert person is not None
    assert (person.address, person.name) == (address, name)


@pytest.mark.parametrize(
    ("written", "envelope", "address"),
    [
        ("", ("ann@x.test", "support@desk.test"), "ann@x.test"),
        ("From: Iryna\r\n", ("ann@x.test",), "ann@x.test"),
        ("From: <>\r\nReturn-Path: <ann@x.test>\r\n", (), "ann@x.test"),
        ("Sender: Ann <ann@x.test>\r\n", ("petro@example.test",), "ann@x.test"),
        ("Reply-To: ann@x.test\r\n", ("petro@example.test",), "petro@example.test"),
        ("Reply-To: ann@x.test\r\n", ("",), "ann@x.test"),
    ],
)
def test_who_sent_a_mail_is_taken_for_its_author_and_doubted(
    written: str, envelope: tuple[str, ...], address: str
) -> None:
    item = read(f"{written}Subject: x\r\n\r\nx", envelope=envelope)

    assert item.person is not None
    assert item.thread is not None
    assert (item.person.address, item.thread.doubt) == (address, message.NAMELESS)


def test_a_mail_nobody_wrote_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="nobody"):
        read("Subject: x\r\n\r\nx")
    with pytest.raises(Unreadable, match="nobody"):
        read("Subject: x\r\n\r\nx", envelope=("", "support@desk.test"))
    with pytest.raises(Unreadable, match="empty"):
        read("\r\n")


@pytest.mark.parametrize(
    ("headers", "sign"),
    [
        ({"Auto_Submitted": "auto-replied (vacation)"}, "auto-submitted"),
        ({"Auto_Submitted": "no"}, None),
        ({"Auto_Submitted": "No (human)"}, None),
        ({"Auto_Submitted": "(a person) no; x=y"}, None),
        ({"Auto_Submitted": "(a person)"}, None),
        ({"Auto_Submitted": "no-one"}, "auto-submitted"),
        ({"Precedence": "bulk"}, "precedence"),
        ({"Precedence": "list"}, None),
        ({"Return_Path": "<>"}, "null return-path"),
        ({"X_Autoreply": "yes"}, "x-autoreply"),
        ({}, None),
    ],
)
def test_what_a_machine_wrote_is_known(headers: dict[str, str], sign: str | None) -> None:
    assert read(mail(**headers)).automatic == sign


EXCHANGE = {"Auto_Submitted": "auto-generated", "X_Auto_Response_Suppress": "All"}


@pytest.mark.parametrize(
    ("headers", "sign"),
    [
        ({"Auto_Submitted": "Auto-Replied (vacation); owner-email=x"}, "auto-submitted"),
        ({"Auto_Submitted": "(c) auto-replied"}, "auto-submitted"),
        ({"Precedence": "auto_reply"}, "precedence"),
        ({"Precedence": "bulk", "X_Autoreply": "yes"}, "x-autoreply"),
        ({**EXCHANGE, "Return_Path": "<>"}, "auto-submitted"),
        (EXCHANGE, None),
        ({"Auto_Submitted": "no (human)", "Return_Path": "<>"}, None),
        ({"Auto_Submitted": "auto-generated"}, None),
        ({"Auto_Submitted": "auto-notified"}, None),
        ({"Precedence": "bulk"}, None),
        ({"Return_Path": "<>"}, None),
        ({"X_Autoreply": "no"}, None),
        ({}, None),
    ],
)
def test_a_machine_s_own_answers_are_told_from_what_people_send_by_machine(
    headers: dict[str, str], sign: str | None
) -> None:
    assert read(mail(**headers)).auto_reply == sign


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
    assert len(item.text.encode()) <= bodies.TEXT
    html = "<p>" + "x" * 300_000
    item = read(mail(html, Content_Type="text/html"))
    assert item.html is None
    assert item.text.startswith("xxx")


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for body in (data, mail() + data, b"From: a@x.test\r\nContent-Type: " + data):
        try:
            items = message.read(raw(body))
        except (Unreadable, Excessive):
            continue
        assert items_of.validate_json(items_of.dump_json(items)) == items


@given(st.text(max_size=500))
@settings(max_examples=200, deadline=None)
def test_markup_gives_text(markup: str) -> None:
    assert isinstance(mime.plain_of(markup), str)


NO_END_OF_HEAD = {
    "<html><head><meta charset=utf-8><body>Hello": "Hello",
    "<html><head><title>Shop</title><style>p {}</style>Hello": "Hello",
    "<head><title>Shop</title></head><p>Hello</p>": "Hello",
    "<html><head>\n<!--[if mso]><xml>96</xml><![endif]-->\n<body>Hello": "Hello",
    "<p title='>'>Hello</p>": "Hello",
    "<template><p>not</p></template>Hello<script>if (a<b) '</p>'</script>": "Hello",
    "Hello <textarea><p></textarea>": "Hello <p>",
}


@pytest.mark.parametrize("told", NO_END_OF_HEAD)
def test_what_is_shown_is_read_whatever_tags_are_left_out(told: str) -> None:
    assert mime.plain_of(told) == NO_END_OF_HEAD[told]


def test_markup_is_read_as_a_person_would() -> None:
    markup = (
        "<html><head><title>t</title><style>a>b{}</style></head><body><p>Hello <b>w</b>orld &amp;"
        " co</p><!-- no > x --><div>Second<br/>third</div><script>if(a<b) x()</script>1 < 2</body>"
    )
    assert mime.plain_of(markup) == "Hello world & co\n\nSecond\nthird\n1 < 2"
