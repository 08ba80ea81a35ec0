"""What a request allows: no sequence of commands makes replay fail, statuses only move forward."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import the_example

from tickets.api.schemas import Customer
from tickets.configuration import rules_in
from tickets.domain import decisions
from tickets.domain import events as e
from tickets.domain.request import FOLD, Request, evolve, replay
from tickets.domain.rules import Graph, Invalid, Refused, Rules, Topic
from tickets.store import MAPPER
from trunkline_contracts import BY_NAME, read, splice
from trunkline_workspace.fields import LARGEST, LONGEST, ValueRule
from trunkline_workspace.reading import load

REQUEST = UUID(int=7)
START = datetime(2026, 11, 24, 12, tzinfo=UTC)
ANNA = e.Contact(UUID(int=1), "Марія", "42", "uk")
RULES = Rules(
    version=1,
    types={
        "chat": Graph("new", {"new": ("open",), "open": ("closed",)}, ("closed",)),
        "ticket": Graph(
            "new",
            {
                "new": ("open",),
                "open": ("in_progress", "resolved"),
                "in_progress": ("resolved",),
                "resolved": ("closed",),
            },
            ("closed",),
        ),
    },
    topics={
        "general": Topic("first-line"),
        "delivery": Topic("first-line", {"order_no": True}, {"cause": True}),
    },
    fields={
        "order_no": ValueRule("text", pattern="^[0-9]{6}$").complaint,
        "amount": ValueRule("number", min=0).complaint,
        "due": ValueRule("date").complaint,
        "cause": ValueRule("list", options=("printer", "other")).complaint,
        "remark": ValueRule("text").complaint,
        "words": ValueRule("text", pattern="^([a-z]+ ?)+$").complaint,
    },
    priorities=("low", "medium", "high"),
    type="chat",
    topic="general",
    priority="medium",
)


def message(n: int = 1, text: str = "My printer is on fire\nagain") -> e.Message:
    return e.Message(uuid5(REQUEST, str(n)), text, START)


def draft(**changes: Any) -> e.Opened:
    plain = e.Opened(
        "chat", "telegram", "main", ANNA, "", "general", "medium", "", {}, message(), "42"
    )
    return msgspec.structs.replace(plain, **changes)


def context(minutes: int = 0) -> dict[str, Any]:
    return {"time": START + timedelta(minutes=minutes), "workspace": 1}


def opened(type_: str = "ticket") -> Request:
    events = decisions.opened_elsewhere(None, RULES, draft(type=type_))
    request = replay(decisions.record(REQUEST, 0, events, context()))
    assert request is not None
    return request


def after(request: Request, *events: e.Event) -> Request:
    told = replay(decisions.record(REQUEST, request.version, events, context(1)), request)
    assert told is not None
    return told


Deed = Callable[[Request], tuple[e.Event, ...]]
topics = st.sampled_from(["general", "delivery", "x"])
names = st.sampled_from(["anna", "bohdan"])
statuses = st.sampled_from(["new", "open", "in_progress", "resolved", "closed", "lost"])
values = st.dictionaries(
    st.sampled_from(["order_no", "amount", "due", "cause", "unheard"]),
    st.sampled_from(["123456", "2026-02-30", "printer", 5, -1, None, True]),
    max_size=2,
)
numbers = st.integers(1, 4)


def deeds() -> st.SearchStrategy[Deed]:
    """Everything that can be asked of a request or told about it."""

    def of(strategy: st.SearchStrategy[tuple[Any, ...]], deed: Callable[..., Any]) -> Any:
        return strategy.map(lambda given: lambda request: deed(request, *given))

    def assigned(request: Request, operator: str, epoch: int) -> Any:
        change = e.AssigneeChanged(None, operator, "first-line", "auto", None, epoch)
        return decisions.hear_assigned(request, change)

    def delivered(request: Request, n: int) -> Any:
        return decisions.hear_delivery(request, e.DeliveryRecorded(message(n).id, "sent"))

    rules = st.just(RULES)
    return st.one_of(
        of(st.tuples(numbers.map(message), st.none()), decisions.hear_message),
        of(st.tuples(numbers.map(message)), decisions.hear_edit),
        of(st.tuples(numbers, st.none()), decisions.hear_rating),
        of(st.tuples(names), decisions.hear_queued),
        of(st.tuples(names, numbers), assigned),
        of(st.tuples(names, st.just("declined"), numbers), decisions.hear_unassigned),
        of(st.tuples(numbers), delivered),
        of(st.tuples(numbers.map(message), names), decisions.reply),
        of(st.tuples(st.text(max_size=5), names), decisions.note),
        of(st.tuples(rules, statuses, names), decisions.set_status),
        of(st.tuples(rules, st.text(max_size=5), names), decisions.close),
        of(st.tuples(st.text(max_size=5), names), decisions.set_title),
        of(st.tuples(rules, topics, names), decisions.set_topic),
        of(st.tuples(rules, st.sampled_from(["low", "high", "x"]), names), decisions.set_priority),
        of(st.tuples(rules, values, names), decisions.set_fields),
        of(st.tuples(st.none(), names), decisions.pause),
        of(st.tuples(names), decisions.resume),
        of(st.tuples(names, names), decisions.watch),
        of(st.tuples(names, names), decisions.unwatch),
        of(st.tuples(names, names), decisions.tag),
        of(st.tuples(names, names), decisions.untag),
    )


@given(st.sampled_from(["chat", "ticket"]), st.lists(deeds(), max_size=25))
def test_no_sequence_of_commands_makes_replay_fail(type_: str, todo: list[Deed]) -> None:
    first = decisions.opened_elsewhere(None, RULES, draft(type=type_))
    history = decisions.record(REQUEST, 0, first, context())
    request = replay(history)
    assert request is not None
    seen = [request]
    for minute, deed in enumerate(todo):
        try:
            events = deed(request)
        except (Refused, Invalid):
            continue
        more = decisions.record(REQUEST, request.version, events, context(minute))
        for recorded in more:
            request = evolve(request, recorded)
            seen.append(request)
        history += more

    stored = [MAPPER.to_stored_event(recorded) for recorded in history]
    assert replay(MAPPER.to_domain_event(event) for event in stored) == request
    assert [event.originator_version for event in stored] == list(range(1, len(stored) + 1))
    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request
    _only_forward(seen, RULES.types[type_])
    for event in stored:
        _reads_as_its_contract(event.topic, event.originator_version, event.state)


def _only_forward(seen: list[Request], graph: Graph) -> None:
    for one, next_ in pairwise(seen):
        assert not one.closed or (next_.closed, next_.status) == (True, one.status)
        moved = one.status != next_.status
        assert not moved or next_.status in (*graph.steps[one.status], graph.closing[0])
        assert (next_.status in graph.closing) == next_.closed


def _reads_as_its_contract(topic: str, version: int, state: bytes) -> None:
    fact = read(splice(topic, str(REQUEST), version, state))

    assert type(fact) is BY_NAME[topic]
    assert fact.sequence == version
    assert msgspec.json.decode(fact.body()) == msgspec.json.decode(state)


def test_topics_in_storage_are_what_they_always_were() -> None:
    assert sorted(topic.removeprefix("trunkline.tickets.v1.") for topic in e.EVENTS) == [
        "assignee_changed",
        "closed",
        "delivery_recorded",
        "fields_changed",
        "message_added",
        "message_changed",
        "message_returned",
        "note_added",
        "opened",
        "paused",
        "priority_changed",
        "queued",
        "rated",
        "reaction_changed",
        "reply_sent",
        "resumed",
        "status_changed",
        "tag_added",
        "tag_removed",
        "title_changed",
        "topic_changed",
        "watcher_added",
        "watcher_removed",
    ]


def test_a_snapshot_is_what_its_number_says() -> None:
    assert FOLD == 4, "then the list below is for another number"
    assert Request.__struct_fields__ == (
        "id", "version", "type", "status", "title", "topic", "priority", "channel", "account",
        "contact", "fields", "conversation", "origin", "follow_up_of", "opened_at", "updated_at",
        "messages", "assignee", "group", "queued", "epoch", "paused", "tags", "watchers",
        "guests", "deliveries", "sent", "changed", "deleted", "reactions", "resolution", "rated",
        "closed_at",
    )  # fmt: skip


def test_guests_are_watchers_whom_somebody_else_asked_in() -> None:
    request = after(opened(), *decisions.watch(opened(), "anna", "anna"))
    assert (request.watchers, request.guests) == (("anna",), ())
    assert decisions.watch(request, "anna", "anna") == ()

    asked = after(request, *decisions.watch(request, "anna", "boss"))
    assert (asked.watchers, asked.guests) == (("anna",), ("anna",))
    assert decisions.watch(asked, "anna", "boss") == decisions.watch(asked, "anna", "anna") == ()
    gone = after(asked, *decisions.unwatch(asked, "anna", "anna"))
    assert (gone.watchers, gone.guests) == ((), ())


def test_a_long_conversation_has_a_short_snapshot() -> None:
    """It is read and written with every command: plain text, and of messages no more than ids."""
    request = opened()
    plain = len(msgspec.json.encode(request))
    long = after(request, *(e.MessageAdded(message(n)) for n in range(2, 1002)))

    assert all(long.has(message(n).id) for n in range(1, 1002))
    assert len(msgspec.json.encode(long)) - plain <= 1000 * 36
    assert msgspec.json.decode(msgspec.json.encode(long))["messages"][0].isalnum()


def test_what_became_of_an_answer_is_recorded_once_and_never_backwards() -> None:
    answer, other = message(2).id, message(3).id
    request = after(opened(), e.ReplySent(message(2), "anna", "telegram", "main", ANNA, "42"))
    recorded = []
    for state in ("sent", "sent", "read", "delivered", "failed", "read"):
        events = decisions.hear_delivery(request, e.DeliveryRecorded(answer, state))
        recorded += [state for _ in events]
        request = after(request, *events)

    assert recorded == ["sent", "read", "failed"]
    assert request.became(answer, "read")
    assert not request.became(other, "read")


def test_what_the_workspace_does_not_know_opens_with_its_defaults() -> None:
    (event,) = decisions.opened_elsewhere(
        None, RULES, draft(type="fax", topic="none", priority="none")
    )

    assert isinstance(event, e.Opened)
    assert (event.type, event.topic, event.priority) == ("chat", "general", "medium")
    assert (event.status, event.title) == ("new", "My printer is on fire")


def test_opening_twice_opens_once() -> None:
    assert decisions.opened_elsewhere(opened(), RULES, draft()) == ()


def test_close_works_from_every_status_and_is_final() -> None:
    for status in ("new", "open", "in_progress", "resolved"):
        request = msgspec.structs.replace(opened(), status=status)
        (event,) = decisions.close(request, RULES, "done", "anna")
        assert event == e.Closed("done", "operator", "closed", "anna")

    closed = after(opened(), event)
    for deed in (
        partial(decisions.close, closed, RULES, "again", "anna"),
        partial(decisions.reply, closed, message(2), "anna"),
        partial(decisions.set_status, closed, RULES, "open", "anna"),
        partial(decisions.set_title, closed, "x", "anna"),
    ):
        with pytest.raises(Refused) as refusal:
            deed()
        assert refusal.value.slug == "closed"


def test_a_status_goes_only_where_the_graph_leads() -> None:
    with pytest.raises(Refused) as refusal:
        decisions.set_status(opened(), RULES, "resolved", "anna")
    assert refusal.value.extra == {"current": "new", "allowed": ["open"]}

    with pytest.raises(Invalid):
        decisions.set_status(opened(), RULES, "lost", "anna")


def test_a_closing_status_closes() -> None:
    request = msgspec.structs.replace(opened(), status="resolved")

    assert decisions.set_status(request, RULES, "closed", "anna") == (
        e.Closed("", "operator", "closed", "anna"),
    )


def test_assignment_and_reply_leave_the_status() -> None:
    request = after(
        opened(),
        e.Queued("first-line"),
        e.AssigneeChanged(None, "anna", "first-line", "auto", None, 1),
        e.ReplySent(message(2), "anna", "telegram", "main", ANNA, "42"),
    )

    assert (request.status, request.assignee, request.queued) == ("new", "anna", False)


def test_a_message_after_closing_is_returned_once() -> None:
    closed = after(opened(), e.Closed("done", "operator", "closed", "anna"))

    (event,) = decisions.hear_message(closed, message(2), "chat")
    assert event == e.MessageReturned(message(2), "closed")
    assert decisions.hear_message(after(closed, event), message(2), "chat") == ()


def test_late_and_older_assignments_are_void() -> None:
    newer = e.AssigneeChanged(None, "anna", "first-line", "auto", None, 5)
    older = e.AssigneeChanged(None, "bohdan", "first-line", "auto", None, 4)
    request = after(opened(), newer)
    closed = after(request, e.Closed("done", "operator", "closed", "anna"))

    assert decisions.hear_assigned(request, older) == ()
    assert decisions.hear_unassigned(request, "anna", "declined", 4) == ()
    assert decisions.hear_assigned(closed, msgspec.structs.replace(older, epoch=6)) == ()
    assert decisions.hear_unassigned(closed, "anna", "declined", 6) == ()


def test_a_topic_asks_for_its_fields() -> None:
    with pytest.raises(Invalid, match="lack order_no, required"):
        decisions.open_request(RULES, draft(topic="delivery"))

    request = msgspec.structs.replace(opened(), topic="delivery")
    with pytest.raises(Refused) as refusal:
        decisions.close(request, RULES, "done", "anna")
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
        ("remark", "x" * LONGEST, "x" * (LONGEST + 1)),
        ("amount", LARGEST, LARGEST + 1),
        ("amount", 1e18, float("inf")),
        ("amount", None, float("nan")),
        ("amount", 7, 10**4200),
        ("due", "2026-02-28", "20260228"),
        ("order_no", "123456", "123456\n"),
        ("words", "a few words", "a" * 40 + "!"),
    ],
)
def test_fields_take_what_they_declare(name: str, good: object, bad: object) -> None:
    RULES.check_fields({name: good})

    with pytest.raises(Invalid, match=name) as refusal:
        RULES.check_fields({name: bad})
    assert len(str(refusal.value)) < 200  # the value itself is told apart, cut


def test_what_has_retired_is_kept_but_not_chosen_anew() -> None:
    document: dict[str, Any] = the_example().document()
    document["topics"]["billing"]["retired"] = True
    document["types"]["ticket"]["retired"] = True
    document["fields"]["order_no"]["retired"] = True
    document["topics"]["general"] |= {"fields": {"create": ["order_no"], "close": ["order_no"]}}
    rules = rules_in(load(json.dumps(document)), 2)
    request = msgspec.structs.replace(opened(), topic="billing", fields={"order_no": "123456"})

    for what, deed in (
        ("topic", partial(decisions.open_request, rules, draft(topic="billing"))),
        ("topic", partial(decisions.set_topic, opened("chat"), rules, "billing", "anna")),
        ("type", partial(decisions.open_request, rules, draft(type="ticket"))),
        ("field order_no", partial(rules.check_fields, {"order_no": "123456"})),
    ):
        with pytest.raises(Invalid, match="has retired") as refusal:
            deed()
        assert refusal.value.what == what
        assert refusal.value.value not in (refusal.value.allowed or [])
    (event,) = decisions.opened_elsewhere(None, rules, draft(type="ticket", topic="billing"))
    assert isinstance(event, e.Opened)
    assert (event.type, event.topic) == ("chat", "general")

    assert decisions.set_topic(request, rules, "billing", "anna") == ()
    assert decisions.set_topic(request, rules, "general", "anna") != ()
    assert decisions.set_status(request, rules, "open", "anna") != ()
    assert decisions.set_fields(request, rules, {"order_no": None}, "anna") != ()
    assert decisions.open_request(rules, draft()) != ()  # nothing is missing
    assert decisions.close(opened("chat"), rules, "", "anna") != ()


def test_a_long_title_is_cut_at_a_word() -> None:
    title = decisions.title_of("\n  " + "word " * 40)

    assert title == "word " * 14 + "word…"
    assert decisions.title_of("x" * 200) == "x" * 79 + "…"
    assert decisions.title_of(" \n ") == ""


@pytest.mark.parametrize(
    ("channel", "told", "address"),
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
def test_a_contact_is_known_by_what_the_channel_knows_them_by(
    channel: str, told: dict[str, str], address: str | None
) -> None:
    assert Customer(**told).address_on(channel) == address
