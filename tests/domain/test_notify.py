"""Who is told what, what a platform's answer means, and what follows from it."""

import json
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid5

import pytest

from notify.delivery.queue import ClaimedMessage
from notify.domain.notifications import notifications
from notify.domain.outcomes import MAX_WAIT_S, Outcome, Refused, Retry, Sent, Unknown
from notify.domain.recipients import Group
from notify.domain.request import Request
from notify.domain.retry import GIVE_UP_AFTER_S, NextStep, next_step
from notify.transport.channels import initial_state, telegram, telegram_outcome
from notify.transport.egress_policy import EgressPolicy
from notify.transport.http_client import HttpClient, HttpResponse
from notify.transport.http_post import Account, Transport
from trunkline_contracts import (
    NAMESPACE,
    AssigneeChanged,
    Closed,
    Contact,
    Fact,
    Message,
    MessageAdded,
    NoteAdded,
    Opened,
    ReplySent,
    StatusChanged,
    TargetBreached,
    TargetWarned,
    WatcherAdded,
)

T0 = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
ID = uuid5(NAMESPACE, "a request")
OLHA = Contact(id=uuid5(NAMESPACE, "olha"), name="Olha", address="77")


def request(assignee: str | None = "anna", watchers: tuple[str, ...] = ()) -> Request:
    return Request(ID, "chat", "billing", 1, assignee, list(watchers))


def fact(kind: type[Fact], **data: Any) -> Fact:
    return kind(time=T0, request_id=ID, sequence=2, id=UUID(int=7), **data)


def message(text: str = "my card 4444") -> Message:
    return Message(id=uuid5(NAMESPACE, text), text=text, sent_at=T0)


def told(what: Fact, who: Request) -> list[tuple[str, str]]:
    return [(notice.recipient, notice.kind) for notice in notifications(what, who)]


def test_reassignment_notifies_both_assignees_and_watchers() -> None:
    change = fact(AssigneeChanged, from_="anna", to="olena", mode="transfer", epoch=2)

    assert told(change, request("anna", ("bohdan",))) == [
        ("olena", "assigned"),
        ("anna", "unassigned"),
        ("bohdan", "reassigned"),
    ]


def test_claim_does_not_notify_the_claimer() -> None:
    assert told(fact(AssigneeChanged, to="anna", mode="claim", epoch=1), request(None)) == []
    assert told(fact(AssigneeChanged, to="anna", mode="auto", epoch=1), request(None)) == [
        ("anna", "assigned")
    ]


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (fact(MessageAdded, message=message()), "message_added"),
        (fact(NoteAdded, note="secret", by="olena"), "note_added"),
        (fact(StatusChanged, from_="new", to="open", by="olena"), "status_changed"),
        (fact(Closed, resolution="x", by="operator", operator="olena", status="closed"), "closed"),
        (fact(TargetWarned, clock="FRT", fraction=0.8, due_at=T0), "warned"),
        (fact(TargetBreached, clock="FRT", due_at=T0, noticed_at=T0), "breached"),
    ],
)
def test_change_notifies_assignee_and_watchers(what: Fact, kind: str) -> None:
    assert told(what, request("anna", ("bohdan",))) == [("anna", kind), ("bohdan", kind)]


def test_breach_without_assignee_concerns_the_group() -> None:
    breached = fact(TargetBreached, clock="FRT", due_at=T0, noticed_at=T0)
    group = Group("first-line", ("anna", "bohdan"))
    told = notifications(breached, request(None, ("bohdan", "olena")), group)

    assert [(notice.recipient, notice.group) for notice in told] == [
        ("bohdan", None), ("olena", None), ("anna", "first-line"),
    ]  # fmt: skip


def test_assignee_who_watches_is_notified_once() -> None:
    assert told(fact(MessageAdded, message=message()), request("anna", ("anna",))) == [
        ("anna", "message_added")
    ]


def test_change_does_not_notify_its_author() -> None:
    note = fact(NoteAdded, note="x", by="anna")
    closed = fact(Closed, resolution="x", by="operator", operator="anna", status="closed")

    assert told(note, request("anna", ("bohdan",))) == [("bohdan", "note_added")]
    assert told(closed, request("anna")) == []


def test_new_watcher_is_notified_unless_self_added() -> None:
    assert told(fact(WatcherAdded, watcher="bohdan", by="anna"), request()) == [
        ("bohdan", "watching")
    ]
    assert told(fact(WatcherAdded, watcher="bohdan", by="bohdan"), request()) == []


def test_notification_has_stable_id_and_no_message_text() -> None:
    what = fact(MessageAdded, message=message("my card 4444"))
    [once], [twice] = notifications(what, request()), notifications(what, request())

    assert once.id == twice.id
    assert "4444" not in once.text
    assert "Olha" not in once.text


def test_sentences_name_existing_fields() -> None:
    from notify.domain.recipients import SENTENCES

    for kind, (_, sentence) in SENTENCES.items():
        names = {name for name in kind.model_fields if "{" + name in sentence}
        assert sentence.count("{") == len(names), kind


def test_request_applies_its_facts() -> None:
    from notify.domain.request import new_request

    first = fact(
        Opened, request_type="chat", channel="telegram", account="main", contact=OLHA,
        topic="billing", priority="medium", status="new", message=message(),
    )  # fmt: skip
    assert isinstance(first, Opened)
    seen = new_request(first)
    seen.apply(fact(AssigneeChanged, to="anna", mode="auto", epoch=1))
    seen.apply(fact(WatcherAdded, watcher="bohdan", by="anna"))
    seen.apply(fact(ReplySent, message=message(), by="anna", channel="telegram", account="main",
                   contact=OLHA))  # fmt: skip
    seen.apply(fact(Closed, resolution="x", by="operator", status="closed"))

    assert (seen.assignee, seen.watchers, seen.closed) == ("anna", ["bohdan"], True)


def answer(**body: Any) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, answer(ok=True, result={"message_id": 41}), Sent("41")),
        (200, answer(ok=True, result={}), Unknown("taken, but the answer names no message")),
        (200, b"<html>", Unknown("the answer could not be understood")),
        (200, b"[" * 100_000, Unknown("the answer could not be understood")),
        (200, answer(ok=False, error_code=403), Refused("refused (403)")),
        (403, answer(ok=False, error_code=403), Refused("refused (403)")),
        (400, answer(ok=False, description="chat not found"), Refused("refused (400)")),
        (400, answer(ok=False, parameters={"migrate_to_chat_id": -100}),
         Retry("the chat has moved", 0.0, chat="-100")),
        (400, b'{"ok": false, "parameters": {"migrate_to_chat_id": ' + b"9" * 4000 + b"}}",
         Refused("refused (400)")),
        (400, answer(ok=False, parameters={"migrate_to_chat_id": True}), Refused("refused (400)")),
        (200, answer(ok=True, result={"message_id": 2**63}),
         Unknown("taken, but the answer names no message")),
        (200, answer(ok=False, error_code=10**9), Unknown("the answer could not be understood")),
        (429, answer(ok=False, parameters={"retry_after": 3}),
         Retry("too many requests", 3.0, account_suspended=True)),
        (429, answer(ok=False, parameters={"retry_after": 10**6}),
         Retry("too many requests", MAX_WAIT_S, account_suspended=True)),
        (429, answer(ok=False, parameters={"retry_after": -1}), Retry("too many requests")),
        (429, answer(ok=False, parameters={"retry_after": 1e9}), Retry("too many requests")),
        (401, b"", Retry("credential or address refused (401)", 60.0, account_suspended=True)),
        (302, b"", Retry("credential or address refused (302)", 60.0, account_suspended=True)),
        (500, b"", Retry("answered 500")),
        (502, b"", Unknown("a gateway answered 502", possibly_accepted=False)),
    ],
)  # fmt: skip
def test_telegram_response_decides_the_outcome(status: int, body: bytes, outcome: Outcome) -> None:
    assert telegram_outcome(status, body) == outcome


async def sent(chat: str, status: int, body: bytes) -> tuple[dict[str, Any], Outcome]:
    """Send into a conversation; gives what the platform was asked, and what came of it."""
    asked: list[dict[str, Any]] = []

    async def platform(_: Any, __: Any, ___: str, told: bytes, ____: Any) -> HttpResponse:
        asked.append(json.loads(told))
        return HttpResponse(status, body)

    attempt = ClaimedMessage(
        message_id=ID, request_id=ID, channel="telegram", account="main", chat=chat,
        address="7", text="yes", attempts=1, age=0, abandoned=False, traceparent=None,
        lease=ID,
    )  # fmt: skip
    ways = Transport(HttpClient(), EgressPolicy())
    with patch("notify.transport.channels.post", platform):
        outcome = await telegram(ways, Account("https://api.example.test", "t"), attempt)
    return asked[0], outcome


@pytest.mark.parametrize(
    ("chat", "where"),
    [
        ("7", {"chat_id": 7}), ("@shop", {"chat_id": "@shop"}),
        ("7:business:b", {"chat_id": 7, "business_connection_id": "b"}),
        ("-100200:topic:44", {"chat_id": -100200, "message_thread_id": 44}),
        ("-100300:direct:7", {"chat_id": -100300, "direct_messages_topic_id": 7}),
        ("7:business:b:topic:3",
         {"chat_id": 7, "business_connection_id": "b", "message_thread_id": 3}),
    ],
)  # fmt: skip
async def test_telegram_reply_keeps_topic_and_business_connection(
    chat: str, where: dict[str, Any]
) -> None:
    taken = answer(ok=True, result={"message_id": 41})

    assert await sent(chat, 200, taken) == ({**where, "text": "yes"}, Sent("41"))


async def test_moved_chat_keeps_its_topic() -> None:
    moved = answer(ok=False, parameters={"migrate_to_chat_id": -100900})
    _, outcome = await sent("-100200:topic:44", 400, moved)

    assert outcome == Retry("the chat has moved", 0.0, chat="-100900:topic:44")


def test_unknown_outcome_is_resent_only_by_policy() -> None:
    assert next_step(Unknown("?"), 9, 5, resend=True) == NextStep(
        "unknown", 1.0, reason="?", possible_duplicate=True
    )
    assert next_step(Unknown("?"), 1, 5, resend=False) == NextStep("unknown", None, reason="?")


def test_unknown_outcome_fails_after_three_copies() -> None:
    steps = [next_step(Unknown("?"), 9, 5, resend=True, possible_duplicates=n) for n in range(4)]

    assert [step.state for step in steps] == ["unknown", "unknown", "failed", "failed"]
    assert [step.delay for step in steps] == [1.0, 60.0, None, None]
    assert steps[2].reason == "nobody can say whether it arrived: ?"
    assert next_step(Unknown("?"), 1, GIVE_UP_AFTER_S + 1, resend=True).state == "failed"
    assert next_step(Unknown("?"), 9, 5, resend=False, possible_duplicates=9) == NextStep(
        "unknown", reason="?"
    )


def test_gateway_error_is_retried_without_limit_of_copies() -> None:
    gateway = telegram_outcome(502, b"")
    step = next_step(gateway, 3, 5, resend=True, possible_duplicates=9)

    assert (step.state, step.delay, step.possible_duplicate) == ("unknown", 4.0, False)


def test_platform_text_is_stored_printable() -> None:
    told = "a\x00b\ud800\n" + "x" * 999
    plain = "a\ufffdb\ufffd\ufffd" + "x" * 250

    assert next_step(Sent(told), 1, 5, resend=True).platform_id == plain
    for outcome in (Refused(told), Retry(told), Unknown(told)):
        assert next_step(outcome, 1, 5, resend=True).reason == plain
    assert next_step(Retry("moved", chat="1\x00"), 1, 5, resend=True).chat is None
    assert next_step(Retry("moved", chat="-17"), 1, 5, resend=True).chat == "-17"


def test_backoff_doubles_up_to_five_minutes() -> None:
    assert next_step(Retry("away"), 3, 5, resend=True).delay == 4.0
    assert next_step(Retry("away", 7.0), 3, 5, resend=True).delay == 7.0
    assert next_step(Retry("away"), 99, 5, resend=True).delay == 300.0
    assert next_step(Retry("away"), 99, GIVE_UP_AFTER_S + 1, resend=True) == NextStep(
        "failed", reason="given up: away"
    )


def test_channel_decides_the_initial_state() -> None:
    assert initial_state("telegram") == ("intended", None)
    assert initial_state("api")[0] == "sent"
    assert initial_state("telepathy")[0] == "suppressed"
