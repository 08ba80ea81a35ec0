"""The matcher against a slow and plain one, eligibility, methods and queue changes."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.configuration import RoutingRules
from routing.domain.decisions import manual_decision
from routing.domain.eligibility import Ineligibility, eligibility
from routing.domain.matching import free_capacity, match, wait_decisions
from routing.domain.methods import METHODS
from routing.domain.model import (
    NEVER,
    Group,
    Operator,
    OperatorProfile,
    Request,
    Status,
    queue_order,
)
from routing.domain.queue_changes import ENDED, Assignment, QueueChanges

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
TOPICS = ("general", "delivery", "billing")
CHANNELS = ("telegram", "email")
GROUPS = ("first", "second")


def request(n: int = 1, **changes: object) -> Request:
    given = {"group": "first", "topic": "general", "channel": "telegram", "weight": 10}
    return Request(id=UUID(int=n), **{**given, "created_at": NOW, **changes})


def operator(name: str = "anna", **changes: object) -> Operator:
    profile = {key: changes.pop(key) for key in ("skills", "channels", "limit") if key in changes}
    fields = {"status": Status.ONLINE, **changes}
    return Operator(OperatorProfile(id=name, name=name, **{"limit": 2, **profile}), **fields)


@pytest.mark.parametrize(
    ("op", "automatic", "reason"),
    [
        (operator(), True, None),
        (operator(skills={"general": 1}), True, None),
        (operator(skills={"billing": 5}), True, Ineligibility.NO_SKILL),
        (operator("zoe"), True, Ineligibility.NOT_A_MEMBER),
        (operator(status=Status.OFFLINE), True, Ineligibility.OFFLINE),
        (operator(status=Status.OFFLINE), False, Ineligibility.OFFLINE),
        (operator(status=Status.BUSY), False, Ineligibility.BUSY),
        (operator(status=Status.AWAY), True, Ineligibility.AWAY),
        (operator(status=Status.AWAY), False, None),
        (operator(load=2), True, Ineligibility.FULL),
        (operator(load=2), False, Ineligibility.FULL),
        (operator(limit=0), True, Ineligibility.FULL),
        (operator(load=3), True, Ineligibility.FULL),
        (
            operator(channels={"telegram": 1}, channel_load={"telegram": 1}),
            True,
            Ineligibility.CHANNEL_FULL,
        ),
        (operator(channels={"email": 1}, channel_load={"email": 1}), True, None),
        (operator(channels={"telegram": 0}), True, Ineligibility.CHANNEL_FULL),
        (operator("boris"), True, Ineligibility.HANDED_BACK),
        (operator("boris"), False, None),
    ],
)
def test_eligibility_returns_the_reason(
    op: Operator, automatic: bool, reason: Ineligibility | None
) -> None:
    group = Group("first", frozenset({"anna", "boris"}))
    assert eligibility(op, request(avoid="boris"), group, automatic=automatic) is reason


def ago(minutes: int) -> datetime:
    return NOW - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("method", "winner"),
    [
        ("default", "b"),  # as few as c, closed earlier
        ("by_number_of_dialogs", "c"),  # as few as b, assigned earlier
        ("by_date_of_last_dialog", "a"),  # the earliest start, whatever the load
        ("longest_idle", "b"),  # idle for longest
    ],
)
def test_method_ranks_the_expected_operator_first(method: str, winner: str) -> None:
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


def test_default_method_prefers_operator_without_dialogs() -> None:
    ops = {"a": operator("a", last_closed=ago(600)), "b": operator("b")}
    group = Group("first", frozenset("ab"))
    (decision,) = match([request()], {"first": group}, ops, NOW)
    assert decision.operator == "b"
    assert decision.considered[0]["last_closed_at"] is None


def test_match_takes_heavier_then_older_requests() -> None:
    queue = [
        request(1, created_at=ago(5)),
        request(2, created_at=ago(9)),
        request(3, weight=20, created_at=ago(1)),
    ]
    ops = {"anna": operator(limit=3)}
    group = Group("first", frozenset({"anna"}))
    assigned = match(queue, {"first": group}, ops, NOW)
    assert [d.request.id.int for d in assigned] == [3, 2, 1]


profiles = st.builds(
    OperatorProfile,
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
    for profile in draw(st.lists(profiles, unique_by=lambda p: p.id)):
        held = draw(st.lists(st.sampled_from(CHANNELS), max_size=profile.limit + 1))
        found[profile.id] = Operator(
            profile,
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


def match_plainly(
    queue: list[Request], groups: dict[str, Group], ops: dict[str, Operator]
) -> list[tuple[UUID, str, dict[str, int]]]:
    """Check every operator for every request, in the order of the queue."""
    assigned = []
    for request_ in sorted(queue, key=queue_order):
        group = groups[request_.group]
        if not group.automatic:
            continue
        reasons = {
            n: eligibility(op, request_, group) for n, op in ops.items() if n in group.members
        }
        able = [ops[name] for name, reason in reasons.items() if reason is None]
        if able:
            best = min(able, key=METHODS[group.method])
            why = [reason.value for reason in reasons.values() if reason]
            assigned.append((request_.id, best.id, {reason: why.count(reason) for reason in why}))
            best.assign(request_.channel, NOW + timedelta(microseconds=len(assigned)))
    return assigned


@settings(max_examples=400)
@given(queues, groups, operators())
def test_match_equals_the_plain_matcher(
    queue: list[Request], groups: dict[str, Group], ops: dict[str, Operator]
) -> None:
    slow, before = deepcopy(ops), deepcopy(ops)
    decisions = match(queue, groups, ops, NOW)

    assert [(d.request.id, d.operator, dict(d.excluded)) for d in decisions] == match_plainly(
        queue, groups, slow
    )
    assert ops == slow
    for name, op in ops.items():
        assert op.load <= max(op.profile.limit, before[name].load)
        for channel, limit in op.profile.channels.items():
            held = op.channel_load.get(channel, 0)
            assert held <= max(limit, before[name].channel_load.get(channel, 0))


@given(queues, groups, operators())
def test_match_leaves_no_request_with_a_free_operator(
    queue: list[Request], groups: dict[str, Group], ops: dict[str, Operator]
) -> None:
    taken = {d.request.id for d in match(queue, groups, ops, NOW)}
    left = [r for r in queue if r.id not in taken and groups[r.group].automatic]

    assert match(left, groups, ops, NOW) == []
    assert free_capacity({r.candidate_key for r in left}, groups, ops) == {}
    for decision in wait_decisions(left, groups, ops):
        assert decision.operator is None
        assert decision.able == 0
        known = sum(name in ops for name in groups[decision.request.group].members)
        assert sum(decision.excluded.values()) == known


def test_decision_id_is_derived_from_request_and_epoch() -> None:
    one = manual_decision(request(), operator(), "claim")
    assert one.id == manual_decision(request(), operator(), "claim").id
    assert one.id != manual_decision(request(epoch=1), operator(), "claim").id
    assert one.epoch == 1


def test_ended_request_is_not_queued_again() -> None:
    changes = QueueChanges({})
    changes.remove(UUID(int=1), NOW)
    changes.enqueue(request(1))
    assert changes.after[UUID(int=1)] is ENDED
    assert changes.queued == {}


def test_requeue_keeps_the_age_and_the_epoch() -> None:
    changes = QueueChanges({})
    changes.enqueue(request(1))
    changes.assign(manual_decision(request(1), operator(), "claim"), "anna", "claim", NOW)
    changes.requeue(UUID(int=1), "transferred", "second")
    (again,) = changes.waiting()
    assert (again.created_at, again.epoch, again.avoid) == (NOW, 1, "anna")
    assert again.group == "second"
    assignment = changes.assign(
        manual_decision(again, operator("boris"), "claim"), "boris", "claim", NOW
    )
    assert assignment.request.epoch == 2


def test_topic_change_keeps_the_operator() -> None:
    assignment = Assignment(request(1), "anna", NOW, "auto")
    changes = QueueChanges({UUID(int=1): assignment})
    changes.change_topic(UUID(int=1), "billing", "second")
    changes.change_priority(UUID(int=1), 40)
    kept = changes.after[UUID(int=1)]
    assert isinstance(kept, Assignment)
    assert (kept.operator, kept.request.group, kept.request.weight) == ("anna", "second", 40)
    assert changes.queued == {}


def test_handed_back_request_returns_only_to_a_lone_member() -> None:
    alone, two = Group("first", frozenset({"anna"})), Group("first", frozenset({"anna", "boris"}))
    again = request(avoid="anna")
    assert eligibility(operator(), again, two) is Ineligibility.HANDED_BACK
    assert eligibility(operator(), again, alone) is None
    (decision,) = match([again], {"first": alone}, {"anna": operator()}, NOW)
    assert decision.operator == "anna"


def test_claim_counts_before_the_match() -> None:
    op = operator(limit=2, channels={"telegram": 1})
    changes = QueueChanges({request(1).id: request(1)})
    changes.assign(manual_decision(request(1), op, "claim"), "anna", "claim", NOW)
    changes.update_loads({"anna": op})
    assert (op.load, op.channel_load, op.last_assigned) == (1, {"telegram": 1}, NOW)
    group = Group("first", frozenset({"anna"}))
    given = match([request(2)], {"first": group}, {"anna": op}, NOW)
    assert not [decision for decision in given if decision.operator]


def test_retired_group_leaves_requests_to_the_topics_group() -> None:
    groups = {name: Group(name, frozenset({"anna"})) for name in GROUPS}
    topics = {"general": "first", "billing": "second", "delivery": "second"}
    old = RoutingRules(1, {}, groups, topics, {}, "general")
    moved = topics | {"delivery": "first"}
    assert RoutingRules(2, {}, groups, moved, {}, "general").regrouped_topics(old) == {
        "delivery": "second"
    }
    gone = RoutingRules(2, {}, {"first": groups["first"]}, {"general": "first"}, {}, "general")
    assert gone.regrouped_topics(old) == {"billing": "second", "delivery": "second"}
    assert (gone.active_group("second", "billing"), gone.active_group("first", "billing")) == (
        "first",
        "first",
    )
    assignment = Assignment(request(1, group="second", topic="billing"), "anna", NOW, "auto")
    changes = QueueChanges({request(1).id: assignment})
    changes.requeue(request(1).id, "redistributed", active_group=gone.active_group)
    (queued,) = changes.waiting()
    assert (queued.group, queued.avoid) == ("first", "anna")
