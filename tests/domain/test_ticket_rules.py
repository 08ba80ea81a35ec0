"""Rules of requests: topics, statuses, fields, retired names and contacts."""

import json
from functools import partial
from typing import Any

import msgspec
import pytest
from request_builders import (
    RULES,
    after,
    draft,
    message,
    opened,
)
from world import the_example

from tickets.api.schemas import Customer
from tickets.configuration import rules_from
from tickets.domain import events as e
from tickets.domain.commands import fields, lifecycle, messages
from tickets.domain.rules import Invalid, Refused
from trunkline_workspace.fields import MAX_NUMBER, MAX_TEXT_LENGTH
from trunkline_workspace.reading import load


def test_topic_requires_its_fields() -> None:
    with pytest.raises(Invalid, match="lack order_no, required"):
        lifecycle.open_request(RULES, draft(topic="delivery"))

    request = msgspec.structs.replace(opened(), topic="delivery")
    with pytest.raises(Refused) as refusal:
        lifecycle.close(request, RULES, "done", "anna")
    assert refusal.value.extra == {"fields": ["cause"]}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("order_no", "123456", "12345"),
        ("amount", 0, -1),
        ("amount", 1.5, True),
        ("due", "2026-02-28", "2026-02-30"),
        ("cause", "printer", "fire"),
        ("remark", "Ґанок 🦉", "\ud800"),
        ("remark", "", "a\x00b"),
        ("remark", "x" * MAX_TEXT_LENGTH, "x" * (MAX_TEXT_LENGTH + 1)),
        ("amount", MAX_NUMBER, MAX_NUMBER + 1),
        ("amount", 1e18, float("inf")),
        ("amount", None, float("nan")),
        ("amount", 7, 10**4200),
        ("due", "2026-02-28", "20260228"),
        ("order_no", "123456", "123456\n"),
        ("words", "a few words", "a" * 40 + "!"),
    ],
)
def test_field_accepts_only_what_it_declares(name: str, good: object, bad: object) -> None:
    RULES.check_fields({name: good})

    with pytest.raises(Invalid, match=name) as refusal:
        RULES.check_fields({name: bad})
    assert len(str(refusal.value)) < 200  # the value itself is cut


def test_retired_names_are_kept_but_not_chosen() -> None:
    document: dict[str, Any] = the_example().document()
    document["topics"]["billing"]["retired"] = True
    document["types"]["ticket"]["retired"] = True
    document["fields"]["order_no"]["retired"] = True
    document["topics"]["general"] |= {"fields": {"create": ["order_no"], "close": ["order_no"]}}
    rules = rules_from(load(json.dumps(document)), 2)
    request = msgspec.structs.replace(opened(), topic="billing", fields={"order_no": "123456"})

    for subject, command in (
        ("topic", partial(lifecycle.open_request, rules, draft(topic="billing"))),
        ("topic", partial(fields.set_topic, opened("chat"), rules, "billing", "anna")),
        ("type", partial(lifecycle.open_request, rules, draft(type="ticket"))),
        ("field order_no", partial(rules.check_fields, {"order_no": "123456"})),
    ):
        with pytest.raises(Invalid, match="has retired") as refusal:
            command()
        assert refusal.value.subject == subject
        assert refusal.value.value not in (refusal.value.allowed or [])
    (event,) = lifecycle.on_request_opened(None, rules, draft(type="ticket", topic="billing"))
    assert isinstance(event, e.Opened)
    assert (event.type, event.topic) == ("chat", "general")

    assert fields.set_topic(request, rules, "billing", "anna") == ()
    assert fields.set_topic(request, rules, "general", "anna") != ()
    assert lifecycle.set_status(request, rules, "open", "anna") != ()
    assert fields.set_fields(request, rules, {"order_no": None}, "anna") != ()
    assert lifecycle.open_request(rules, draft()) != ()  # nothing is missing
    assert lifecycle.close(opened("chat"), rules, "", "anna") != ()


def test_long_title_is_cut_at_a_word() -> None:
    title = lifecycle.title_of("\n  " + "word " * 40)

    assert title == "word " * 14 + "word…"
    assert lifecycle.title_of("x" * 200) == "x" * 79 + "…"
    assert lifecycle.title_of(" \n ") == ""


@pytest.mark.parametrize(
    ("channel", "fields", "address"),
    [
        ("email", {"email": "Ann@Example.test", "phone": "1", "id": "a"}, "ann@example.test"),
        ("email", {"address": ' "Ann"@Example.test', "email": "b@x"}, "ann@example.test"),
        ("email", {"address": " ", "phone": "1"}, "1"),
        ("api", {"email": "Ann@Example.test", "phone": "1", "id": "A"}, "A"),
        ("api", {"email": "Ann@Example.test", "phone": "1"}, "ann@example.test"),
        ("form", {"email": "Ann@Example.test", "id": "A"}, "ann@example.test"),
        ("custom", {"id": "C-7", "phone": "1", "email": "a@x"}, "C-7"),
        ("telegram", {"id": "7", "phone": "1"}, "7"),
        ("telephony", {"id": "7", "phone": "+38 067 111-22-33"}, "+380671112233"),
        ("whatsapp", {"phone": "+38 067 111-22-33"}, "380671112233"),
        ("whatsapp", {"address": "+380671112233"}, "380671112233"),
        ("custom", {"address": "A@X"}, "A@X"),
        ("custom", {"name": "Ann"}, None),
    ],
)
def test_contact_address_is_the_channels_best_one(
    channel: str, fields: dict[str, str], address: str | None
) -> None:
    assert Customer(**fields).address_on(channel) == address


def test_unknown_names_open_with_defaults() -> None:
    (event,) = lifecycle.on_request_opened(
        None, RULES, draft(type="fax", topic="none", priority="none")
    )

    assert isinstance(event, e.Opened)
    assert (event.type, event.topic, event.priority) == ("chat", "general", "medium")
    assert (event.status, event.title) == ("new", "My printer is on fire")


def test_repeated_opening_has_no_effect() -> None:
    assert lifecycle.on_request_opened(opened(), RULES, draft()) == ()


def test_status_outside_the_graph_is_refused() -> None:
    with pytest.raises(Refused) as refusal:
        lifecycle.set_status(opened(), RULES, "resolved", "anna")
    assert refusal.value.extra == {"current": "new", "allowed": ["open"]}

    with pytest.raises(Invalid):
        lifecycle.set_status(opened(), RULES, "lost", "anna")


def test_closing_status_closes_the_request() -> None:
    request = msgspec.structs.replace(opened(), status="resolved")

    assert lifecycle.set_status(request, RULES, "closed", "anna") == (
        e.Closed("", "operator", "closed", "anna"),
    )


def test_close_from_any_status_is_final() -> None:
    for status in ("new", "open", "in_progress", "resolved"):
        request = msgspec.structs.replace(opened(), status=status)
        (event,) = lifecycle.close(request, RULES, "done", "anna")
        assert event == e.Closed("done", "operator", "closed", "anna")

    closed = after(opened(), event)
    for command in (
        partial(lifecycle.close, closed, RULES, "again", "anna"),
        partial(messages.reply, closed, message(2), "anna"),
        partial(lifecycle.set_status, closed, RULES, "open", "anna"),
        partial(fields.set_title, closed, "x", "anna"),
    ):
        with pytest.raises(Refused) as refusal:
            command()
        assert refusal.value.slug == "closed"
