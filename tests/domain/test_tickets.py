"""Requests: no sequence of commands makes replay fail, and a status only moves forward."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from request_builders import (
    REQUEST,
    RULES,
    after,
    assigned_to,
    context,
    draft,
    message,
    opened,
    reply_sent,
)

from tickets.domain import events as e
from tickets.domain.commands import assignment, fields, lifecycle, messages, ratings, watchers
from tickets.domain.request import SNAPSHOT_VERSION, Request, evolve, replay
from tickets.domain.rules import Graph, Invalid, Refused
from tickets.store import MAPPER
from trunkline_contracts import BY_NAME, read, splice

Decision = Callable[[Request], tuple[e.Event, ...]]
topics = st.sampled_from(["general", "delivery", "x"])
names = st.sampled_from(["anna", "bohdan"])
statuses = st.sampled_from(["new", "open", "in_progress", "resolved", "closed", "lost"])
values = st.dictionaries(
    st.sampled_from(["order_no", "amount", "due", "cause", "unheard"]),
    st.sampled_from(["123456", "2026-02-30", "printer", 5, -1, None, True]),
    max_size=2,
)
numbers = st.integers(1, 4)


def decisions() -> st.SearchStrategy[Decision]:
    """Generate every command on a request and every fact about it."""

    def of(strategy: st.SearchStrategy[tuple[Any, ...]], decide: Callable[..., Any]) -> Any:
        return strategy.map(lambda given: lambda request: decide(request, *given))

    def assigned(request: Request, operator: str, epoch: int) -> Any:
        return assignment.on_assigned(request, assigned_to(operator, epoch))

    def delivered(request: Request, n: int) -> Any:
        return messages.on_delivery(
            request, e.DeliveryRecorded(message_id=message(n).id, state="sent")
        )

    rules = st.just(RULES)
    return st.one_of(
        of(st.tuples(numbers.map(message), st.none()), messages.on_message),
        of(st.tuples(numbers.map(message)), messages.on_edit),
        of(st.tuples(numbers, st.none()), ratings.on_rating),
        of(st.tuples(names), assignment.on_queued),
        of(st.tuples(names, numbers), assigned),
        of(st.tuples(names, st.just("declined"), numbers), assignment.on_unassigned),
        of(st.tuples(numbers), delivered),
        of(st.tuples(numbers.map(message), names), messages.reply),
        of(st.tuples(st.text(max_size=5), names), messages.note),
        of(st.tuples(rules, statuses, names), lifecycle.set_status),
        of(st.tuples(rules, st.text(max_size=5), names), lifecycle.close),
        of(st.tuples(st.text(max_size=5), names), fields.set_title),
        of(st.tuples(rules, topics, names), fields.set_topic),
        of(st.tuples(rules, st.sampled_from(["low", "high", "x"]), names), fields.set_priority),
        of(st.tuples(rules, values, names), fields.set_fields),
        of(st.tuples(st.none(), names), lifecycle.pause),
        of(st.tuples(names), lifecycle.resume),
        of(st.tuples(names, names), watchers.watch),
        of(st.tuples(names, names), watchers.unwatch),
        of(st.tuples(names, names), fields.tag),
        of(st.tuples(names, names), fields.untag),
    )


@given(st.sampled_from(["chat", "ticket"]), st.lists(decisions(), max_size=25))
def test_command_sequences_always_replay(type_: str, todo: list[Decision]) -> None:
    first = lifecycle.on_request_opened(None, RULES, draft(type=type_))
    history = e.number(REQUEST, 0, first, context())
    request = replay(history)
    assert request is not None
    seen = [request]
    for minute, decide in enumerate(todo):
        try:
            events = decide(request)
        except (Refused, Invalid):
            continue
        more = e.number(REQUEST, request.version, events, context(minute))
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


def test_stored_topics_never_change() -> None:
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


def test_snapshot_fields_match_their_version() -> None:
    assert SNAPSHOT_VERSION == 5, "then the list below is for another number"
    assert Request.__struct_fields__ == (
        "id", "version", "type", "status", "title", "topic", "priority", "channel", "account",
        "contact", "fields", "conversation", "origin", "follow_up_of", "opened_at", "updated_at",
        "messages", "assignee", "group", "queued", "epoch", "paused", "tags", "watchers",
        "invited_watchers", "deliveries", "platform_ids", "edits", "deleted", "reactions",
        "resolution", "rated",
        "closed_at",
    )  # fmt: skip


def test_watcher_added_by_others_is_invited() -> None:
    request = after(opened(), *watchers.watch(opened(), "anna", "anna"))
    assert (request.watchers, request.invited_watchers) == (("anna",), ())
    assert watchers.watch(request, "anna", "anna") == ()

    invited = after(request, *watchers.watch(request, "anna", "boss"))
    assert (invited.watchers, invited.invited_watchers) == (("anna",), ("anna",))
    assert watchers.watch(invited, "anna", "boss") == watchers.watch(invited, "anna", "anna") == ()
    gone = after(invited, *watchers.unwatch(invited, "anna", "anna"))
    assert (gone.watchers, gone.invited_watchers) == ((), ())


def test_long_conversation_has_short_snapshot() -> None:
    """Every command reads and writes it: of messages it holds only the ids, as text."""
    request = opened()
    plain = len(msgspec.json.encode(request))
    long = after(request, *(e.MessageAdded(message(n)) for n in range(2, 1002)))

    assert all(long.has_message(message(n).id) for n in range(1, 1002))
    assert len(msgspec.json.encode(long)) - plain <= 1000 * 36
    assert msgspec.json.decode(msgspec.json.encode(long))["messages"][0].isalnum()


def test_delivery_state_is_recorded_once_and_only_forward() -> None:
    answer, other = message(2).id, message(3).id
    request = after(opened(), reply_sent())
    recorded = []
    for state in ("sent", "sent", "read", "delivered", "failed", "read"):
        events = messages.on_delivery(request, e.DeliveryRecorded(message_id=answer, state=state))
        recorded += [state for _ in events]
        request = after(request, *events)

    assert recorded == ["sent", "read", "failed"]
    assert request.has_delivery_state(answer, "read")
    assert not request.has_delivery_state(other, "read")


def test_assignment_and_reply_keep_the_status() -> None:
    request = after(
        opened(),
        e.Queued("first-line"),
        assigned_to("anna", 1),
        reply_sent(),
    )

    assert (request.status, request.assignee, request.queued) == ("new", "anna", False)


def test_message_after_closing_is_returned_once() -> None:
    closed = after(opened(), e.Closed("done", "operator", "closed", "anna"))

    (event,) = messages.on_message(closed, message(2), "chat")
    assert event == e.MessageReturned(message(2), "closed")
    assert messages.on_message(after(closed, event), message(2), "chat") == ()


def test_late_or_older_assignment_has_no_effect() -> None:
    newer = assigned_to("anna", 5)
    older = assigned_to("bohdan", 4)
    request = after(opened(), newer)
    closed = after(request, e.Closed("done", "operator", "closed", "anna"))

    assert assignment.on_assigned(request, older) == ()
    assert assignment.on_unassigned(request, "anna", "declined", 4) == ()
    assert assignment.on_assigned(closed, msgspec.structs.replace(older, epoch=6)) == ()
    assert assignment.on_unassigned(closed, "anna", "declined", 6) == ()
