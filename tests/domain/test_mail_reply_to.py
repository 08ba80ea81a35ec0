"""Mails that ask to be answered at another address than their author's (RFC 5322, `Reply-To`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from mailing import BOX, DESK, PETRO, mail, new_batch, read, tagged, take

from ingest.channels.email import mailbox
from ingest.channels.email.mailbox import OWN_ADDRESS, REPLY_TO_ELSEWHERE, SENT_ON_BEHALF
from ingest.domain.threading import DMARC_FAILED
from trunkline_contracts import RequestOpened
from trunkline_contracts.ids import contact_id

IRYNA, ORDERS = "iryna@example.test", "orders@shop.test"
FORM = replace(BOX, forwarders=frozenset({"form@shop.test"}))


def verdict(word: str) -> bytes:
    """What our server found of the sender."""
    return f"Authentication-Results: mx.desk.test; spf=pass; dmarc={word}\r\n".encode()


def opened(batch: Any) -> RequestOpened:
    """The last request that was opened."""
    return [fact for fact, _ in batch.facts if isinstance(fact, RequestOpened)][-1]


# ---------------------------------------------------------------------- who writes for others


@pytest.mark.parametrize(
    "sender",
    ["no-reply@shop.test", "Do.Not.Reply@shop.test", "noreply+7@shop.test", "form@shop.test",
     "Shop <Form@shop.test>", DESK, "sales+x@desk.test"],
)  # fmt: skip
def test_of_what_a_form_sends_the_author_is_in_reply_to(sender: str) -> None:
    batch = new_batch()
    written = mail("my order", From=sender, Reply_To=f"Petro <{PETRO}>")

    [outcome] = take(batch, written, box=FORM)

    fact = opened(batch)
    assert (fact.contact.address, fact.contact.name) == (PETRO, "Petro")
    assert fact.contact.answer_to is None
    assert fact.message.flags == (SENT_ON_BEHALF,)
    assert fact.message.no_auto_response is not None
    assert (outcome.kind, outcome.reason) == ("opened", SENT_ON_BEHALF)


@pytest.mark.parametrize(
    "sender", ["forms@shop.test", "reply@shop.test", "noreplyan@shop.test", "form@else.test"]
)
def test_others_write_for_themselves(sender: str) -> None:
    batch = new_batch()
    take(batch, mail(From=sender, Reply_To=PETRO), box=FORM)
    assert (opened(batch).contact.address, opened(batch).contact.answer_to) == (sender, None)


def test_an_author_somebody_else_names_joins_no_conversation() -> None:
    batch = new_batch()
    [first] = take(batch, mail(Message_ID="<1@x>"))
    [conversation] = batch.conversations
    named = {"From": "no-reply@evil.test", "Reply_To": IRYNA, "To": tagged(conversation)}

    [forged] = take(batch, verdict("pass") + mail("pay here", In_Reply_To="<1@x>", **named))

    assert (forged.kind, forged.reason) == ("opened", SENT_ON_BEHALF)
    assert forged.request_id != first.request_id
    # Whoever is answered there may go on with it, as the person they are.
    [_, other] = batch.conversations
    assert other != conversation
    [answer] = take(batch, mail("it was not me", To=tagged(other)))
    assert (answer.kind, answer.request_id) == ("appended", forged.request_id)


def test_a_forged_form_is_doubted_for_both() -> None:
    batch = new_batch()
    take(batch, verdict("fail") + mail(From="no-reply@shop.test", Reply_To=PETRO))
    assert opened(batch).message.flags == (DMARC_FAILED, SENT_ON_BEHALF)


def test_customers_of_one_form_are_counted_apart() -> None:
    who = [
        mailbox.sender_key(
            mailbox.with_mailbox_context(read(mail(From="no-reply@s.test", Reply_To=to)), BOX),
            "m",
            BOX,
        )
        for to in (IRYNA, PETRO)
    ]
    assert [each[1] for each in who if each] == [IRYNA, PETRO]


def test_our_own_addresses_are_nobodys_authors() -> None:
    item = mailbox.with_mailbox_context(read(mail(From=DESK, Reply_To="sales@desk.test")), BOX)
    assert item.person is not None
    assert (item.person.address, item.no_auto_response, item.flags) == (DESK, OWN_ADDRESS, ())


# ---------------------------------------------------------------------- where answers go


def test_a_proven_sender_is_answered_where_they_ask_to_be() -> None:
    batch = new_batch()
    [first] = take(batch, verdict("pass") + mail(Message_ID="<1@x>", Reply_To=ORDERS))

    fact = opened(batch)
    assert (fact.contact.address, fact.contact.answer_to) == (IRYNA, ORDERS)
    assert fact.contact.id == contact_id("email", "main", IRYNA)
    assert (fact.message.flags, first.reason) == ((REPLY_TO_ELSEWHERE,), REPLY_TO_ELSEWHERE)
    # Whoever answers from there, or from here, has a part in it.
    [conversation] = batch.conversations
    answers = take(
        batch,
        mail("thanks", From=ORDERS, To=tagged(conversation)),
        mail("!", To=tagged(conversation)),
    )
    assert [each.request_id for each in answers] == [first.request_id] * 2


UNANSWERED = {
    "not proven": (b"", {"Reply_To": ORDERS}, (REPLY_TO_ELSEWHERE,)),
    "nothing found": (verdict("none"), {"Reply_To": ORDERS}, (REPLY_TO_ELSEWHERE,)),
    "forged": (verdict("fail"), {"Reply_To": ORDERS}, (DMARC_FAILED, REPLY_TO_ELSEWHERE)),
    "another server's word": (
        b"Authentication-Results: mx.evil.test; dmarc=pass\r\n",
        {"Reply_To": ORDERS}, (REPLY_TO_ELSEWHERE,),
    ),
    "the sender's word": (
        b'Authentication-Results: mx.desk.test; spf=pass smtp.mailfrom="; dmarc=pass"@evil.test; '
        b"dmarc=none\r\n", {"Reply_To": ORDERS}, (REPLY_TO_ELSEWHERE,),
    ),
    "the sender's word alone": (
        b'Authentication-Results: mx.desk.test; spf=pass smtp.mailfrom="; dmarc=pass"@x.test\r\n',
        {"Reply_To": ORDERS}, (REPLY_TO_ELSEWHERE,),
    ),
    "the sender's header": (
        verdict("none") + verdict("pass"), {"Reply_To": ORDERS}, (REPLY_TO_ELSEWHERE,),
    ),
    "the same address": (verdict("pass"), {"Reply_To": f'"Iryna" <{IRYNA.upper()}>'}, ()),
    "several": (verdict("pass"), {"Reply_To": f"{ORDERS}, {PETRO}"}, ()),
    "two of them": (verdict("pass") + b"Reply-To: x@x.test\r\n", {"Reply_To": ORDERS}, ()),
    "ours": (verdict("pass"), {"Reply_To": DESK}, ()),
    "nobody": (verdict("pass"), {"Reply_To": "nobody"}, ()),
    "a list": (verdict("pass"), {"Reply_To": ORDERS, "List_Id": "<l.shop.test>"}, ()),
}  # fmt: skip


@pytest.mark.parametrize("which", UNANSWERED)
def test_nobody_else_is(which: str) -> None:
    head, headers, flags = UNANSWERED[which]
    batch = new_batch()

    take(batch, head + mail(**headers))

    fact = opened(batch)
    assert (fact.contact.address, fact.contact.answer_to) == (IRYNA, None)
    assert fact.message.flags == flags


def test_who_goes_on_does_not_move_where_answers_go() -> None:
    batch = new_batch()
    [first] = take(batch, mail(Message_ID="<1@x>"))
    [conversation] = batch.conversations
    more = verdict("pass") + mail("more", To=tagged(conversation), Reply_To=ORDERS)

    [moved] = take(batch, more)
    [stranger] = take(batch, mail("hello", From=ORDERS, To=tagged(conversation)))

    assert (moved.request_id, moved.reason) == (first.request_id, REPLY_TO_ELSEWHERE)
    assert stranger.request_id != first.request_id
    assert len([fact for fact, _ in batch.facts if isinstance(fact, RequestOpened)]) == 2
