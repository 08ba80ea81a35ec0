"""One mail to two of our mailboxes is one request, whichever copy is taken in first."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from mailing import BOXES, DESK, PETRO, SALES, SECRET, entry, mail, new_batch, tagged

from chassis.auth import signed_ids
from ingest.domain.bans import Ban, BanSet
from ingest.domain.message_intake import process
from ingest.domain.threading import NOT_A_PARTICIPANT
from ingest.domain.ticket_facts import record_reply
from trunkline_contracts import MessageReceived, ReplySent, RequestOpened
from trunkline_contracts.ids import contact_id
from trunkline_contracts.parts import Contact, Message

if TYPE_CHECKING:
    from ingest.domain.intake_batch import IntakeBatch

BOTH = f"{DESK}, {SALES.address}"


def take(batch: IntakeBatch, *came: tuple[str, bytes]) -> list[Any]:
    """Take in what came to which mailbox, each in a batch of its own."""
    before = len(batch.outcomes)
    for number, (account, body) in enumerate(came, before + 1):
        process(batch, [entry(body, number, BOXES[account], account)])
    return batch.outcomes[before:]


def opened(batch: IntakeBatch) -> list[Any]:
    return [fact for fact, _ in batch.facts if isinstance(fact, RequestOpened)]


def by_way_of(server: str, body: bytes) -> bytes:
    """A mail as another server hands it on: with its headers, and line ends of its own."""
    trace = f"Return-Path: <iryna@example.test>\nDelivered-To: x@{server}\nReceived: by {server}\n"
    return trace.encode() + body.replace(b"\r\n", b"\n") + b"\n"


@pytest.mark.parametrize("first", ["main", "sales"])
@pytest.mark.parametrize("to", [BOTH, DESK, "undisclosed-recipients:;"])
def test_two_mailboxes_one_mail(first: str, to: str) -> None:
    batch = new_batch()
    second = {"main": "sales", "sales": "main"}[first]
    body = mail(To=to, Message_ID="<1@x>")

    one, copy, again = take(
        batch, (first, body), (second, by_way_of("b.test", body)), (second, body)
    )

    assert [one.kind, copy.kind, again.kind] == ["opened", "duplicate", "duplicate"]
    assert {one.request_id, copy.request_id, again.request_id} == {one.request_id}
    assert copy.reason == again.reason == f"also received at {second}"
    assert (copy.first, copy.entry.message_id) == (False, one.entry.message_id)
    assert [fact.account for fact in opened(batch)] == [first]


def test_both_copies_in_one_batch_are_one_request() -> None:
    batch = new_batch()
    body = mail(To=BOTH, Message_ID="<1@x>")
    process(batch, [entry(body, n, BOXES[name], name) for n, name in enumerate(("sales", "main"))])

    assert [each.kind for each in batch.outcomes] == ["opened", "duplicate"]


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
    batch = new_batch()
    told = {"To": BOTH, "Message_ID": "<1@x>"}
    words = [
        each.kind for each in take(batch, ("main", mail(**told)), ("sales", mail(**told | other)))
    ]

    assert words == ["opened", "opened"]


def test_a_mail_without_an_id_is_known_by_all_of_it() -> None:
    batch = new_batch()
    body = mail(To=BOTH)
    words = [
        each.kind
        for each in take(batch, ("main", body), ("sales", body), ("sales", by_way_of("b", body)))
    ]

    assert words == ["opened", "duplicate", "opened"]


def test_mail_routed_twice_to_one_mailbox_is_a_duplicate() -> None:
    batch = new_batch()
    body = mail(To=DESK, Message_ID="<1@x>")
    one, other = take(batch, ("main", body), ("main", by_way_of("b.test", body)))

    assert (one.kind, other.kind, other.request_id) == ("opened", "duplicate", one.request_id)


def test_what_answers_it_in_either_mailbox_finds_its_request() -> None:
    batch = new_batch()
    body = mail(To=BOTH, Message_ID="<1@x>")
    one, _ = take(batch, ("main", body), ("sales", body))
    here, there = take(
        batch,
        ("main", mail("a", Message_ID="<2@x>", In_Reply_To="<1@x>", To=DESK)),
        ("sales", mail("b", Message_ID="<3@x>", In_Reply_To="<1@x>", To=SALES.address)),
    )

    assert [(each.kind, each.request_id) for each in (here, there)] == [
        ("appended", one.request_id)
    ] * 2


def signed(secret: str = SECRET) -> tuple[IntakeBatch, Any, str, Any]:
    """A request at main with a reply of ours; gives its reply address, and the reply."""
    batch = new_batch()
    [one] = take(batch, ("main", mail(To=DESK, Message_ID="<1@x>")))
    conversation = next(iter(batch.conversations.values()))
    reply = ReplySent(
        time=batch.now,
        request_id=one.request_id,
        message=Message(id=UUID(int=7), text="?", sent_at=batch.now),
        by="anna",
        channel="email",
        account="main",
        contact=Contact(id=UUID(int=8)),
    )
    record_reply(batch, conversation, reply)
    return batch, one, tagged(conversation.key, secret=secret), reply


@pytest.mark.parametrize("order", list(permutations(("main", "sales"))), ids=str)
@pytest.mark.parametrize("named", ["address", "header"])
def test_answer_to_two_mailboxes_joins_its_conversation(order: tuple[str, str], named: str) -> None:
    batch, one, address, reply = signed()
    told = {"To": f"{address if named == 'address' else DESK}, {SALES.address}"}
    if named == "header":
        told["In_Reply_To"] = f"<{reply.message.id}@desk.test>"
    body = mail("thanks", Message_ID="<2@x>", **told)

    first, second = take(batch, *((account, body) for account in order))

    assert (first.kind, first.request_id) == ("appended", one.request_id)
    assert (second.kind, second.request_id) == ("duplicate", one.request_id)
    rule = {"address": "reply_address", "header": "our_message_id"}[named]
    assert first.threaded_by == rule
    assert len(opened(batch)) == 1
    [received] = [fact for fact, _ in batch.facts if isinstance(fact, MessageReceived)]
    assert (received.request_id, received.message.text) == (one.request_id, "thanks")


def test_what_only_one_mailbox_knows_it_answers_is_not_swallowed() -> None:
    """Sales got it by a blind copy first, and could not know where it belongs."""
    batch, one, _, reply = signed()
    body = mail("x", Message_ID="<2@x>", To="", In_Reply_To=f"<{reply.message.id}@desk.test>")

    new, answer = take(batch, ("sales", body), ("main", body))

    assert new.kind == "opened"
    assert (answer.kind, answer.request_id) == ("appended", one.request_id)


def test_a_second_mailbox_lets_in_nobody_the_first_does_not() -> None:
    batch, one, address, _ = signed()
    told = {"To": f"{address}, {SALES.address}", "Message_ID": "<2@x>"}
    [stranger] = take(batch, ("sales", mail(From=PETRO, **told)))
    assert (stranger.kind, stranger.reason) == ("opened", NOT_A_PARTICIPANT)
    assert stranger.request_id != one.request_id
    [same] = take(batch, ("main", mail(From=PETRO, **told | {"Message_ID": "<3@x>"})))
    assert (same.kind, same.reason) == ("opened", NOT_A_PARTICIPANT)

    iryna = contact_id("email", "main", "iryna@example.test")
    batch.bans = BanSet.from_bans([Ban("contact", str(iryna))])
    [banned] = take(batch, ("sales", mail("hi", **told | {"Message_ID": "<4@x>"})))
    assert (banned.kind, banned.threaded_by) == ("opened", "new")


def test_mail_rejected_in_one_mailbox_opens_in_the_other() -> None:
    batch = new_batch()
    iryna = contact_id("email", "main", "iryna@example.test")
    batch.bans = BanSet.from_bans([Ban("contact", str(iryna))])
    body = mail(To=BOTH, Message_ID="<1@x>")

    assert [each.kind for each in take(batch, ("main", body), ("sales", body))] == [
        "rejected",
        "opened",
    ]


def test_each_mailbox_opens_its_own_tags_only() -> None:
    """A tag that is not signed by the mailbox whose address it stands in is no proof."""
    batch, _, _, _ = signed()
    conversation = next(iter(batch.conversations.values()))
    forged = f"support+{signed_ids.write(conversation.key, 'reply', SALES.secrets[0])}@desk.test"
    [told] = take(batch, ("sales", mail("x", To=f"{forged}, {SALES.address}", Message_ID="<2@x>")))

    assert (told.kind, told.threaded_by) == ("appended", "plus_token")
