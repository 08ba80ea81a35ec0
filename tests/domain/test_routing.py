"""Who gets a request: against a matcher that is slow and plainly right."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.configuration import Plan
from routing.domain.matching import (
    METHODS,
    NEVER,
    Bar,
    Group,
    Operator,
    Person,
    Request,
    Status,
    chosen,
    eligibility,
    match,
    order,
    room,
    waits,
)
from routing.domain.queue_changes import GONE, Book, Held

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
TOPICS = ("general", "delivery", "billing")
CHANNELS = ("telegram", "email")
GROUPS = ("first", "second")


def request(n: int = 1, **changes: object) -> Request:
    given = {"group": "first", "topic": "general", "channel": "telegram", "weight": 10}
    return Request(id=UUID(int=n), **{**given, "created_at": NOW, **changes})


def operator(name: str = "anna", **changes: object) -> Operator:
    person = {key: changes.pop(key) for key in ("skills", "channels", "limit") if key in changes}
    told = {"status": Status.ONLINE, **changes}
    return Operator(Person(id=name, name=name, **{"limit": 2, **person}), **told)


@pytest.mark.parametrize(
    ("op", "automatic", "bar"),
    [
        (operator(), True, None),
        (operator(skills={"general": 1}), True, None),
        (operator(skills={"billing": 5}), True, Bar.NO_SKILL),
        (operator("zoe"), True, Bar.NOT_A_MEMBER),
        (operator(status=Status.OFFLINE), True, Bar.OFFLINE),
        (operator(status=Status.OFFLINE), False, Bar.OFFLINE),
        (operator(status=Status.BUSY), False, Bar.BUSY),
        (operator(status=Status.AWAY), True, Bar.AWAY),
        (operator(status=Status.AWAY), False, None),
        (operator(load=2), True, Bar.FULL),
        (operator(load=2), False, Bar.FULL),
        (operator(limit=0), True, Bar.FULL),
        (operator(load=3), True, Bar.FULL),
        (operator(channels={"telegram": 1}, channel_load={"telegram": 1}), True, Bar.CHANNEL_FULL),
        (operator(channels={"email": 1}, channel_load={"email": 1}), True, None),
        (operator(channels={"telegram": 0}), True, Bar.CHANNEL_FULL),
        (operator("boris"), True, Bar.HANDED_BACK),
        (operator("boris"), False, None),
    ],
)
def test_eligibility_says_why_not(op: Operator, automatic: bool, bar: Bar | None) -> None:
    group = Group("first", frozenset({"anna", "boris"}))
    assert eligibility(op, request(avoid="boris"), group, automatic=automatic) is bar


def ago(minutes: int) -> datetime:
    return NOW - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("method", "winner"),
    [
        ("default", "b"),  # as few as c, closed longer ago
        ("by_number_of_dialogs", "c"),  # as few as b, given one longer ago
        ("by_date_of_last_dialog", "a"),  # whose last began earliest, however many they have
        ("longest_idle", "b"),  # neither given nor closed anything for longest
    ],
)
def test_the_methods_by_name(method: str, winner: str) -> None:
    ops = [
        operator("a", limit=9, load=2, last_assigned=ago(60), last_closed=ago(1)),
        operator("b", limit=9, load=1, last_assigned=ago(30), last_closed=ago(40)),
        operator("c", limit=9, load=1, last_assigned=ago(50), last_closed=ago(5)),
    ]
    group = Group("first", frozenset("abc"), method)
    (decision,) = match([request()], {"first": group}, {op.id: op for op in ops}, NOW)
    assert decision.operator == winner
    assert decision.method == method
    assert decision.considered[0]["operator"] == winner
    assert decision.able == 3


def test_who_never_had_a_dialog_comes_before_who_had() -> None:
    ops = {"a": operator("a", last_closed=ago(600)), "b": operator("b")}
    group = Group("first", frozenset("ab"))
    (decision,) = match([request()], {"first": group}, ops, NOW)
    assert decision.operator == "b"
    assert decision.considered[0]["last_closed_at"] is None


def test_heavier_first_then_older() -> None:
    queue = [
        request(1, created_at=ago(5)),
        request(2, created_at=ago(9)),
        request(3, weight=20, created_at=ago(1)),
    ]
    ops = {"anna": operator(limit=3)}
    group = Group("first", frozenset({"anna"}))
    given_out = match(queue, {"first": group}, ops, NOW)
    assert [d.request.id.int for d in given_out] == [3, 2, 1]


people = st.builds(
    Person,
    id=st.sampled_from("abcdef"),
    name=st.just("x"),
    limit=st.integers(0, 3),
    skills=st.dictionaries(st.sampled_from(TOPICS), st.integers(1, 5)),
    channels=st.dictionaries(st.sampled_from(CHANNELS), st.integers(0, 2)),
)
moments = st.one_of(st.just(NEVER), st.integers(0, 5).map(ago))


@st.composite
def operators(draw: st.DrawFn) -> dict[str, Operator]:
    found = {}
    for person in draw(st.lists(people, unique_by=lambda p: p.id)):
        held = draw(st.lists(st.sampled_from(CHANNELS), max_size=person.limit + 1))
        found[person.id] = Operator(
            person,
            draw(st.sampled_from([Status.ONLINE, Status.ONLINE, Status.AWAY, Status.OFFLINE])),
            len(held),
            {channel: held.count(channel) for channel in held},
            draw(moments),
            draw(moments),
        )
    return found


groups = st.fixed_dictionaries(
    {
        name: st.builds(
            Group,
            st.just(name),
            st.frozensets(st.sampled_from("abcdefg")),
            st.sampled_from(sorted(METHODS)),
            st.sampled_from([True, True, True, False]),
        )
        for name in GROUPS
    }
)
requests = st.builds(
    Request,
    id=st.uuids(),
    group=st.sampled_from(GROUPS),
    topic=st.sampled_from(TOPICS),
    channel=st.sampled_from(CHANNELS),
    weight=st.sampled_from([10, 20]),
    created_at=st.integers(0, 3).map(ago),
    avoid=st.sampled_from([None, None, "a"]),
)
queues = st.lists(requests, max_size=25, unique_by=lambda r: r.id)


def plainly(
    queue: list[Request], groups: dict[str, Group], ops: dict[str, Operator]
) -> list[tuple[UUID, str, dict[str, int]]]:
    """Look at every operator for every request, in order."""
    given_out = []
    for asked in sorted(queue, key=order):
        group = groups[asked.group]
        if not group.automatic:
            continue
        bars = {n: eligibility(op, asked, group) for n, op in ops.items() if n in group.members}
        able = [ops[name] for name, bar in bars.items() if bar is None]
        if able:
            best = min(able, key=METHODS[group.method])
            why = [bar.value for bar in bars.values() if bar]
            given_out.append((asked.id, best.id, {bar: why.count(bar) for bar in why}))
            best.take(asked.channel, NOW + timedelta(microseconds=len(given_out)))
    return given_out


@settings(max_examples=400)
@given(queues, groups, operators())
def test_the_matcher_decides_as_the_plain_one(
    queue: list[Request], groups: dict[str, Group], ops: dict[str, Operator]
) -> None:
    slow, before = deepcopy(ops), deepcopy(ops)
    decisions = match(queue, groups, ops, NOW)

    assert [(d.request.id, d.operator, dict(d.excluded)) for d in decisions] == plainly(
        queue, groups, slow
    )
    assert ops == slow
    for name, op in ops.items():
        assert op.load <= max(op.person.limit, before[name].load)
        for channel, limit in op.person.channels.items():
            held = op.channel_load.get(channel, 0)
            assert held <= max(limit, before[name].channel_load.get(channel, 0))


@given(queues, groups, operators())
def test_nobody_waits_while_somebody_able_is_free(
    queue: list[Request], groups: dict[str, Group], ops: dict[str, Operator]
) -> None:
    taken = {d.request.id for d in match(queue, groups, ops, NOW)}
    left = [r for r in queue if r.id not in taken and groups[r.group].automatic]

    assert match(left, groups, ops, NOW) == []
    assert room({r.line for r in left}, groups, ops) == {}
    for decision in waits(left, groups, ops):
        assert decision.operator is None
        assert decision.able == 0
        known = sum(name in ops for name in groups[decision.request.group].members)
        assert sum(decision.excluded.values()) == known


def test_decisions_have_ids_of_their_own_that_do_not_change() -> None:
    one = chosen(request(), operator(), "claim")
    assert one.id == chosen(request(), operator(), "claim").id
    assert one.id != chosen(request(epoch=1), operator(), "claim").id
    assert one.epoch == 1


def test_what_has_ended_stays_ended() -> None:
    book = Book({})
    book.leave(UUID(int=1), NOW)
    book.join(request(1))
    assert book.now[UUID(int=1)] is GONE
    assert book.joined == {}


def test_handing_on_keeps_the_age_and_counts_on() -> None:
    book = Book({})
    book.join(request(1))
    book.take(chosen(request(1), operator(), "claim"), "anna", "claim", NOW)
    book.hand_on(UUID(int=1), "transferred", "second")
    (again,) = book.waiting()
    assert (again.created_at, again.epoch, again.avoid) == (NOW, 1, "anna")
    assert again.group == "second"
    held = book.take(chosen(again, operator("boris"), "claim"), "boris", "claim", NOW)
    assert held.request.epoch == 2


def test_who_has_a_request_keeps_it_when_its_topic_changes() -> None:
    held = Held(request(1), "anna", NOW, "auto")
    book = Book({UUID(int=1): held})
    book.retopic(UUID(int=1), "billing", "second")
    book.reweigh(UUID(int=1), 40)
    kept = book.now[UUID(int=1)]
    assert isinstance(kept, Held)
    assert (kept.operator, kept.request.group, kept.request.weight) == ("anna", "second", 40)
    assert book.joined == {}


def test_who_hands_back_gets_it_again_only_when_there_is_nobody_else() -> None:
    alone, two = Group("first", frozenset({"anna"})), Group("first", frozenset({"anna", "boris"}))
    again = request(avoid="anna")
    assert eligibility(operator(), again, two) is Bar.HANDED_BACK
    assert eligibility(operator(), again, alone) is None
    (decision,) = match([again], {"first": alone}, {"anna": operator()}, NOW)
    assert decision.operator == "anna"


def test_what_was_claimed_counts_before_anything_is_given_out() -> None:
    op = operator(limit=2, channels={"telegram": 1})
    book = Book({request(1).id: request(1)})
    book.take(chosen(request(1), op, "claim"), "anna", "claim", NOW)
    book.settle({"anna": op})
    assert (op.load, op.channel_load, op.last_assigned) == (1, {"telegram": 1}, NOW)
    group = Group("first", frozenset({"anna"}))
    given = match([request(2)], {"first": group}, {"anna": op}, NOW)
    assert not [decision for decision in given if decision.operator]


def test_what_waits_where_nobody_is_any_more_waits_at_its_topics() -> None:
    groups = {name: Group(name, frozenset({"anna"})) for name in GROUPS}
    topics = {"general": "first", "billing": "second", "delivery": "second"}
    old = Plan(1, {}, groups, topics, {}, "general")
    moved = topics | {"delivery": "first"}
    assert Plan(2, {}, groups, moved, {}, "general").moved_since(old) == {"delivery": "second"}
    gone = Plan(2, {}, {"first": groups["first"]}, {"general": "first"}, {}, "general")
    assert gone.moved_since(old) == {"billing": "second", "delivery": "second"}
    assert (gone.home("second", "billing"), gone.home("first", "billing")) == ("first", "first")
    held = Held(request(1, group="second", topic="billing"), "anna", NOW, "auto")
    book = Book({request(1).id: held})
    book.hand_on(request(1).id, "redistributed", home=gone.home)
    (waits_now,) = book.waiting()
    assert (waits_now.group, waits_now.avoid) == ("first", "anna")
