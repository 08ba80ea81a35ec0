"""Which mails no machine may answer, and when one address writes faster than people do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailing import BOX, NOW, PETRO, book, mail, read, tagged, take
from reporting import SERVERS

from ingest.channels.email import mailbox, message
from ingest.channels.email.sender_rate import Pace
from trunkline_contracts import RequestOpened
from trunkline_contracts.ids import acknowledgement_id

SIGNS = {
    "an answer of a machine": ({"Auto_Submitted": "auto-replied (vacation)"}, "auto-submitted"),
    "a message of a machine": ({"Auto_Submitted": "auto-generated"}, "auto-submitted"),
    "a notice": ({"Auto_Submitted": "auto-notified; owner-email=x"}, "auto-submitted"),
    "what nobody knows yet": ({"Auto_Submitted": "auto-whatever"}, "auto-submitted"),
    "a person, said so": ({"Auto_Submitted": "no"}, None),
    "bulk": ({"Precedence": "Bulk"}, "precedence"),
    "junk": ({"Precedence": "junk"}, "precedence"),
    "a list, the old way": ({"Precedence": "list"}, "precedence"),
    "an old responder": ({"Precedence": "auto_reply"}, "precedence"),
    "another old responder": ({"Precedence": "auto-reply"}, "precedence"),
    "bulk, and a comment": ({"Precedence": "bulk (to all)"}, "precedence"),
    "a person, said so and remarked": ({"Auto_Submitted": "No (human)"}, None),
    "an ordinary precedence": ({"Precedence": "first-class"}, None),
    "a list": ({"List_Id": "<all.example.test>"}, "a mailing list"),
    "a newsletter": ({"List_Unsubscribe": "<https://x.test/u>"}, "a mailing list"),
    "nobody to return it to": ({"Return_Path": "<>"}, "null return-path"),
    "somebody to return it to": ({"Return_Path": "<iryna@example.test>"}, None),
    "Exchange, all": ({"X_Auto_Response_Suppress": "All"}, "x-auto-response-suppress"),
    "Exchange, some": ({"X_Auto_Response_Suppress": "DR, AutoReply"}, "x-auto-response-suppress"),
    "Exchange, away": ({"X_Auto_Response_Suppress": "OOF"}, "x-auto-response-suppress"),
    "Exchange, two": ({"X_Auto_Response_Suppress": "All;OOF"}, "x-auto-response-suppress"),
    "Exchange, spaced": ({"X_Auto_Response_Suppress": "DR RN OOF"}, "x-auto-response-suppress"),
    "Exchange, receipts only": ({"X_Auto_Response_Suppress": "DR, RN, NRN"}, None),
    "Exchange, none": ({"X_Auto_Response_Suppress": "None"}, None),
    "an autoresponder": ({"X_Autoreply": "yes"}, "x-autoreply"),
    "another": ({"X_Autorespond": "1"}, "x-autorespond"),
    "a daemon": ({"From": "MAILER-DAEMON@x.test"}, "the address of a machine"),
    "a postmaster": ({"From": "Postmaster <postmaster@x.test>"}, "the address of a machine"),
    "nobody's address": ({"From": "no-reply@x.test"}, "the address of a machine"),
    "nobody's, dotted": ({"From": "no.reply@x.test"}, "the address of a machine"),
    "nobody's, underlined": ({"From": "do_not_reply@x.test"}, "the address of a machine"),
    "nobody's, in one": ({"From": "DoNotReply@x.test"}, "the address of a machine"),
    "a person's, nearly": ({"From": "noreplyan@x.test"}, None),
    "the same, tagged": ({"From": "noreply+17@x.test"}, "the address of a machine"),
    "a list's owner": ({"From": "owner-all@x.test"}, "the address of a machine"),
    "a list's other address": ({"Sender": "all-request@x.test"}, "the address of a machine"),
    "a bounce's address": ({"Return_Path": "<bounces+7=a@x.test>"}, "the address of a machine"),
    "a person's": ({"From": "norah.owner@x.test"}, None),
    "one who bounces back": ({"From": "bouncer@x.test"}, None),
    "a mail of our domain": ({"In_Reply_To": "<1@desk.test>"}, mailbox.OURS),
    "a mail of our domain, in capitals": ({"In_Reply_To": "<1@Desk.TEST>"}, mailbox.OURS),
    "ourselves, quoted": ({"From": '"sales"@Desk.test'}, mailbox.OWN),
    "our reply address": ({"To": "{tagged}"}, mailbox.OURS),
    "ourselves": ({"From": "Sales <Sales+x@desk.test>"}, mailbox.OWN),
    "a forged sender": (
        {"Authentication_Results": "mx.desk.test; dmarc=fail"},
        "its sender is not proven: DMARC failed",
    ),
    "nothing": ({}, None),
}


@pytest.mark.parametrize("which", SIGNS)
def test_what_no_machine_may_answer(which: str) -> None:
    headers, why = SIGNS[which]
    desk = book()
    take(desk, mail(Message_ID="<1@x>"))
    [talk] = desk.conversations
    told = {name: value.format(tagged=tagged(talk)) for name, value in headers.items()}

    item = mailbox.opened(read(mail("x", Message_ID="<2@y>", **told)), BOX)

    assert item.no_auto_response == why


@pytest.mark.parametrize(
    ("sender", "why"),
    [
        ("", "null return-path"),
        ("bounces-7@x.test", "the address of a machine"),
        ("SRS0=a7=b=example.test=iryna@forwarder.test", None),
        ("list-bounces@x.test", "the address of a machine"),
        ("iryna@example.test", None),
    ],
)
def test_the_envelope_counts(sender: str, why: str | None) -> None:
    assert read(mail(), envelope=(sender, "support@desk.test")).no_auto_response == why


def test_several_senders_are_answered_by_nobody() -> None:
    item = mailbox.opened(read(mail(From=f"iryna@example.test, {PETRO}")), BOX)
    assert item.no_auto_response == message.SEVERAL


def test_everybody_is_told_why() -> None:
    desk = book()
    take(desk, mail(Message_ID="<1@x>", List_Id="<x>"), mail("b", From=PETRO))

    opened = [fact for fact, _ in desk.facts if isinstance(fact, RequestOpened)]
    assert [each.message.no_auto_response for each in opened] == ["a mailing list", None]


def test_what_answers_an_acknowledgement_belongs_to_its_request() -> None:
    box = replace(BOX, acknowledges=True)
    desk = book()
    take(desk, mail(Message_ID="<1@x>"), box=box)
    [first] = desk.outcomes
    own = acknowledgement_id(first.arrival.message_id)

    thanks, away = take(
        desk,
        mail("thanks", Message_ID="<2@x>", In_Reply_To=f"<{own}@desk.test>"),
        mail("away", From=PETRO, In_Reply_To=f"<{own}@desk.test>", Auto_Submitted="auto-replied"),
    )

    assert (thanks.word, thanks.threaded_by) == ("appended", "our_message_id")
    assert (away.word, away.request_id) == ("noted", first.request_id)


# ---------------------------------------------------------------------- how fast


WHO = ("main", "iryna@example.test", "")


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_twenty_a_minute_and_no_more() -> None:
    pace = Pace()
    told = [pace.exceeded(WHO, f"{n}", NOW + seconds(n), (20, 60)) for n in range(25)]

    assert told == [False] * 20 + [True] * 5
    assert not pace.exceeded(("main", PETRO, ""), "x", NOW + seconds(25), (20, 60))
    assert not pace.exceeded(("other", *WHO[1:]), "x", NOW + seconds(25), (20, 60))
    # Asked again about the same, the answer is the same.
    assert not pace.exceeded(WHO, "19", NOW + seconds(19), (20, 60))
    assert pace.exceeded(WHO, "20", NOW + seconds(20), (20, 60))


def test_who_goes_on_is_not_heard_until_they_stop() -> None:
    pace = Pace()
    told = [pace.exceeded(WHO, f"{n}", NOW + seconds(n), (20, 60)) for n in range(300)]

    assert told == [False] * 20 + [True] * 280
    assert not pace.exceeded(WHO, "later", NOW + seconds(400), (20, 60))


def test_a_steady_writer_is_always_heard() -> None:
    pace = Pace()
    for n in range(500):
        assert not pace.exceeded(WHO, f"{n}", NOW + seconds(3.1 * n), (20, 60))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=60))
def test_nothing_is_remembered_for_ever(steps: list[tuple[int, int]]) -> None:
    pace, at = Pace(), NOW
    for n, (who, pause) in enumerate(steps):
        at += seconds(pause)
        pace.exceeded(("main", f"{who}", ""), f"{n}", at, (3, 10))
    for n in range(5):
        pace.exceeded(("main", "last", ""), f"last {n}", at + seconds(100 * (n + 1)), (3, 10))

    assert len(pace._lately) == 1
    assert [len(each) for each in pace._lately.values()] == [1]


def test_a_mail_is_counted_once_however_often_it_is_read() -> None:
    pace = Pace()
    for n in range(60):
        assert not pace.exceeded(WHO, f"{n // 3}", NOW, (20, 60))


SAYS = b"Authentication-Results: mx.desk.test; dmarc="


def test_what_others_write_in_somebodys_name_is_counted_apart() -> None:
    pace = Pace()

    def exceeded(number: int, headers: bytes, **more: str) -> bool:
        item = mailbox.opened(read(headers + mail(f"{number}", **more)), BOX)
        who = mailbox.counted_as(item, "main", BOX)
        assert who is not None
        return pace.exceeded(who, f"{number}", NOW, BOX.per_sender)

    forged = [exceeded(n, SAYS + b"fail\r\n") for n in range(25)]
    unproven = [exceeded(n, SAYS + b"none\r\n") for n in range(100, 125)]
    several = [exceeded(n, b"", From=f"{PETRO}, {WHO[1]}") for n in range(200, 225)]
    proven = [exceeded(n, SAYS + b"pass\r\n") for n in range(300, 325)]

    assert [each.count(True) for each in (forged, unproven, several, proven)] == [5] * 4
    # Nobody has found anything of whom the account's server says nothing.
    assert not exceeded(400, b"")


def test_only_messages_are_counted() -> None:
    report = SERVERS["postfix"]("<1@x>", "failed", "5.1.1")
    assert mailbox.counted_as(read(report), "main", BOX) is None
