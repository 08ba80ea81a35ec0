"""One mail to two of our mailboxes is one request, whichever copy is taken in first."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from mailing import BOXES, DESK, PETRO, SALES, SECRET, arrival, book, mail, tagged

from chassis.auth import signed_ids
from ingest.domain.bans import Banned, Bans
from ingest.domain.threading import STRANGER
from trunkline_contracts import MessageReceived, ReplySent, RequestOpened
from trunkline_contracts.ids import contact_id
from trunkline_contracts.parts import Contact, Message

if TYPE_CHECKING:
    from ingest.domain.intake_batch import Book

BOTH = f"{DESK}, {SALES.address}"


def take(book: Book, *came: tuple[str, bytes]) -> list[Any]:
    """Take in what came to which mailbox, each in a batch of its own."""
    before = len(book.outcomes)
    for number, (account, body) in enumerate(came, before + 1):
        book.take_in([arrival(body, number, BOXES[account], account)])
    return book.outcomes[before:]


def opened(desk: Book) -> list[Any]:
    return [fact for fact, _ in desk.facts if isinstance(fact, RequestOpened)]


def by_way_of(server: str, body: bytes) -> bytes:
    """A mail as another server hands it on: with its headers, and line ends of its own."""
    trace = f"Return-Path: <iryna@example.test>\nDelivered-To: x@{server}\nReceived: by {server}\n"
    return trace.encode() + body.replace(b"\r\n", b"\n") + b"\n"


@pytest.mark.parametrize("first", ["main", "sales"])
@pytest.mark.parametrize("to", [BOTH, DESK, "undisclosed-recipients:;"])
def test_two_mailboxes_one_mail(first: str, to: str) -> None:
    desk = book()
    second = {"main": "sales", "sales": "main"}[first]
    body = mail(To=to, Message_ID="<1@x>")

    one, copy, again = take(
        desk, (first, body), (second, by_way_of("b.test", body)), (second, body)
    )

    assert [one.word, copy.word, again.word] == ["opened", "duplicate", "duplicate"]
    assert {one.request_id, copy.request_id, again.request_id} == {one.request_id}
    assert copy.reason == again.reason == f"also received at {second}"
    assert (copy.first, copy.arrival.message_id) == (False, one.arrival.message_id)
    assert [fact.account for fact in opened(desk)] == [first]


def test_both_copies_in_one_batch_are_one_request() -> None:
    desk = book()
    body = mail(To=BOTH, Message_ID="<1@x>")
    desk.take_in([arrival(body, n, BOXES[name], name) for n, name in enumerate(("sales", "main"))])

    assert [each.word for each in desk.outcomes] == ["opened", "duplicate"]


@pytest.mark.parametrize(
    "other",
    [
        {"text": "another text"},
        {"Subject": "Another"},
        {"From": "Petro <petro@example.test>"},
        {"Message_ID": "<2@x>"},
        {"Date": "Mon, 02 Mar 2026 08:00:00 +0000"},
    ],
    ids=str,
)
def test_the_same_id_with_other_content_is_another_mail(other: dict[str, str]) -> None:
    desk = book()
    told = {"To": BOTH, "Message_ID": "<1@x>"}
    words = [
        each.word for each in take(desk, ("main", mail(**told)), ("sales", mail(**told | other)))
    ]

    assert words == ["opened", "opened"]


def test_a_mail_without_an_id_is_known_by_all_of_it() -> None:
    desk = book()
    body = mail(To=BOTH)
    words = [
        each.word
        for each in take(desk, ("main", body), ("sales", body), ("sales", by_way_of("b", body)))
    ]

    assert words == ["opened", "duplicate", "opened"]


def test_one_mailbox_that_gets_it_twice_by_other_ways_has_it_once() -> None:
    desk = book()
    body = mail(To=DESK, Message_ID="<1@x>")
    one, other = take(desk, ("main", body), ("main", by_way_of("b.test", body)))

    assert (one.word, other.word, other.request_id) == ("opened", "duplicate", one.request_id)


def test_what_answers_it_in_either_mailbox_finds_its_request() -> None:
    desk = book()
    body = mail(To=BOTH, Message_ID="<1@x>")
    one, _ = take(desk, ("main", body), ("sales", body))
    here, there = take(
        desk,
        ("main", mail("a", Message_ID="<2@x>", In_Reply_To="<1@x>", To=DESK)),
        ("sales", mail("b", Message_ID="<3@x>", In_Reply_To="<1@x>", To=SALES.address)),
    )

    assert [(each.word, each.request_id) for each in (here, there)] == [
        ("appended", one.request_id)
    ] * 2


def signed(secret: str = SECRET) -> tuple[Book, Any, str, Any]:
    """A request at main with a reply of ours; gives its reply address, and the reply."""
    desk = book()
    [one] = take(desk, ("main", mail(To=DESK, Message_ID="<1@x>")))
    talk = next(iter(desk.conversations.values()))
    reply = ReplySent(
        time=desk.now,
        request_id=one.request_id,
        message=Message(id=UUID(int=7), text="?", sent_at=desk.now),
        by="anna",
        channel="email",
        account="main",
        contact=Contact(id=UUID(int=8)),
    )
    desk.issued(talk, reply)
    return desk, one, tagged(talk.key, secret=secret), reply


@pytest.mark.parametrize("order", list(permutations(("main", "sales"))), ids=str)
@pytest.mark.parametrize("named", ["address", "header"])
def test_an_answer_that_names_another_mailbox_as_well_belongs_where_it_answers(
    order: tuple[str, str], named: str
) -> None:
    desk, one, address, reply = signed()
    told = {"To": f"{address if named == 'address' else DESK}, {SALES.address}"}
    if named == "header":
        told["In_Reply_To"] = f"<{reply.message.id}@desk.test>"
    body = mail("thanks", Message_ID="<2@x>", **told)

    first, second = take(desk, *((account, body) for account in order))

    assert (first.word, first.request_id) == ("appended", one.request_id)
    assert (second.word, second.request_id) == ("duplicate", one.request_id)
    rule = {"address": "reply_address", "header": "our_message_id"}[named]
    assert first.threaded_by == rule
    assert len(opened(desk)) == 1
    [received] = [fact for fact, _ in desk.facts if isinstance(fact, MessageReceived)]
    assert (received.request_id, received.message.text) == (one.request_id, "thanks")


def test_what_only_one_mailbox_knows_it_answers_is_not_swallowed() -> None:
    """Sales got it by a blind copy first, and could not know where it belongs."""
    desk, one, _, reply = signed()
    body = mail("x", Message_ID="<2@x>", To="", In_Reply_To=f"<{reply.message.id}@desk.test>")

    new, answer = take(desk, ("sales", body), ("main", body))

    assert new.word == "opened"
    assert (answer.word, answer.request_id) == ("appended", one.request_id)


def test_a_second_mailbox_lets_in_nobody_the_first_does_not() -> None:
    desk, one, address, _ = signed()
    told = {"To": f"{address}, {SALES.address}", "Message_ID": "<2@x>"}
    [stranger] = take(desk, ("sales", mail(From=PETRO, **told)))
    assert (stranger.word, stranger.reason) == ("opened", STRANGER)
    assert stranger.request_id != one.request_id
    [same] = take(desk, ("main", mail(From=PETRO, **told | {"Message_ID": "<3@x>"})))
    assert (same.word, same.reason) == ("opened", STRANGER)

    iryna = contact_id("email", "main", "iryna@example.test")
    desk.bans = Bans.of([Banned("contact", str(iryna))])
    [banned] = take(desk, ("sales", mail("hi", **told | {"Message_ID": "<4@x>"})))
    assert (banned.word, banned.threaded_by) == ("opened", "new")


def test_what_was_rejected_in_one_mailbox_is_not_missing_from_the_other() -> None:
    desk = book()
    iryna = contact_id("email", "main", "iryna@example.test")
    desk.bans = Bans.of([Banned("contact", str(iryna))])
    body = mail(To=BOTH, Message_ID="<1@x>")

    assert [each.word for each in take(desk, ("main", body), ("sales", body))] == [
        "rejected",
        "opened",
    ]


def test_each_mailbox_opens_its_own_tags_only() -> None:
    """A tag that is not signed by the mailbox whose address it stands in is no proof."""
    desk, _, _, _ = signed()
    talk = next(iter(desk.conversations.values()))
    forged = f"support+{signed_ids.write(talk.key, 'reply', SALES.secrets[0])}@desk.test"
    [told] = take(desk, ("sales", mail("x", To=f"{forged}, {SALES.address}", Message_ID="<2@x>")))

    assert (told.word, told.threaded_by) == ("appended", "plus_token")
