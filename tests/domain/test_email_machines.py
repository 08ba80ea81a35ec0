"""Mails of machines: automatic answers, help desks and our own mail come back."""

from __future__ import annotations

from uuid import uuid4

import pytest
from mailing import (
    DESK,
    NOW,
    PETRO,
    begun,
    flags_of,
    mail,
    tagged,
    take,
)

from ingest.domain.message_intake import MACHINE_ANSWERED_AGAIN
from ingest.domain.threading import (
    NOT_A_PARTICIPANT,
    UNSIGNED_REPLY_ADDRESS,
)
from ingest.domain.ticket_facts import (
    close_request,
    handle_returned,
)
from trunkline_contracts import (
    Message,
    MessageReceived,
    MessageReturned,
)


def test_machines_that_answer_our_address_are_noted() -> None:
    batch, [first], [conversation] = begun(mail(Message_ID="<1@x>"))
    reply = uuid4()
    batch.threads.add_own_message("main", reply, conversation)
    away = {"Auto_Submitted": "auto-replied", "From": "no-reply@elsewhere.test"}

    noted = take(
        batch,
        mail("away", To=tagged(conversation), **away),
        mail("away!", To=tagged(reply, "bounce"), **away),
        mail("away?", In_Reply_To=f"<{reply}@desk.test>", **away),
    )

    assert [each.kind for each in noted] == ["noted"] * 3
    assert {each.request_id for each in noted} == {first.request_id}


def test_answer_to_the_bounce_address_raises_no_doubt() -> None:
    batch, [first], [conversation] = begun(mail(Message_ID="<1@x>"))
    reply = uuid4()
    batch.threads.add_own_message("main", reply, conversation)

    [plain] = take(batch, mail("thanks", Message_ID="<2@x>", To=tagged(reply, "bounce")))
    assert (plain.request_id, plain.reason) == (first.request_id, None)
    assert plain.threaded_by == "our_message_id"
    both = f"{tagged(reply, 'bounce')}, {tagged(conversation)}"
    [named] = take(batch, mail("thanks!", Message_ID="<3@x>", To=both))
    assert (named.threaded_by, named.reason) == ("reply_address", None)
    [forged] = take(batch, mail("thanks?", To=tagged(reply, "bounce", secret="guessed")))
    assert forged.reason == UNSIGNED_REPLY_ADDRESS
    assert flags_of(batch) == (UNSIGNED_REPLY_ADDRESS,)


def test_answer_from_a_help_desk_is_appended() -> None:
    batch, [first], [conversation] = begun(mail(Message_ID="<1@x>"))
    reply = uuid4()
    batch.threads.add_own_message("main", reply, conversation)

    heard = take(
        batch,
        mail("to Lviv", To=tagged(conversation), Precedence="bulk"),
        mail("to Lviv!", In_Reply_To=f"<{reply}@desk.test>", Auto_Submitted="auto-generated"),
        mail("to Lviv?", To=tagged(reply, "bounce"), Return_Path="<>"),
        mail("to Lviv", To=tagged(conversation), Precedence="bulk", From=PETRO),
    )

    assert [each.kind for each in heard] == ["appended"] * 3 + ["opened"]
    assert [each.request_id == first.request_id for each in heard] == [True] * 3 + [False]
    received = [fact.message for fact, _ in batch.facts if isinstance(fact, MessageReceived)]
    signs = ["precedence", "auto-submitted", "null return-path"]
    assert [each.automatic for each in received] == signs
    assert [each.no_auto_response for each in received] == signs
    assert flags_of(batch) == (NOT_A_PARTICIPANT,)


def test_a_machine_begins_one_request_after_another_and_no_third() -> None:
    batch, [first], [conversation] = begun(mail(Message_ID="<1@x>"))
    answer = {"To": tagged(conversation), "Precedence": "bulk"}
    there = batch.conversations[conversation]

    close_request(batch, there, first.request_id)
    [second] = take(batch, mail("closed?", **answer))
    [more] = take(batch, mail("and this", **answer))
    close_request(batch, there, second.request_id)
    [third] = take(batch, mail("closed??", **answer))

    assert [each.kind for each in (second, more, third)] == ["opened", "appended", "noted"]
    assert second.threaded_by == "reply_address"
    assert third.request_id == second.request_id
    assert third.reason == f"{MACHINE_ANSWERED_AGAIN}: precedence"
    # A person begins one whenever they write, and a machine may after that.
    [fourth] = take(batch, mail("I am here", To=tagged(conversation)))
    close_request(batch, there, fourth.request_id)
    [fifth] = take(batch, mail("closed again", **answer))
    assert [each.kind for each in (fourth, fifth)] == ["opened", "opened"]


@pytest.mark.parametrize(("by", "word"), [(None, "opened"), ("precedence", "noted")])
def test_a_machine_that_was_too_late_begins_no_third_either(by: str | None, word: str) -> None:
    batch, _, [conversation] = begun(mail(Message_ID="<1@x>", Precedence="bulk"))
    there = batch.conversations[conversation]
    assert there.open_request is not None
    late = Message(id=uuid4(), text="late", sent_at=NOW, automatic=by)
    returned = MessageReturned(
        time=NOW, request_id=there.open_request, message=late, reason="closed"
    )

    handle_returned(batch, there, returned, None, None)

    [correction] = batch.corrections
    assert (correction.message_id, correction.kind) == (late.id, word)
    assert (correction.request_id == returned.request_id) == (word == "noted")


def test_our_own_mail_come_back_is_noted() -> None:
    batch, [first], [conversation] = begun(mail(Message_ID="<1@x>"))
    reply = uuid4()
    batch.threads.add_own_message("main", reply, conversation)

    [back] = take(batch, mail("On its way.", Message_ID=f"<{reply}@desk.test>", From=DESK))

    assert (back.kind, back.request_id) == ("noted", first.request_id)
    assert back.reason == "a message of ours came back"
