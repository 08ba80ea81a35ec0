"""The custom channel: what integrators send, as items; what their receivers answer, as outcomes."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from ingest.channels import registry
from ingest.domain.items import InboundItem, Person, RawDelivery, Unreadable
from notify.delivery.queue import ClaimedMessage
from notify.domain.outcomes import Outcome, Refused, Retry, Sent
from notify.transport.custom import body_of, response_outcome, retry_after
from notify.transport.http_client import HttpResponse
from trunkline_contracts.parts import Attachment

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
WHOLE = {
    "id": "m-1",
    "text": "Де моє замовлення?",
    "contact": {
        "id": "c-7",
        "name": "Iryna",
        "email": "i@example.test",
        "phone": "+380441234567",
        "language": "uk",
    },
    "conversation": "order 17",
    "sent_at": "2026-03-02T08:59:58Z",
    "attachments": [
        {
            "url": "https://acme.test/17.png",
            "name": "17.png",
            "content_type": "image/png",
            "size": 9,
        }
    ],
}


def read(body: Any) -> InboundItem:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    (item,) = registry.read(RawDelivery("custom", "acme", "0", data, NOW))
    return item


def test_a_whole_message() -> None:
    item = read(WHOLE)

    assert item == InboundItem(
        "message",
        "m-1",
        item.digest,
        conversation="order 17",
        person=Person("c-7", "Iryna", "uk", "i@example.test", "+380441234567"),
        text="Де моє замовлення?",
        sent_at=datetime(2026, 3, 2, 8, 59, 58, tzinfo=UTC),
        platform_id="m-1",
        attachments=(
            Attachment(
                name="17.png", content_type="image/png", size=9, url="https://acme.test/17.png"
            ),
        ),
    )


def test_the_least_message_is_in_its_contact_s_own_conversation() -> None:
    item = read({"id": 5, "text": "hi", "contact": {"id": 7}, "unknown": True})

    assert (item.external_id, item.conversation, item.sent_at) == ("5", "7", NOW)
    assert item.person == Person("7")


def test_the_order_of_keys_says_nothing_and_a_value_does() -> None:
    turned = dict(reversed(WHOLE.items()))

    assert read(turned).digest == read(WHOLE).digest
    assert read({**WHOLE, "text": "else"}).digest != read(WHOLE).digest
    assert read(WHOLE).reused == "new"


def test_nobody_writes_in_the_future() -> None:
    assert read({**WHOLE, "sent_at": "2099-01-01T00:00:00Z"}).sent_at == NOW


def test_what_no_database_keeps_is_replaced() -> None:
    item = read({"id": "a\0b", "text": "x\0y", "contact": {"id": "c\0"}})

    assert (item.external_id, item.text, item.conversation) == ("a�b", "x�y", "c�")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": None}, "id"),
        ({"id": ""}, "id"),
        ({"id": "x" * 256}, "id"),
        ({"text": " "}, "text"),
        ({"text": 5.5}, None),
        ({"contact": {}}, "contact.id"),
        ({"contact": "c-7"}, "contact"),
        ({"sent_at": "yesterday"}, "sent_at"),
        ({"sent_at": "2026-03-02T08:59:58"}, "sent_at"),
        ({"sent_at": "0001-01-01T00:00:00+05:00"}, "sent_at"),
        ({"attachments": [{"url": "file:///etc/passwd"}]}, "attachments.0.url"),
        ({"attachments": [{}] * 51}, "attachments"),
    ],
)
def test_what_cannot_be_taken_is_named(change: dict[str, Any], complaint: str | None) -> None:
    if complaint is None:
        assert read({**WHOLE, **change}).text == "5.5"
        return
    with pytest.raises(Unreadable, match=f"^{complaint}:"):
        read({**WHOLE, **change})


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"id":"1"', b'{"id":"\\ud800"}'])
def test_what_is_no_message_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read(body)


# ------------------------------------------------------------------ the way out


@pytest.mark.parametrize(
    ("answered", "outcome"),
    [
        (HttpResponse(200, b'{"id": "x-1"}'), Sent("x-1")),
        (HttpResponse(202, b'{"id": 17}'), Sent("17")),
        (HttpResponse(200, rb'{"id": "a\u0000b\r\n"}'), Sent("a\ufffdb\ufffd\ufffd")),
        (HttpResponse(200, b'{"id": "' + b"x" * 999 + b'"}'), Sent("x" * 255)),
        (HttpResponse(200, b'{"id": 1e999}'), Sent()),
        (HttpResponse(204, b""), Sent()),
        (HttpResponse(299, b"<html>"), Sent()),
        (HttpResponse(200, b"[1]"), Sent()),
        (HttpResponse(301, b""), Retry("answered 301")),
        (HttpResponse(308, b""), Retry("answered 308")),
        (HttpResponse(400, b""), Retry("answered 400")),
        (HttpResponse(404, b""), Retry("answered 404")),
        (HttpResponse(410, b""), Refused("the receiver is gone (410)")),
        (HttpResponse(429, b""), Retry("answered 429")),
        (
            HttpResponse(429, b"", {"retry-after": "7"}),
            Retry("answered 429", 7.0, account_suspended=True),
        ),
        (HttpResponse(500, b"", {"retry-after": "7"}), Retry("answered 500", 7.0)),
        (
            HttpResponse(503, b"", {"retry-after": "9" * 8}),
            Retry("answered 503", 3600, account_suspended=True),
        ),
        (HttpResponse(504, b"", {"retry-after": "soon"}), Retry("answered 504")),
        (HttpResponse(404, b"", {"retry-after": "7"}), Retry("answered 404")),
    ],
)
def test_what_an_answer_means(answered: HttpResponse, outcome: Outcome) -> None:
    assert response_outcome(answered, NOW) == outcome


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("-1", None),
        ("1e9", None),
        ("Mon, 02 Mar 2026 09:00:30 GMT", 30.0),
        ("Mon, 02 Mar 2026 08:00:00 GMT", 0.0),
        ("Mon, 02 Mar 2099 08:00:00 GMT", 3600.0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 02 Mar 2026 09:00:00 +99999999999999", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 3600.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("Mon,,,", None),
        ("\x00", None),
    ],
)
def test_a_wish_to_wait(header: str | None, wait: float | None) -> None:
    assert retry_after(503, header, NOW) == wait


def test_every_attempt_has_the_same_bytes() -> None:
    id, request, lease = (UUID(int=n) for n in (1, 2, 3))
    first, again = (
        ClaimedMessage(
            id, request, "custom", "acme", "order 17", "c-7", "hi", n, n, False, None, lease
        )
        for n in (1, 2)
    )

    assert body_of(first) == body_of(again)
    assert json.loads(body_of(first)) == {
        "id": str(id),
        "text": "hi",
        "conversation": "order 17",
        "contact": {"id": "c-7"},
        "request_id": str(request),
    }
