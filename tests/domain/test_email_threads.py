"""Where a mail belongs: by its reply address, by what it names, and never by its subject alone.

Long, as it is a table of cases.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from mailing import BOX, DESK, NOW, PETRO, arrival, book, mail, outbound, read, tagged, take

from ingest.channels.email import mailbox
from ingest.channels.email.message import NAMELESS, SEVERAL
from ingest.domain.intake_batch import AGAIN
from ingest.domain.items import Thread
from ingest.domain.threading import (
    ELSEWHERE,
    STRANGER,
    TORN,
    UNKNOWN,
    UNPROVEN,
    UNSIGNED,
    key_of,
    keys_of,
)
from ingest.intake.handlers import key_of as key_of_talk
from trunkline_contracts import (
    ContactChanged,
    Message,
    MessageReceived,
    MessageReturned,
    RequestOpened,
)


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
    assert torn.reason == TORN
    assert flags_of(desk) == (TORN,)


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


# ---------------------------------------------------------------------- what we begin


def test_requests_opened_for_one_customer_are_conversations_apart() -> None:
    desk = book()
    first, second = outbound("iryna@example.test"), outbound("iryna@example.test")
    for request in (first, second):
        desk.register(request)
    talks = [key_of_talk(request) for request in (first, second)]

    def answered(talk: UUID, text: str = "yes") -> list[Any]:
        [outcome] = take(desk, mail(text, To=tagged(talk)))
        return [outcome.word, outcome.request_id, outcome.threaded_by, outcome.reason]

    for request, talk in zip((first, second), talks, strict=True):
        assert answered(talk) == ["appended", request.request_id, "reply_address", None]
    desk.close(desk.conversations[talks[0]], first.request_id)
    assert answered(talks[1], "and now?")[:2] == ["appended", second.request_id]
    assert answered(talks[0], "not this one")[0] == "opened"


@pytest.mark.parametrize(
    ("told", "author"),
    [
        ("Iryna@Example.test", "iryna@example.test"),
        ("iryna@example.test", "IRYNA@EXAMPLE.TEST"),
        (" iryna@example.test", '"iryna"@example.test'),
        ('"Iryna"@example.test', "iryna@example.test"),
        ("iryna@приклад.test", "iryna@xn--80aikifvh.test"),
        ("iryna@xn--80aikifvh.test", "iryna@приклад.test"),
    ],
)
def test_an_address_is_known_however_it_is_written(told: str, author: str) -> None:
    desk = book()
    request = outbound(told)
    desk.register(request)

    [answer] = take(desk, mail("yes", From=author, To=tagged(key_of_talk(request))))
    assert (answer.word, answer.request_id, answer.reason) == ("appended", request.request_id, None)

    [named] = take(desk, mail("and him", From=author, To=f"{tagged(key_of_talk(request))}, {told}"))
    [stranger] = take(desk, mail("me too", From=PETRO, To=tagged(key_of_talk(request))))
    assert (named.word, stranger.word) == ("appended", "opened")


@pytest.mark.parametrize("cc", ['"Petro"@Example.test', "PETRO@example.test"])
def test_who_is_named_has_a_part_however_that_is_written(cc: str) -> None:
    desk, [first], _ = begun(mail(Message_ID="<1@x>", Cc=cc))

    [answer] = take(desk, mail("me too", From=PETRO, In_Reply_To="<1@x>"))

    assert (answer.word, answer.request_id) == ("appended", first.request_id)


def test_a_conversation_that_is_named_is_one() -> None:
    desk = book()
    for _ in range(2):
        desk.register(outbound("iryna@example.test", conversation="order 7"))

    assert len(desk.conversations) == 1


# ---------------------------------------------------------------------- the reply address


def flags_of(desk: Any) -> tuple[str, ...]:
    """What is doubtful about the last message, as everybody is told."""
    fact = [f for f, _ in desk.facts if isinstance(f, MessageReceived | RequestOpened)][-1]
    flags: tuple[str, ...] = fact.message.flags
    return flags


def begun(*bodies: bytes) -> tuple[Any, list[Any], list[UUID]]:
    """A book with a few conversations, what became of their first mails, and their keys."""
    desk = book()
    return desk, take(desk, *bodies), list(desk.conversations)


def test_the_reply_address_is_enough() -> None:
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>"))

    [answer] = take(desk, mail("thanks", Message_ID="<2@x>", Subject="?", To=tagged(talk)))

    assert (answer.word, answer.threaded_by) == ("appended", "reply_address")
    assert (answer.request_id, answer.reason) == (first.request_id, None)
    assert flags_of(desk) == ()


@pytest.mark.parametrize("header", ["Cc", "Delivered_To", "X_Original_To", "Envelope_To"])
def test_it_is_found_wherever_it_stands(header: str) -> None:
    desk, _, [talk] = begun(mail(Message_ID="<1@x>"))
    shown = f'"Support" <{tagged(talk).upper()}>'

    [answer] = take(desk, mail("thanks", To=DESK, **{header: shown}))

    assert answer.threaded_by == "reply_address"


def test_it_is_found_in_the_envelope() -> None:
    desk, _, [talk] = begun(mail(Message_ID="<1@x>"))

    desk.take_in([arrival(mail("thanks"), envelope=("iryna@example.test", tagged(talk)))])

    assert desk.outcomes[-1].threaded_by == "reply_address"


def test_a_secret_may_be_replaced() -> None:
    desk, _, [talk] = begun(mail(Message_ID="<1@x>"))
    older = tagged(talk, secret="the one before")

    [answer] = take(desk, mail("thanks", To=older))

    assert (answer.threaded_by, answer.reason) == ("reply_address", None)


def test_the_order_of_the_rules() -> None:
    mails = [mail(Message_ID=f"<{n}@x>", References=f"<{n}@list>") for n in range(5)]
    desk, firsts, talks = begun(*mails)
    reply = uuid4()
    desk.threads.issue("main", reply, talks[1])
    names = {"In_Reply_To": f"<{reply}@desk.test>", "References": "<2@x> <4@list>"}

    answers = take(
        desk,
        mail("a", Message_ID="<a@x>", To=tagged(talks[0]), **names),
        mail("b", Message_ID="<b@x>", To=tagged(talks[3], secret="forged"), **names),
        mail("c", Message_ID="<c@x>", To=tagged(talks[3], secret="forged"), References="<2@x>"),
        mail("d", Message_ID="<d@x>", To=tagged(talks[3], secret="forged"), References="<4@list>"),
        mail("e", Message_ID="<e@x>", References="<4@list>"),
    )

    assert [(each.threaded_by, each.request_id) for each in answers] == [
        ("reply_address", firsts[0].request_id),
        ("our_message_id", firsts[1].request_id),
        ("known_message_id", firsts[2].request_id),
        ("plus_token", firsts[3].request_id),
        ("common_ancestor", firsts[4].request_id),
    ]
    torn = f"{ELSEWHERE}; {TORN}"
    assert [each.reason for each in answers[:2]] == [torn, f"{UNSIGNED}; {torn}"]


def test_a_disagreement_is_flagged() -> None:
    desk, [first, second], [talk, _] = begun(mail(Message_ID="<1@x>"), mail(Message_ID="<2@x>"))

    [torn] = take(desk, mail("?", Message_ID="<3@x>", To=tagged(talk), In_Reply_To="<2@x>"))

    assert (torn.request_id, torn.reason) == (first.request_id, ELSEWHERE)
    assert flags_of(desk) == (ELSEWHERE,)
    assert first.request_id != second.request_id


STOLEN: dict[str, Any] = {
    "a stolen tag": lambda talk, _: {"To": tagged(talk)},
    "a guessed tag": lambda talk, _: {"To": tagged(talk, secret="guessed")},
    "our message id": lambda _, reply: {"In_Reply_To": f"<{reply}@desk.test>"},
    "a known message id": lambda _, __: {"References": "<1@x>"},
    "all of them": lambda talk, reply: {
        "To": tagged(talk),
        "In_Reply_To": f"<{reply}@desk.test>",
        "References": "<1@x>",
        "Subject": "Re: Order",
    },
}


@pytest.mark.parametrize("how", STOLEN)
@pytest.mark.parametrize(
    "author", [PETRO, f'"iryna@example.test" <{PETRO}>', f"iryna@example.test <{PETRO}>"]
)
def test_a_stranger_joins_no_conversation(how: str, author: str) -> None:
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>"))
    reply = uuid4()
    desk.threads.issue("main", reply, talk)

    [forged] = take(desk, mail("pay here", From=author, **STOLEN[how](talk, reply)))

    assert (forged.word, forged.threaded_by) == ("opened", "new")
    assert forged.request_id != first.request_id
    assert STRANGER in forged.reason
    assert STRANGER in flags_of(desk)
    [again] = take(desk, mail("pay!", Message_ID="<9@y>", From=author, References="<1@x>"))
    assert again.request_id not in {first.request_id, None}


SEVERAL_SENDERS = [
    b"From: iryna@example.test\r\nFrom: petro@example.test\r\n",
    b"From: petro@example.test\r\nFrom: iryna@example.test\r\n",
    b"From: iryna@example.test, petro@example.test\r\n",
    b"From: <petro@example.test> <iryna@example.test>\r\n",
    b"From: <iryna@example.test> <petro@example.test>\r\n",
    b"From: x:iryna@example.test,petro@example.test;\r\n",
]


@pytest.mark.parametrize("senders", SEVERAL_SENDERS)
def test_several_senders_are_nobody_who_has_a_part(senders: bytes) -> None:
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>"))
    told = f"To: {tagged(talk)}\r\nReferences: <1@x>\r\n\r\npay here\r\n".encode()

    [forged] = take(desk, senders + told)

    assert (forged.word, forged.reason) == ("opened", SEVERAL)
    assert forged.request_id != first.request_id


def test_whom_a_participant_writes_to_has_a_part() -> None:
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>", To=DESK, Cc=f"P <{PETRO.upper()}>"))

    [answer] = take(desk, mail("me too", From=PETRO, References="<1@x>"))

    assert (answer.word, answer.request_id) == ("appended", first.request_id)
    assert (answer.threaded_by, answer.reason) == ("known_message_id", None)
    assert {contact for key, contact in desk.threads.parts if key == talk}


def test_our_own_addresses_have_no_part() -> None:
    desk, _, [talk] = begun(mail(Message_ID="<1@x>", To=f"{DESK}, sales@desk.test, x@y.test"))

    assert len([key for key, _ in desk.threads.parts if key == talk]) == 2  # Iryna, and x


def test_a_tag_of_nothing_known_is_flagged() -> None:
    desk = book()

    signed, unsigned = take(
        desk, mail("a", To=tagged(uuid4())), mail("b", To=tagged(uuid4(), secret="guessed"))
    )

    assert (signed.word, signed.reason) == ("opened", UNKNOWN)
    assert (unsigned.word, unsigned.reason) == ("opened", UNSIGNED)


@pytest.mark.parametrize(
    "to",
    [
        "support+vip@desk.test",
        "support+@desk.test",
        "other+{tag}@desk.test",
        "support+{tag}@else.test",
        "support+{tag}x@desk.test",
        "support+x+{tag}@desk.test",
        "{tag}@desk.test",
    ],
)
def test_what_is_no_tag_of_ours_is_not_looked_at(to: str) -> None:
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>"))
    tag = tagged(talk).partition("+")[2].partition("@")[0]

    [other] = take(desk, mail("b", To=to.format(tag=tag)))

    assert (other.word, other.reason) == ("opened", None)
    assert other.request_id != first.request_id


VERDICTS = {
    "ours says it failed": (["mx.desk.test; spf=pass; dmarc=fail (p=reject)"], True),
    "ours says it passed": (["mx.desk.test; dmarc=pass header.from=x"], False),
    "ours says nothing of it": (["mx.desk.test; spf=fail"], False),
    "another says it failed": (["mx.evil.test; dmarc=fail"], False),
    "forged below ours": (["mx.desk.test; dmarc=fail", "mx.desk.test; dmarc=pass"], True),
    "two methods": (["mx.desk.test 1; dkim=pass;\r\n\tdmarc = FAIL"], True),
    "the sender says it passed": (
        ['mx.desk.test; spf=pass smtp.mailfrom="x dmarc=pass "@evil.test; dmarc=fail'],
        True,
    ),
    "a header for each method": (["mx.desk.test; spf=pass", "mx.desk.test; dmarc=fail"], True),
    "nobody says anything": ([], False),
}


@pytest.mark.parametrize("which", VERDICTS)
def test_who_is_proven_to_be_another_joins_no_conversation(which: str) -> None:
    said, failed = VERDICTS[which]
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>"))
    headers = "".join(f"Authentication-Results: {each}\r\n" for each in said).encode()

    [answer] = take(desk, headers + mail("pay here", To=tagged(talk)))

    assert (answer.request_id != first.request_id) == failed
    assert answer.reason == (UNPROVEN if failed else None)


def test_whoever_reads_it_is_told_that_its_sender_is_not_proven() -> None:
    failed = b"Authentication-Results: mx.desk.test; dmarc=fail\r\n"

    desk, [forged], _ = begun(failed + mail("pay here", Message_ID="<1@x>"))

    assert (forged.word, forged.reason) == ("opened", UNPROVEN)
    assert flags_of(desk) == (UNPROVEN,)


def test_a_forged_mail_changes_nothing_that_is_known_of_a_person() -> None:
    failed = b"Authentication-Results: mx.desk.test; dmarc=fail\r\n"
    name = {"From": "Ivan <iryna@example.test>"}
    desk, _, _ = begun(mail(Message_ID="<1@x>"))

    take(desk, failed + mail("pay here", **name))

    opened = [fact for fact, _ in desk.facts if isinstance(fact, RequestOpened)]
    assert [fact.contact.name for fact in opened] == ["Iryna"] * 2
    assert not [fact for fact, _ in desk.facts if isinstance(fact, ContactChanged)]
    take(desk, mail("it is me", **name))
    [changed] = [fact for fact, _ in desk.facts if isinstance(fact, ContactChanged)]
    assert changed.contact.name == "Ivan"


def test_whoever_sends_in_nobodys_name_joins_no_conversation() -> None:
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>"))
    nameless = f"Sender: iryna@example.test\r\nTo: {tagged(talk)}\r\n\r\npay here".encode()

    [sent] = take(desk, nameless)

    assert (sent.word, sent.reason) == ("opened", NAMELESS)
    assert sent.request_id != first.request_id
    assert flags_of(desk) == (NAMELESS,)


def test_a_verdict_counts_only_where_our_server_is_named() -> None:
    headers = b"Authentication-Results: mx.desk.test; dmarc=fail\r\n"
    item = read(headers + mail("x"))

    assert mailbox.opened(item, BOX).thread.doubt  # type: ignore[union-attr]
    nobodys = mailbox.Mailbox(DESK)
    assert not mailbox.opened(item, nobodys).thread.doubt  # type: ignore[union-attr]


def test_machines_that_answer_our_address_are_noted() -> None:
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>"))
    reply = uuid4()
    desk.threads.issue("main", reply, talk)
    away = {"Auto_Submitted": "auto-replied", "From": "no-reply@elsewhere.test"}

    noted = take(
        desk,
        mail("away", To=tagged(talk), **away),
        mail("away!", To=tagged(reply, "bounce"), **away),
        mail("away?", In_Reply_To=f"<{reply}@desk.test>", **away),
    )

    assert [each.word for each in noted] == ["noted"] * 3
    assert {each.request_id for each in noted} == {first.request_id}


def test_whoever_answers_the_address_that_bounces_go_to_is_not_doubted() -> None:
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>"))
    reply = uuid4()
    desk.threads.issue("main", reply, talk)

    [plain] = take(desk, mail("thanks", Message_ID="<2@x>", To=tagged(reply, "bounce")))
    assert (plain.request_id, plain.reason) == (first.request_id, None)
    assert plain.threaded_by == "our_message_id"
    both = f"{tagged(reply, 'bounce')}, {tagged(talk)}"
    [named] = take(desk, mail("thanks!", Message_ID="<3@x>", To=both))
    assert (named.threaded_by, named.reason) == ("reply_address", None)
    [forged] = take(desk, mail("thanks?", To=tagged(reply, "bounce", secret="guessed")))
    assert forged.reason == UNSIGNED
    assert flags_of(desk) == (UNSIGNED,)


def test_whoever_answers_our_mail_by_a_help_desk_is_heard() -> None:
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>"))
    reply = uuid4()
    desk.threads.issue("main", reply, talk)

    heard = take(
        desk,
        mail("to Lviv", To=tagged(talk), Precedence="bulk"),
        mail("to Lviv!", In_Reply_To=f"<{reply}@desk.test>", Auto_Submitted="auto-generated"),
        mail("to Lviv?", To=tagged(reply, "bounce"), Return_Path="<>"),
        mail("to Lviv", To=tagged(talk), Precedence="bulk", From=PETRO),
    )

    assert [each.word for each in heard] == ["appended"] * 3 + ["opened"]
    assert [each.request_id == first.request_id for each in heard] == [True] * 3 + [False]
    received = [fact.message for fact, _ in desk.facts if isinstance(fact, MessageReceived)]
    signs = ["precedence", "auto-submitted", "null return-path"]
    assert [each.automatic for each in received] == signs
    assert [each.no_auto_response for each in received] == signs
    assert flags_of(desk) == (STRANGER,)


def test_a_machine_begins_one_request_after_another_and_no_third() -> None:
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>"))
    answer = {"To": tagged(talk), "Precedence": "bulk"}
    there = desk.conversations[talk]

    desk.close(there, first.request_id)
    [second] = take(desk, mail("closed?", **answer))
    [more] = take(desk, mail("and this", **answer))
    desk.close(there, second.request_id)
    [third] = take(desk, mail("closed??", **answer))

    assert [each.word for each in (second, more, third)] == ["opened", "appended", "noted"]
    assert second.threaded_by == "reply_address"
    assert third.request_id == second.request_id
    assert third.reason == f"{AGAIN}: precedence"
    # A person begins one whenever they write, and a machine may after that.
    [fourth] = take(desk, mail("I am here", To=tagged(talk)))
    desk.close(there, fourth.request_id)
    [fifth] = take(desk, mail("closed again", **answer))
    assert [each.word for each in (fourth, fifth)] == ["opened", "opened"]


@pytest.mark.parametrize(("by", "word"), [(None, "opened"), ("precedence", "noted")])
def test_a_machine_that_was_too_late_begins_no_third_either(by: str | None, word: str) -> None:
    desk, _, [talk] = begun(mail(Message_ID="<1@x>", Precedence="bulk"))
    there = desk.conversations[talk]
    assert there.open is not None
    late = Message(id=uuid4(), text="late", sent_at=NOW, automatic=by)
    returned = MessageReturned(time=NOW, request_id=there.open, message=late, reason="closed")

    desk.give_back(there, returned, None, None)

    [correction] = desk.corrections
    assert (correction.message_id, correction.word) == (late.id, word)
    assert (correction.request_id == returned.request_id) == (word == "noted")


def test_our_own_mail_come_back_is_noted() -> None:
    desk, [first], [talk] = begun(mail(Message_ID="<1@x>"))
    reply = uuid4()
    desk.threads.issue("main", reply, talk)

    [back] = take(desk, mail("On its way.", Message_ID=f"<{reply}@desk.test>", From=DESK))

    assert (back.word, back.request_id) == ("noted", first.request_id)
    assert back.reason == "a message of ours came back"
