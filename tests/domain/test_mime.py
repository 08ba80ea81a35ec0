"""Mails say what we say: no stranger's words become a header, an address or a body of theirs."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import default
from email.utils import parseaddr

import pytest
from forging import HOSTILE, headers_of
from hypothesis import given
from hypothesis import strategies as st

from notify.email.compose import MAX_PLAIN_CHARS, CannotCompose, compose, is_address
from notify.email.threads import ReplyHeaders
from notify.transport.http_post import Account

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
US, IRYNA = "support@example.test", "iryna@example.test"


def written(subject: str, text: str = "text", **who: str) -> bytes:
    account = Account("", "", address=US, name=who.get("name"))
    letter = ReplyHeaders(subject, (f"<{who.get('id', '1')}@x>",), automatic=False)
    return compose(account, IRYNA, "<own@x>", letter, text, NOW, US)


def read(value: str) -> str:
    return str(make_header(decode_header(value)))


@pytest.mark.parametrize("line", HOSTILE)
def test_nothing_hostile_becomes_a_header_or_a_body(line: str) -> None:
    raw = written(line, name=line, id=line)
    told = headers_of(raw)

    assert told.keys() <= {
        "message-id", "in-reply-to", "references", "from", "to", "subject", "date", "content-type",
        "content-transfer-encoding", "mime-version",
    }  # fmt: skip
    assert raw.partition(b"\r\n\r\n")[2] == b"text\r\n"
    assert "=?" not in read(told["subject"])
    assert "=?" not in read(told["from"])
    assert "=?" not in told.get("references", "")
    assert told["from"].endswith(f"<{US}>")
    [author] = message_from_bytes(raw, policy=default)["From"].addresses
    assert author.addr_spec == US


@given(st.text(), st.text(), st.text())
def test_whatever_is_written_is_one_mail(subject: str, name: str, id: str) -> None:
    told = headers_of(written(subject, name=name, id=id))
    line = "".join(c if c.isprintable() else " " for c in subject)

    assert (told["to"], told["content-type"]) == (IRYNA, 'text/plain; charset="utf-8"')
    if line.split():
        assert read(told["subject"]).removeprefix("Re: ").replace(" ", "") == (
            "".join(line.split()).removeprefix("Re:").replace(" ", "")
        )


@pytest.mark.parametrize("subject", ["Order 7", "Замовлення 7", "x" * MAX_PLAIN_CHARS, "Так " * 40])
def test_what_is_meant_arrives(subject: str) -> None:
    told = headers_of(written(subject, name=f'"{subject}" \\ Co'))
    name, address = parseaddr(told["from"])

    assert read(told["subject"]) == f"Re: {subject.strip()}"
    assert (read(name), address) == (f'"{subject}" \\ Co', US)


@pytest.mark.parametrize("address", [IRYNA, "a.b+c=d@x-y.test", "o'hara@x.test", '"a,b"@x.test'])
def test_addresses_people_have_are_addresses(address: str) -> None:
    assert is_address(address)


def test_what_is_no_mail_is_not_written() -> None:
    account, letter = Account("", "", address=US), ReplyHeaders("x", (), automatic=False)
    for to, own, text in [
        ("a@[x", "<own@x>", "text"),
        ("=?utf-8?q?a=0D=0ABcc:_b?=@x.com", "<own@x>", "text"),
        (IRYNA, "<own@x>\r\nBcc: b", "text"),
        (IRYNA, "<own@x>", "\ud800"),
    ]:
        with pytest.raises(CannotCompose):
            compose(account, to, own, letter, text, NOW, US)
