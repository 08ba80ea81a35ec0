"""Mails that ask to be answered at another address than their author's (RFC 5322, `Reply-To`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from mailing import BOX, DESK, PETRO, book, mail, read, tagged, take

from ingest.channels.email import mailbox
from ingest.channels.email.mailbox import ASKS, OWN, SPOKEN_FOR
from ingest.domain.threading import UNPROVEN
from trunkline_contracts import RequestOpened
from trunkline_contracts.ids import contact_id

IRYNA, ORDERS = "iryna@example.test", "orders@shop.test"
FORM = replace(BOX, forwarders=frozenset({"form@shop.test"}))


def verdict(word: str) -> bytes:
    """What our server found of the sender."""
    return f"Authentication-Results: mx.desk.test; spf=pass; dmarc={word}\r\n".encode()


def opened(desk: Any) -> RequestOpened:
    """The last request that was opened."""
    return [fact for fact, _ in desk.facts if isinstance(fact, RequestOpened)][-1]


# ---------------------------------------------------------------------- who writes for others


@pytest.mark.parametrize(
    "sender",
    ["no-reply@shop.test", "Do.Not.Reply@shop.test", "noreply+7@shop.test", "form@shop.test",
     "Shop <Form@shop.test>", DESK, "sales+x@desk.test"],
)  # fmt: skip
def test_of_what_a_form_sends_the_author_is_in_reply_to(sender: str) -> None:
    desk = book()
    written = mail("my order", From=sender, Reply_To=f"Petro <{PETRO}>")

    [outcome] = take(desk, written, box=FORM)

    fact = opened(desk)
    assert (fact.contact.address, fact.contact.name) == (PETRO, "Petro")
    assert fact.contact.answer_to is None
    assert fact.message.flags == (SPOKEN_FOR,)
    assert fact.message.no_auto_response is not None
    assert (outcome.word, outcome.reason) == ("opened", SPOKEN_FOR)


@pytest.mark.parametrize(
    "sender", ["forms@shop.test", "reply@shop.test", "noreplyan@shop.test", "form@else.test"]
)
def test_others_write_for_themselves(sender: str) -> None:
    desk = book()
    take(desk, mail(From=sender, Reply_To=PETRO), box=FORM)
    assert (opened(desk).contact.address, opened(desk).contact.answer_to) == (sender, None)


def test_an_author_somebody_else_names_joins_no_conversation() -> None:
    desk = book()
    [first] = take(desk, mail(Message_ID="<1@x>"))
    [talk] = desk.conversations
    named = {"From": "no-reply@evil.test", "Reply_To": IRYNA, "To": tagged(talk)}

    [forged] = take(desk, verdict("pass") + mail("pay here", In_Reply_To="<1@x>", **named))

    assert (forged.word, forged.reason) == ("opened", SPOKEN_FOR)
    assert forged.request_id != first.request_id
    # Whoever is answered there may go on with it, as the person they are.
    [_, other] = desk.conversations
    assert other != talk
    [answer] = take(desk, mail("it was not me", To=tagged(other)))
    assert (answer.word, answer.request_id) == ("appended", forged.request_id)


def test_a_forged_form_is_doubted_for_both() -> None:
    desk = book()
    take(desk, verdict("fail") + mail(From="no-reply@shop.test", Reply_To=PETRO))
    assert opened(desk).message.flags == (UNPROVEN, SPOKEN_FOR)


def test_customers_of_one_form_are_counted_apart() -> None:
    who = [
        mailbox.counted_as(
            mailbox.opened(read(mail(From="no-reply@s.test", Reply_To=to)), BOX), "m", BOX
        )
        for to in (IRYNA, PETRO)
    ]
    assert [each[1] for each in who if each] == [IRYNA, PETRO]


def test_our_own_addresses_are_nobodys_authors() -> None:
    item = mailbox.opened(read(mail(From=DESK, Reply_To="sales@desk.test")), BOX)
    assert item.person is not None
    assert (item.person.address, item.no_auto_response, item.flags) == (DESK, OWN, ())


# ---------------------------------------------------------------------- where answers go


def test_a_proven_sender_is_answered_where_they_ask_to_be() -> None:
    desk = book()
    [first] = take(desk, verdict("pass") + mail(Message_ID="<1@x>", Reply_To=ORDERS))

    fact = opened(desk)
    assert (fact.contact.address, fact.contact.answer_to) == (IRYNA, ORDERS)
    assert fact.contact.id == contact_id("email", "main", IRYNA)
    assert (fact.message.flags, first.reason) == ((ASKS,), ASKS)
    # Whoever answers from there, or from here, has a part in it.
    [talk] = desk.conversations
    answers = take(desk, mail("thanks", From=ORDERS, To=tagged(talk)), mail("!", To=tagged(talk)))
    assert [each.request_id for each in answers] == [first.request_id] * 2


UNANSWERED = {
    "not proven": (b"", {"Reply_To": ORDERS}, (ASKS,)),
    "nothing found": (verdict("none"), {"Reply_To": ORDERS}, (ASKS,)),
    "forged": (verdict("fail"), {"Reply_To": ORDERS}, (UNPROVEN, ASKS)),
    "another server's word": (
        b"Authentication-Results: mx.evil.test; dmarc=pass\r\n", {"Reply_To": ORDERS}, (ASKS,),
    ),
    "the sender's word": (
        b'Authentication-Results: mx.desk.test; spf=pass smtp.mailfrom="; dmarc=pass"@evil.test; '
        b"dmarc=none\r\n", {"Reply_To": ORDERS}, (ASKS,),
    ),
    "the sender's word alone": (
        b'Authentication-Results: mx.desk.test; spf=pass smtp.mailfrom="; dmarc=pass"@x.test\r\n',
        {"Reply_To": ORDERS}, (ASKS,),
    ),
    "the sender's header": (verdict("none") + verdict("pass"), {"Reply_To": ORDERS}, (ASKS,)),
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
    desk = book()

    take(desk, head + mail(**headers))

    fact = opened(desk)
    assert (fact.contact.address, fact.contact.answer_to) == (IRYNA, None)
    assert fact.message.flags == flags


def test_who_goes_on_does_not_move_where_answers_go() -> None:
    desk = book()
    [first] = take(desk, mail(Message_ID="<1@x>"))
    [talk] = desk.conversations
    more = verdict("pass") + mail("more", To=tagged(talk), Reply_To=ORDERS)

    [moved] = take(desk, more)
    [stranger] = take(desk, mail("hello", From=ORDERS, To=tagged(talk)))

    assert (moved.request_id, moved.reason) == (first.request_id, ASKS)
    assert stranger.request_id != first.request_id
    assert len([fact for fact, _ in desk.facts if isinstance(fact, RequestOpened)]) == 2
