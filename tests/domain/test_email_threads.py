"""Threading of mails by the message ids they name, and never by the subject alone."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from mailing import (
    PETRO,
    begun,
    flags_of,
    mail,
    new_batch,
    outbound,
    tagged,
    take,
)

from ingest.domain.items import ThreadingHeaders
from ingest.domain.threading import (
    CONFLICTING_REFERENCES,
    message_id_key,
    message_id_keys,
)
from ingest.domain.ticket_facts import (
    close_request,
    conversation_key_of,
    register_external_request,
)
from trunkline_contracts import (
    MessageReceived,
    RequestOpened,
)


def test_an_answer_to_ours_is_appended_and_says_why() -> None:
    batch = new_batch()
    [first] = take(batch, mail(Message_ID="<1@x>"))
    [conversation] = batch.conversations.values()
    reply = uuid4()
    batch.threads.add_own_message("main", reply, conversation.key)

    [answer] = take(batch, mail("thanks", Message_ID="<2@x>", In_Reply_To=f"<{reply}@desk.test>"))

    assert (first.kind, first.threaded_by) == ("opened", "new")
    assert (answer.kind, answer.threaded_by) == ("appended", "our_message_id")
    assert answer.request_id == first.request_id
    [received] = [fact for fact, _ in batch.facts if isinstance(fact, MessageReceived)]
    assert (received.threaded_by, received.message.external_id) == ("our_message_id", "<2@x>")


def test_a_subject_alone_threads_nothing() -> None:
    batch = new_batch()
    first, second = take(
        batch, mail(Message_ID="<1@x>"), mail(Message_ID="<2@x>", Subject="Re: Order")
    )
    assert (first.kind, second.kind) == ("opened", "opened")
    assert first.request_id != second.request_id


def test_known_messages_and_common_ancestors_thread() -> None:
    batch = new_batch()
    first, second, third = take(
        batch,
        mail(Message_ID="<1@x>", References="<0@elsewhere>"),
        mail(Message_ID="<2@x>", References="<1@x>"),
        mail(Message_ID="<3@x>", References="<0@elsewhere>"),
    )
    assert [second.threaded_by, third.threaded_by] == ["known_message_id", "common_ancestor"]
    assert first.request_id == second.request_id == third.request_id


def test_a_common_ancestor_threads_nobody_else() -> None:
    batch = new_batch()
    first, second = take(
        batch,
        mail(Message_ID="<1@x>", References="<list@elsewhere>"),
        mail(Message_ID="<2@x>", References="<list@elsewhere>", From="other@example.test"),
    )
    assert second.kind == "opened"
    assert first.request_id != second.request_id


def test_an_answer_that_came_before_its_question() -> None:
    batch = new_batch()
    answer, question = take(
        batch, mail(Message_ID="<2@x>", In_Reply_To="<1@x>"), mail(Message_ID="<1@x>")
    )
    assert answer.kind == "opened"
    assert (question.kind, question.threaded_by) == ("appended", "common_ancestor")


def test_contradicting_references_are_flagged() -> None:
    batch = new_batch()
    take(batch, mail(Message_ID="<1@x>"), mail(Message_ID="<2@x>"))
    [torn] = take(batch, mail(Message_ID="<3@x>", In_Reply_To="<2@x>", References="<1@x>"))
    assert torn.kind == "appended"
    assert torn.request_id == batch.outcomes[1].request_id
    assert torn.reason == CONFLICTING_REFERENCES
    assert flags_of(batch) == (CONFLICTING_REFERENCES,)


def test_same_mail_is_a_duplicate_same_id_alone_is_not() -> None:
    batch = new_batch()
    first, again, other = take(
        batch, mail(Message_ID="<1@x>"), mail(Message_ID="<1@x>"), mail("new", Message_ID="<1@x>")
    )
    assert (again.kind, again.request_id) == ("duplicate", first.request_id)
    assert other.kind == "opened"
    assert other.request_id != first.request_id
    assert "used before" in other.reason


def test_mails_without_an_id_are_told_apart_by_their_bytes() -> None:
    batch = new_batch()
    first, again, other = take(batch, mail("a"), mail("a"), mail("b"))
    assert [first.kind, again.kind, other.kind] == ["opened", "duplicate", "opened"]


def test_machines_answering_ours_are_noted() -> None:
    batch = new_batch()
    take(batch, mail(Message_ID="<1@x>"))
    [conversation] = batch.conversations.values()
    reply = uuid4()
    batch.threads.add_own_message("main", reply, conversation.key)
    away = mail(Auto_Submitted="auto-replied", In_Reply_To=f"<{reply}@desk.test>")
    alarm = mail(Auto_Submitted="auto-generated", Message_ID="<9@monitor>")
    report = mail(Content_Type='multipart/report; report-type=delivery-status; boundary="b"')

    noted, opened, bounced = take(batch, away, alarm, report)

    assert (noted.kind, noted.request_id) == ("noted", conversation.last_request)
    assert opened.kind == "opened"
    assert (bounced.kind, bounced.reason) == ("noted", "an automatic report: delivery-status")


def test_the_title_is_the_subject() -> None:
    batch = new_batch()
    take(batch, mail(Message_ID="<1@x>"))
    [opened] = [fact for fact, _ in batch.facts if isinstance(fact, RequestOpened)]
    assert opened.title == "Order"
    assert opened.contact.address == "iryna@example.test"
    assert opened.message.external_id == "<1@x>"


def test_ours_are_known_whatever_the_domain() -> None:
    id = UUID("0b6cf1a4-58a2-4d0f-a5a2-4a0c13a3a0aa")
    assert message_id_key("main", f"<{id}@old.test>") == message_id_key("main", str(id))
    assert message_id_key("main", "<x@old.test>") != message_id_key("main", "<x@new.test>")
    assert message_id_key("main", "<x@old.test>") != message_id_key("other", "<x@old.test>")
    assert len(message_id_keys("main", ThreadingHeaders("<a@x>", ("<b@x>",)))) == 2


# ---------------------------------------------------------------------- what we begin


def test_requests_opened_in_tickets_have_own_conversations() -> None:
    batch = new_batch()
    first, second = outbound("iryna@example.test"), outbound("iryna@example.test")
    for request in (first, second):
        register_external_request(batch, request)
    talks = [conversation_key_of(request) for request in (first, second)]

    def answered(conversation: UUID, text: str = "yes") -> list[Any]:
        [outcome] = take(batch, mail(text, To=tagged(conversation)))
        return [outcome.kind, outcome.request_id, outcome.threaded_by, outcome.reason]

    for request, conversation in zip((first, second), talks, strict=True):
        assert answered(conversation) == ["appended", request.request_id, "reply_address", None]
    close_request(batch, batch.conversations[talks[0]], first.request_id)
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
    batch = new_batch()
    request = outbound(told)
    register_external_request(batch, request)

    [answer] = take(batch, mail("yes", From=author, To=tagged(conversation_key_of(request))))
    assert (answer.kind, answer.request_id, answer.reason) == ("appended", request.request_id, None)

    [named] = take(
        batch, mail("and him", From=author, To=f"{tagged(conversation_key_of(request))}, {told}")
    )
    [stranger] = take(batch, mail("me too", From=PETRO, To=tagged(conversation_key_of(request))))
    assert (named.kind, stranger.kind) == ("appended", "opened")


@pytest.mark.parametrize("cc", ['"Petro"@Example.test', "PETRO@example.test"])
def test_who_is_named_has_a_part_however_that_is_written(cc: str) -> None:
    batch, [first], _ = begun(mail(Message_ID="<1@x>", Cc=cc))

    [answer] = take(batch, mail("me too", From=PETRO, In_Reply_To="<1@x>"))

    assert (answer.kind, answer.request_id) == ("appended", first.request_id)


def test_a_conversation_that_is_named_is_one() -> None:
    batch = new_batch()
    for _ in range(2):
        register_external_request(batch, outbound("iryna@example.test", conversation="order 7"))

    assert len(batch.conversations) == 1
