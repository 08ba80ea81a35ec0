"""What mail servers report of our mails: it is about a message of ours, never a new request."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from mailing import BOX, NOW, arrival, book, mail, read, tagged, take
from reporting import OLD, PER_MAIL, SERVERS, STATUS, TO, WORDS, fields, report, returned

from ingest.channels.email import mailbox
from ingest.domain.items import Item
from trunkline_contracts import DeliveryReported, Message, ReplySent
from trunkline_contracts.parts import Contact

OURS = UUID("5f0c9d52-7f0e-4a53-9c0e-3a6d2b1f4e11")
ID = f"<{OURS}@desk.test>"
ENDS = {
    "nobody": ("failed", "5.1.1", "bounced: 5.1.1 (no such mailbox)"),
    "full": ("failed", "5.2.2", "bounced: 5.2.2 (mailbox full)"),
    "given up": ("failed", "4.4.7", "bounced: 4.4.7 (given up in time)"),
    "refused": ("failed", "5.7.999", "bounced: 5.7.999 (not allowed)"),
}


def heard(body: bytes, **more: object) -> Item:
    return mailbox.opened(read(body, **more), BOX)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("server", SERVERS)
def test_a_bounce_names_the_message_it_is_about(server: str, end: str) -> None:
    action, status, reason = ENDS[end]
    item = heard(SERVERS[server](ID, action, status))

    assert (item.kind, item.state, item.reference) == ("receipt", "failed", str(OURS))
    assert item.reason == f"{reason}; {mailbox.BY_NAME}"
    assert (item.person, item.thread, item.text) == (None, None, "")


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        ("5.1.1", True), ("5.1.10", True), ("5.2.1", True), ("5.2.2", True), ("5.4.4", True),
        ("5.0.0", True), ("4.1.1", False), ("4.2.2", False), ("4.4.7", False), ("5.4.7", False),
        ("5.2.3", False), ("5.3.4", False), ("5.6.1", False), ("5.7.1", False), ("5.7.26", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("server", SERVERS)
def test_an_address_is_given_up_by_what_is_proven_to_be_about_it(
    server: str, status: str, permanent: bool
) -> None:
    bounce = SERVERS[server](ID, "failed", status)
    proven = heard(bounce, envelope=("", tagged(OURS, "bounce")))
    claimed = heard(bounce, envelope=("", tagged(OURS, "bounce", "another secret")))

    assert (proven.state, proven.permanent) == ("failed", permanent)
    assert (claimed.state, claimed.permanent) == ("failed", False)


@pytest.mark.parametrize("server", SERVERS)
def test_what_is_under_way_is_noted(server: str) -> None:
    item = heard(SERVERS[server](ID, "delayed", "4.4.1"))
    assert (item.kind, item.state) == ("noted", None)
    assert item.reason in {
        "a report of a machine: delivery-status, delayed",
        "a report of a machine: delivery-status, relayed",
    }


@pytest.mark.parametrize("server", SERVERS)
def test_what_arrived_is_delivered(server: str) -> None:
    item = heard(SERVERS[server](ID, "delivered", "2.0.0"))
    assert (item.kind, item.state, item.reference) == ("receipt", "delivered", str(OURS))


@pytest.mark.parametrize("server", OLD)
def test_older_forms_are_known(server: str) -> None:
    item = heard(OLD[server](ID))
    assert (item.kind, item.state, item.reference) == ("receipt", "failed", str(OURS))
    assert item.reason.startswith("bounced")  # type: ignore[union-attr]


def test_a_bounce_comes_to_the_address_that_names_the_message() -> None:
    other, foreign = uuid4(), "<1@elsewhere.test>"
    body = SERVERS["postfix"](foreign, "failed", "5.1.1")
    to = tagged(OURS, "bounce")

    assert heard(body, envelope=("", to)).reference == str(OURS)
    assert heard(body, envelope=("", to)).reason == ENDS["nobody"][2]
    by_header = report([WORDS, (STATUS, PER_MAIL + fields("failed", "5.1.1"))], to=to)
    assert heard(by_header).reference == str(OURS)
    by_name = SERVERS["postfix"](f"<{OURS}@Desk.TEST>", "failed", "5.1.1")
    assert heard(by_name).reference == str(OURS)
    forged = heard(by_name, envelope=("", tagged(OURS, "bounce", secret="guessed")))
    assert forged.reason == f"{ENDS['nobody'][2]}; {mailbox.BY_NAME}"
    # The address is signed; what is returned may be anything.
    body = SERVERS["postfix"](f"<{other}@desk.test>", "failed", "5.1.1")
    assert heard(body, envelope=("", to)).reference == str(OURS)


@pytest.mark.parametrize(
    ("id", "to"),
    [
        ("<1@elsewhere.test>", "support@desk.test"),
        (f"<{OURS}@elsewhere.test>", "support@desk.test"),
        ("<1@desk.test>", "support@desk.test"),
        ("", "support@desk.test"),
        ("<1@desk.test>", tagged(OURS, "bounce", secret="guessed")),
        ("<1@desk.test>", tagged(OURS, "reply")),
    ],
)
def test_a_bounce_of_nothing_of_ours_is_noted(id: str, to: str) -> None:
    item = heard(SERVERS["postfix"](id, "failed", "5.1.1"), envelope=("", to))

    assert (item.kind, item.state, item.reference) == ("noted", None, None)
    assert item.reason == ENDS["nobody"][2]


NOTED = {
    "abuse (RFC 5965)": ("feedback-report", "message/feedback-report", "Feedback-Type: abuse\n"),
    "TLS (RFC 8460)": ("tlsrpt", "application/tlsrpt+gzip", "H4sI"),
    "nothing": ("delivery-status", "text/plain", "It met this end."),
    "no receiver": ("delivery-status", STATUS, PER_MAIL),
    "empty": ("delivery-status", STATUS, ""),
    "nonsense": ("delivery-status", STATUS, "\x00\x01:::\n\n:\n\nAction\n"),
    "an action nobody knows": ("delivery-status", STATUS, PER_MAIL + fields("eaten", "5.0.0")),
    "deleted unread": (
        "disposition-notification",
        "message/disposition-notification",
        f"Final-Recipient: rfc822; {TO}\nOriginal-Message-ID: {ID}\n"
        "Disposition: manual-action/MDN-sent-manually; deleted\n",
    ),
    "no kind": ("", "text/plain", "x"),
}


@pytest.mark.parametrize("which", NOTED)
def test_other_reports_are_noted(which: str) -> None:
    kind, part, text = NOTED[which]
    told = f'multipart/report; report-type={kind}; boundary="r"'
    item = heard(report([WORDS, (part, text)], kind=told))
    assert (item.kind, item.person) == ("noted", None)
    assert item.reason is not None
    assert item.reason.startswith("a report of a machine")


def test_who_read_a_mail_and_says_so() -> None:
    kind = 'multipart/report; report-type=disposition-notification; boundary="r"'
    told = (
        f"Final-Recipient: rfc822; {TO}\nOriginal-Message-ID: {ID}\n"
        "Disposition: manual-action/MDN-sent-manually; displayed\n"
    )
    item = heard(report([WORDS, ("message/disposition-notification", told)], kind=kind))
    assert (item.kind, item.state, item.reference) == ("receipt", "read", str(OURS))


def test_a_report_that_comes_as_a_persons_mail_is_one() -> None:
    body = mail("Hi. This is the qmail-send program, they say. " + returned(ID))
    assert heard(body).kind == "message"


def test_a_bounce_becomes_a_fact_about_our_message() -> None:
    desk = book()
    [first] = take(desk, mail(Message_ID="<1@x>"))
    [talk] = desk.conversations.values()
    assert first.request_id is not None
    contact = Contact(id=uuid4(), address=TO)
    sent = Message(id=OURS, text="On its way.", sent_at=NOW)
    reply = ReplySent(
        time=NOW, request_id=first.request_id, message=sent, by="anna", channel="email",
        account="main", contact=contact,
    )  # fmt: skip
    desk.remarks.wrote(talk.key, reply)
    bounce = SERVERS["gmail"](ID, "failed", "5.2.2")

    bounced, again = take(desk, bounce, bounce)

    assert (bounced.word, bounced.request_id) == ("noted", first.request_id)
    assert bounced.reason == f"{ENDS['full'][2]}; {mailbox.BY_NAME}"
    assert again.word == "duplicate"
    [told] = [fact for fact, _ in desk.facts if isinstance(fact, DeliveryReported)]
    assert (told.request_id, told.message_id) == (first.request_id, OURS)
    assert (told.state, told.reason) == ("failed", bounced.reason)


def test_a_mailbox_with_another_secret_is_not_fooled() -> None:
    body = SERVERS["postfix"]("<1@x>", "failed", "5.1.1")
    item = read(body, envelope=("", tagged(OURS, "bounce")))
    other = replace(BOX, secrets=("another",))

    assert mailbox.opened(item, other).kind == "noted"
    assert arrival(body, envelope=("", tagged(OURS, "bounce"))).about == (OURS,)
