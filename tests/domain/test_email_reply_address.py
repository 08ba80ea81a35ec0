"""Threading of mails by the signed reply address, and the doubts about a sender."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from mailing import (
    BOX,
    DESK,
    PETRO,
    begun,
    entry,
    flags_of,
    mail,
    new_batch,
    read,
    tagged,
    take,
)

from ingest.channels.email import mailbox
from ingest.channels.email.message import NO_AUTHOR, SEVERAL_SENDERS
from ingest.domain.message_intake import process
from ingest.domain.threading import (
    CONFLICTING_REFERENCES,
    CONFLICTING_REPLY_ADDRESS,
    DMARC_FAILED,
    NOT_A_PARTICIPANT,
    UNKNOWN_REPLY_ADDRESS,
    UNSIGNED_REPLY_ADDRESS,
)
from trunkline_contracts import (
    ContactChanged,
    RequestOpened,
)


def test_the_reply_address_is_enough() -> None:
    batch, [first], [conversation] = begun(mail(Message_ID="<1@x>"))

    [answer] = take(batch, mail("thanks", Message_ID="<2@x>", Subject="?", To=tagged(conversation)))

    assert (answer.kind, answer.threaded_by) == ("appended", "reply_address")
    assert (answer.request_id, answer.reason) == (first.request_id, None)
    assert flags_of(batch) == ()


@pytest.mark.parametrize("header", ["Cc", "Delivered_To", "X_Original_To", "Envelope_To"])
def test_it_is_found_wherever_it_stands(header: str) -> None:
    batch, _, [conversation] = begun(mail(Message_ID="<1@x>"))
    shown = f'"Support" <{tagged(conversation).upper()}>'

    [answer] = take(batch, mail("thanks", To=DESK, **{header: shown}))

    assert answer.threaded_by == "reply_address"


def test_it_is_found_in_the_envelope() -> None:
    batch, _, [conversation] = begun(mail(Message_ID="<1@x>"))

    process(batch, [entry(mail("thanks"), envelope=("iryna@example.test", tagged(conversation)))])

    assert batch.outcomes[-1].threaded_by == "reply_address"


def test_a_secret_may_be_replaced() -> None:
    batch, _, [conversation] = begun(mail(Message_ID="<1@x>"))
    older = tagged(conversation, secret="the one before")

    [answer] = take(batch, mail("thanks", To=older))

    assert (answer.threaded_by, answer.reason) == ("reply_address", None)


def test_the_order_of_the_rules() -> None:
    mails = [mail(Message_ID=f"<{n}@x>", References=f"<{n}@list>") for n in range(5)]
    batch, firsts, talks = begun(*mails)
    reply = uuid4()
    batch.threads.add_own_message("main", reply, talks[1])
    names = {"In_Reply_To": f"<{reply}@desk.test>", "References": "<2@x> <4@list>"}

    answers = take(
        batch,
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
    torn = f"{CONFLICTING_REPLY_ADDRESS}; {CONFLICTING_REFERENCES}"
    assert [each.reason for each in answers[:2]] == [torn, f"{UNSIGNED_REPLY_ADDRESS}; {torn}"]


def test_a_disagreement_is_flagged() -> None:
    batch, [first, second], [conversation, _] = begun(
        mail(Message_ID="<1@x>"), mail(Message_ID="<2@x>")
    )

    [torn] = take(
        batch, mail("?", Message_ID="<3@x>", To=tagged(conversation), In_Reply_To="<2@x>")
    )

    assert (torn.request_id, torn.reason) == (first.request_id, CONFLICTING_REPLY_ADDRESS)
    assert flags_of(batch) == (CONFLICTING_REPLY_ADDRESS,)
    assert first.request_id != second.request_id


STOLEN: dict[str, Any] = {
    "a stolen tag": lambda conversation, _: {"To": tagged(conversation)},
    "a guessed tag": lambda conversation, _: {"To": tagged(conversation, secret="guessed")},
    "our message id": lambda _, reply: {"In_Reply_To": f"<{reply}@desk.test>"},
    "a known message id": lambda _, __: {"References": "<1@x>"},
    "all of them": lambda conversation, reply: {
        "To": tagged(conversation),
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
    batch, [first], [conversation] = begun(mail(Message_ID="<1@x>"))
    reply = uuid4()
    batch.threads.add_own_message("main", reply, conversation)

    [forged] = take(batch, mail("pay here", From=author, **STOLEN[how](conversation, reply)))

    assert (forged.kind, forged.threaded_by) == ("opened", "new")
    assert forged.request_id != first.request_id
    assert NOT_A_PARTICIPANT in forged.reason
    assert NOT_A_PARTICIPANT in flags_of(batch)
    [again] = take(batch, mail("pay!", Message_ID="<9@y>", From=author, References="<1@x>"))
    assert again.request_id not in {first.request_id, None}


FROM_HEADERS = [
    b"From: iryna@example.test\r\nFrom: petro@example.test\r\n",
    b"From: petro@example.test\r\nFrom: iryna@example.test\r\n",
    b"From: iryna@example.test, petro@example.test\r\n",
    b"From: <petro@example.test> <iryna@example.test>\r\n",
    b"From: <iryna@example.test> <petro@example.test>\r\n",
    b"From: x:iryna@example.test,petro@example.test;\r\n",
]


@pytest.mark.parametrize("senders", FROM_HEADERS)
def test_several_senders_are_nobody_who_has_a_part(senders: bytes) -> None:
    batch, [first], [conversation] = begun(mail(Message_ID="<1@x>"))
    told = f"To: {tagged(conversation)}\r\nReferences: <1@x>\r\n\r\npay here\r\n".encode()

    [forged] = take(batch, senders + told)

    assert (forged.kind, forged.reason) == ("opened", SEVERAL_SENDERS)
    assert forged.request_id != first.request_id


def test_whom_a_participant_writes_to_has_a_part() -> None:
    batch, [first], [conversation] = begun(
        mail(Message_ID="<1@x>", To=DESK, Cc=f"P <{PETRO.upper()}>")
    )

    [answer] = take(batch, mail("me too", From=PETRO, References="<1@x>"))

    assert (answer.kind, answer.request_id) == ("appended", first.request_id)
    assert (answer.threaded_by, answer.reason) == ("known_message_id", None)
    assert {contact for key, contact in batch.threads.participants if key == conversation}


def test_our_own_addresses_have_no_part() -> None:
    batch, _, [conversation] = begun(
        mail(Message_ID="<1@x>", To=f"{DESK}, sales@desk.test, x@y.test")
    )

    assert (
        len([key for key, _ in batch.threads.participants if key == conversation]) == 2
    )  # Iryna, and x


def test_a_tag_of_nothing_known_is_flagged() -> None:
    batch = new_batch()

    signed, unsigned = take(
        batch, mail("a", To=tagged(uuid4())), mail("b", To=tagged(uuid4(), secret="guessed"))
    )

    assert (signed.kind, signed.reason) == ("opened", UNKNOWN_REPLY_ADDRESS)
    assert (unsigned.kind, unsigned.reason) == ("opened", UNSIGNED_REPLY_ADDRESS)


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
    batch, [first], [conversation] = begun(mail(Message_ID="<1@x>"))
    tag = tagged(conversation).partition("+")[2].partition("@")[0]

    [other] = take(batch, mail("b", To=to.format(tag=tag)))

    assert (other.kind, other.reason) == ("opened", None)
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
    batch, [first], [conversation] = begun(mail(Message_ID="<1@x>"))
    headers = "".join(f"Authentication-Results: {each}\r\n" for each in said).encode()

    [answer] = take(batch, headers + mail("pay here", To=tagged(conversation)))

    assert (answer.request_id != first.request_id) == failed
    assert answer.reason == (DMARC_FAILED if failed else None)


def test_failed_dmarc_is_flagged() -> None:
    failed = b"Authentication-Results: mx.desk.test; dmarc=fail\r\n"

    batch, [forged], _ = begun(failed + mail("pay here", Message_ID="<1@x>"))

    assert (forged.kind, forged.reason) == ("opened", DMARC_FAILED)
    assert flags_of(batch) == (DMARC_FAILED,)


def test_a_forged_mail_changes_nothing_that_is_known_of_a_person() -> None:
    failed = b"Authentication-Results: mx.desk.test; dmarc=fail\r\n"
    name = {"From": "Ivan <iryna@example.test>"}
    batch, _, _ = begun(mail(Message_ID="<1@x>"))

    take(batch, failed + mail("pay here", **name))

    opened = [fact for fact, _ in batch.facts if isinstance(fact, RequestOpened)]
    assert [fact.contact.name for fact in opened] == ["Iryna"] * 2
    assert not [fact for fact, _ in batch.facts if isinstance(fact, ContactChanged)]
    take(batch, mail("it is me", **name))
    [changed] = [fact for fact, _ in batch.facts if isinstance(fact, ContactChanged)]
    assert changed.contact.name == "Ivan"


def test_mail_without_author_joins_no_conversation() -> None:
    batch, [first], [conversation] = begun(mail(Message_ID="<1@x>"))
    nameless = f"Sender: iryna@example.test\r\nTo: {tagged(conversation)}\r\n\r\npay here".encode()

    [sent] = take(batch, nameless)

    assert (sent.kind, sent.reason) == ("opened", NO_AUTHOR)
    assert sent.request_id != first.request_id
    assert flags_of(batch) == (NO_AUTHOR,)


def test_a_verdict_counts_only_where_our_server_is_named() -> None:
    headers = b"Authentication-Results: mx.desk.test; dmarc=fail\r\n"
    item = read(headers + mail("x"))

    assert mailbox.with_mailbox_context(item, BOX).thread.doubt  # type: ignore[union-attr]
    nobodys = mailbox.Mailbox(DESK)
    assert not mailbox.with_mailbox_context(item, nobodys).thread.doubt  # type: ignore[union-attr]
