"""A ban holds however its name is written, for nobody else, and where who calls is not said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.domain.bans import Banned, Bans, kept, understood
from ingest.domain.field_rules import Rules
from ingest.domain.inbound_item import Arrival
from ingest.domain.intake_batch import Book
from ingest.domain.items import Item, Person
from trunkline_contracts import MessageRejected, RequestOpened

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
RULES = Rules("chat", "general", frozenset({"chat"}), frozenset({"low"}), {"general": {}})
VISITOR = "6F1C6F4E-9A55-5E0B-8D0F-5B7A3A0C7E21"
PHONE = "+380671112233"


def bans(*told: str) -> Bans:
    return Bans.of(map(understood, told))


@pytest.mark.parametrize(
    ("told", "what", "name"),
    [
        ("::ffff:203.0.113.7", "network", "203.0.113.7/32"),
        ("::FFFF:203.0.113.9/120", "network", "203.0.113.0/24"),
        ("::ffff:cb00:7107", "network", "203.0.113.7/32"),
        ("::ffff:0:0/96", "network", "0.0.0.0/0"),
        ("::/0", "network", "::/0"),
        ("+38 067 111-22-33", "address", PHONE),
        ("+38 (067) 111.22.33", "address", PHONE),
        ("telephony:+38 067 1112233", "address", f"telephony:{PHONE}"),
        ("380671112233", "address", "380671112233"),
        ("+1", "address", "+1"),
        ("123-456-7890", "address", "123-456-7890"),
        (' "Ann"@Example.test ', "address", "ann@example.test"),
        ("ann@приклад.test", "address", "ann@xn--80aikifvh.test"),
        ('Email:"Ann"@Example.test', "address", "email:ann@example.test"),
        (f"widget:{VISITOR}", "address", f"widget:{VISITOR.lower()}"),
        (VISITOR.replace("-", ""), "contact", VISITOR.lower()),
        ("order:7", "address", "order:7"),
        ("telegram:", "address", "telegram:"),
    ],
)
def test_the_form_a_ban_is_kept_in(told: str, what: Any, name: str) -> None:
    assert understood(told) == Banned(what, name)


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=60))
def test_the_form_of_a_form_is_itself(told: str) -> None:
    assert kept(kept(told).name) == kept(told)


@pytest.mark.parametrize(
    ("ban", "channel", "person"),
    [
        (VISITOR, "widget", Person(VISITOR.lower())),
        (VISITOR.lower(), "custom", Person(VISITOR)),
        (VISITOR.lower(), "custom", Person(VISITOR.replace("-", ""))),
        (f"custom:{VISITOR}", "custom", Person(VISITOR.lower())),
        ("203.0.113.7", "custom", Person("203.0.113.7")),
        ("custom:203.0.113.7", "custom", Person("203.0.113.7")),
        (PHONE, "whatsapp", Person("380671112233")),
        ("+38 067 111 22 33", "whatsapp", Person("380671112233")),
        ("whatsapp:" + PHONE, "whatsapp", Person("380671112233")),
        (PHONE, "telephony", Person("380671112233")),
        (PHONE, "telephony", Person("00380671112233")),
        ("380671112233", "telephony", Person(PHONE)),
        ("380671112233", "whatsapp", Person("380671112233")),
        (PHONE, "custom", Person("c-7", phone="+38 067 111 22 33")),
        (PHONE, "telegram", Person("7", phone="380671112233")),
        (PHONE, "viber", Person("v==", phone="380 67 111 22 33")),
        (PHONE, "api", Person("+38 067 111 22 33")),
        ("0671112233", "telephony", Person("0671112233")),
        ('"ann"@example.test', "email", Person("ann@example.test")),
        ("ann@example.test", "form", Person("x", email='"Ann"@Example.test')),
        ("ann@приклад.test", "email", Person("ann@xn--80aikifvh.test")),
        ("ann@xn--80aikifvh.test", "custom", Person("c-7", email="Ann@Приклад.test")),
        ("C-7", "custom", Person("c-7")),
    ],
)
def test_who_is_banned_is_known_however_they_are_written(
    ban: str, channel: str, person: Person
) -> None:
    assert bans(ban).hit(uuid4(), channel, person)
    assert not Bans().hit(uuid4(), channel, person)


@pytest.mark.parametrize(
    ("ban", "channel", "person"),
    [
        (PHONE, "telegram", Person("380671112233")),
        (PHONE, "custom", Person("380671112233")),
        (PHONE, "whatsapp", Person("380671112234")),
        ("telephony:" + PHONE, "whatsapp", Person("380671112233")),
        ("671112233", "whatsapp", Person("380671112233")),
        (f"widget:{VISITOR}", "custom", Person(VISITOR)),
        ("ann@example.test", "email", Person("ann+tag@example.test")),
        ("ann@fass.test", "email", Person("ann@faß.test")),
        ("203.0.113.0/24", "custom", Person("203.0.113.7")),
    ],
)
def test_whoever_is_somebody_else_is_not(ban: str, channel: str, person: Person) -> None:
    assert not bans(ban).hit(uuid4(), channel, person)


def test_a_contact_is_known_by_its_id() -> None:
    id = uuid4()

    assert bans(str(id)).hit(id, "telegram", Person("7"))
    assert not bans(str(id)).hit(uuid4(), "telegram", Person("7"))


@pytest.mark.parametrize(
    ("ban", "host"),
    [
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.0/120", "203.0.113.77"),
        ("203.0.113.7", "::ffff:203.0.113.7"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.7"),
        ("::/0", "::ffff:203.0.113.7"),
        ("::ffff:0:0/90", "::ffff:203.0.113.7"),
    ],
)
def test_a_network_is_one_however_it_is_written(ban: str, host: str) -> None:
    assert bans(ban).shut_out(host)
    assert not bans(ban).shut_out("198.51.100.1") or ban == "::/0"


# ---------------------------------------------------------------------- calls


def event(kind: str, number: str | None, call: str = "17") -> Arrival:
    person = None if number is None else Person(number, phone=number)
    item = Item("message", f"{call}:{kind}", kind, conversation=call, person=person, text=kind)
    return Arrival(str(uuid4()), 0, "telephony", "main", NOW, item)


def heard(desk: Book, *events: Arrival) -> list[str]:
    before = len(desk.outcomes)
    for each in events:
        desk.take_in([each])
    return [each.word for each in desk.outcomes[before:]]


def test_what_comes_of_a_rejected_call_is_rejected() -> None:
    desk = Book(RULES, NOW, bans=bans(PHONE))

    assert heard(desk, event("ringing", PHONE), event("recording", None)) == ["rejected"] * 2
    assert heard(desk, event("recording", None, "18")) == ["opened"]
    told = [type(fact) for fact, _ in desk.facts]
    assert told == [MessageRejected, MessageRejected, RequestOpened]


def test_a_call_is_rejected_from_when_its_caller_is_known() -> None:
    desk = Book(RULES, NOW, bans=bans(PHONE))

    events = (event("started", None), event("ringing", PHONE), event("recording", None))
    assert heard(desk, *events) == ["opened", "rejected", "rejected"]


def test_a_ban_in_the_middle_of_a_call_holds_and_can_be_lifted() -> None:
    desk = Book(RULES, NOW)
    assert heard(desk, event("ringing", PHONE)) == ["opened"]

    desk.bans = bans(PHONE)
    assert heard(desk, event("recording", None)) == ["rejected"]
    desk.bans = Bans()
    assert heard(desk, event("transcript", None)) == ["appended"]


def test_after_a_ban_is_lifted_the_call_is_its_callers() -> None:
    desk = Book(RULES, NOW, bans=bans(PHONE))
    heard(desk, event("ringing", PHONE))
    desk.bans = Bans()

    assert heard(desk, event("recording", None)) == ["opened"]
    [opened] = [fact for fact, _ in desk.facts if isinstance(fact, RequestOpened)]
    assert opened.contact.address == PHONE


def test_somebody_elses_call_stays_theirs() -> None:
    """Of a conference, or a call that is passed on, who was there first is whom it is with."""
    desk = Book(RULES, NOW, bans=bans(PHONE))

    events = (event("ringing", "+380501234567"), event("joined", PHONE), event("recording", None))
    assert heard(desk, *events) == ["opened", "rejected", "appended"]


def test_of_other_channels_nobody_is_remembered() -> None:
    desk = Book(RULES, NOW, bans=bans("7"))
    item = Item("message", "1", "1", conversation="7", person=Person("7"), text="hello")
    desk.take_in([Arrival(str(UUID(int=1)), 0, "telegram", "main", NOW, item)])

    assert desk.contacts == desk.conversations == {}
