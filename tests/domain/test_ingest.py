"""ingest's decisions: one effect per message, one open request per conversation, nothing lost.

Long, as it tries every path by which a message reaches a request.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailing import outbound

from ingest.domain.batch_entry import BatchEntry, FirstSeen
from ingest.domain.field_rules import Rules
from ingest.domain.fields import FieldRule
from ingest.domain.intake_batch import ContactRecord, IntakeBatch
from ingest.domain.items import InboundItem, Person, RequestAttributes
from ingest.domain.message_intake import process
from ingest.domain.ticket_facts import (
    close_request,
    handle_returned,
    register_external_request,
)
from ingest.gateway.inbound_ids import InboundIdIssuer
from ingest.gateway.rate_limit import RateLimit
from trunkline_contracts import (
    ContactChanged,
    MessageReceived,
    MessageRejected,
    MessageReturned,
    RequestOpened,
)
from trunkline_contracts.ids import contact_id
from trunkline_contracts.parts import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
RULES = Rules(
    "chat",
    "general",
    frozenset({"chat", "ticket"}),
    frozenset({"low", "high"}),
    {"general": {}, "billing": dict.fromkeys(("order_no", "amount", "due", "cause"), False)},
    {
        "order_no": FieldRule("text", pattern="^[0-9]{6}$"),
        "amount": FieldRule("number", min=0),
        "due": FieldRule("date"),
        "cause": FieldRule("list", options=("printer", "other")),
    },
)


def new_batch(**known: Any) -> IntakeBatch:
    return IntakeBatch(RULES, NOW, **known)


def entry(
    external_id: str | None = "1", text: str = "hello", *, chat: str = "7", **more: Any
) -> BatchEntry:
    item = InboundItem(
        "message", external_id, text, more.pop("reused", "new"), conversation=chat,
        person=more.pop("person", Person(chat, "Ann")), text=text, sent_at=more.pop("sent_at", NOW),
        asked=more.pop("asked", None),
    )  # fmt: skip
    return BatchEntry(str(uuid4()), 0, "telegram", "main", NOW, item, **more)


def kinds(of: IntakeBatch) -> list[str]:
    return [outcome.kind for outcome in of.outcomes]


def facts_of(of: IntakeBatch, kind: type) -> list[Any]:
    return [fact for fact, _ in of.facts if isinstance(fact, kind)]


class TestMessages:
    def test_who_is_not_named_is_whom_the_conversation_is_with(self) -> None:
        batch = new_batch()
        process(batch, [entry("1"), entry("2", person=None), entry("3", person=None)])

        assert kinds(batch) == ["opened", "appended", "appended"]
        assert [card.address for card in batch.contacts.values()] == ["7"]

        lost = new_batch(conversations=batch.conversations)
        for conversation in lost.conversations.values():
            conversation.open_request = None
        process(lost, [entry("4", person=None)])

        (opened,) = facts_of(lost, RequestOpened)
        assert opened.contact.id == contact_id("telegram", "main", "7")
        assert not lost.contacts

    def test_the_first_opens_the_second_is_appended(self) -> None:
        batch = new_batch()

        process(batch, [entry("1"), entry("2", "again")])

        (opened,), (received,) = facts_of(batch, RequestOpened), facts_of(batch, MessageReceived)
        assert kinds(batch) == ["opened", "appended"]
        assert opened.request_id == received.request_id
        assert (opened.topic, opened.topic_by, opened.request_type) == ("general", "none", "chat")
        assert received.threaded_by == "conversation"
        assert facts_of(batch, ContactChanged) == []

    def test_a_message_again_changes_nothing_and_names_its_request(self) -> None:
        batch = new_batch()

        process(batch, [entry("1"), entry("1"), entry("1")])

        assert kinds(batch) == ["opened", "duplicate", "duplicate"]
        assert len({outcome.request_id for outcome in batch.outcomes}) == 1
        assert [outcome.first for outcome in batch.outcomes] == [True, False, False]
        assert len(batch.facts) == 1

    def test_what_was_seen_in_another_batch_is_a_duplicate(self) -> None:
        request_id, known = uuid4(), entry("1")

        batch = new_batch(first_seen={known.message_id: FirstSeen("hello", request_id)})
        process(batch, [known])

        assert (kinds(batch), batch.outcomes[0].request_id) == (["duplicate"], request_id)
        assert batch.facts == []

    def test_an_id_that_began_anew_is_another_message_and_flagged(self) -> None:
        batch = new_batch(first_seen={entry("1").message_id: FirstSeen("years ago", uuid4())})

        process(batch, [entry("1"), entry("1")])

        assert kinds(batch) == ["opened", "duplicate"]
        assert "used before" in (batch.outcomes[0].reason or "")

    def test_a_key_with_another_body_is_rejected(self) -> None:
        batch = new_batch()

        process(batch, [entry("k", "one", reused="rejected"), entry("k", "two", reused="rejected")])

        assert kinds(batch) == ["opened", "rejected"]
        assert batch.outcomes[1].request_id == batch.outcomes[0].request_id
        assert "another body" in facts_of(batch, MessageRejected)[0].reason

    def test_without_an_id_nothing_is_a_duplicate(self) -> None:
        batch = new_batch()

        process(batch, [entry(None), entry(None)])

        assert kinds(batch) == ["opened", "appended"]

    def test_conversations_are_apart(self) -> None:
        batch = new_batch()

        process(batch, [entry("1", chat="7"), entry("2", chat="8")])

        assert kinds(batch) == ["opened", "opened"]

    def test_they_are_heard_in_the_order_they_were_said(self) -> None:
        late = entry("1", "second", sent_at=NOW + timedelta(seconds=1))
        batch = new_batch()

        process(
            batch,
            [
                late,
                entry("3", "third", sent_at=NOW + timedelta(seconds=1)),
                entry("2", "first"),
            ],
        )

        opened, received = facts_of(batch, RequestOpened), facts_of(batch, MessageReceived)
        assert [fact.message.text for fact in (*opened, *received)] == ["first", "second", "third"]

    @given(st.lists(st.sampled_from("abcdef"), max_size=30), st.randoms())
    def test_in_any_order_and_number_one_effect_each(
        self, ids: list[str], chance: random.Random
    ) -> None:
        """However often, in which order, in which batches: one effect each, one request."""
        batch = new_batch()
        batches = [
            list(group) for _, group in itertools.groupby(ids, lambda _: chance.random() < 0.5)
        ]

        for group in batches:
            process(batch, [entry(each, each) for each in group])

        effects = [o for o in batch.outcomes if o.kind in {"opened", "appended"}]
        assert {o.entry.item.text for o in effects if o.entry.item} == set(ids)
        assert len(effects) == len(set(ids))
        assert len(facts_of(batch, RequestOpened)) == (1 if ids else 0)


class TestClosing:
    def opened(self) -> tuple[IntakeBatch, UUID, Any]:
        batch = new_batch()
        process(batch, [entry("1")])
        (opened,) = facts_of(batch, RequestOpened)
        (conversation,) = batch.conversations.values()
        return batch, opened.request_id, conversation

    def test_after_closing_the_next_message_opens_a_follow_up(self) -> None:
        batch, request_id, conversation = self.opened()

        close_request(batch, conversation, request_id)
        process(batch, [entry("2")])

        assert batch.outcomes[-1].threaded_by == "follow_up"
        assert facts_of(batch, RequestOpened)[-1].follow_up_of == request_id

    def test_closing_an_earlier_request_leaves_the_present_one_open(self) -> None:
        batch, request_id, conversation = self.opened()

        close_request(batch, conversation, uuid4())

        assert conversation.open_request == request_id

    def returned(self, request_id: UUID, text: str = "late") -> MessageReturned:
        message = Message(id=uuid4(), text=text, sent_at=NOW)
        return MessageReturned(time=NOW, request_id=request_id, message=message, reason="closed")

    def test_returned_message_opens_follow_up_and_is_corrected(self) -> None:
        batch, request_id, conversation = self.opened()
        late = self.returned(request_id)
        author = ContactRecord(uuid4(), "telegram", "main", "7", "Ann")

        close_request(batch, conversation, request_id)
        handle_returned(batch, conversation, late, author, RequestAttributes(title="Late"))

        follow_up, cause = batch.facts[-1]
        assert isinstance(follow_up, RequestOpened)
        assert cause is late
        assert (follow_up.follow_up_of, follow_up.title) == (request_id, "Late")
        assert follow_up.contact.id == author.id
        (correction,) = batch.corrections
        assert (correction.kind, correction.request_id) == ("opened", follow_up.request_id)

    def test_returned_messages_open_one_follow_up_together(self) -> None:
        batch, request_id, conversation = self.opened()

        for text in ("one", "two"):
            handle_returned(batch, conversation, self.returned(request_id, text), None, None)

        assert len(facts_of(batch, RequestOpened)) == 2
        assert [each.kind for each in batch.corrections] == ["opened", "appended"]
        assert facts_of(batch, MessageReceived)[-1].threaded_by == "returned"

    def test_a_request_opened_over_tickets_has_its_conversation(self) -> None:
        batch = new_batch()
        opened = outbound("7", "telegram", conversation="7")

        register_external_request(batch, opened)
        process(batch, [entry("1")])

        assert kinds(batch) == ["appended"]
        assert batch.outcomes[0].request_id == opened.request_id

    @pytest.mark.parametrize("ends", [0, 1])
    def test_of_two_open_requests_the_one_that_stays_is_heard(self, ends: int) -> None:
        """Somebody of ours opened a second one in a chat that has one."""
        batch, first, conversation = self.opened()
        second = outbound("7", "telegram", conversation="7")
        register_external_request(batch, second)
        both = (first, second.request_id)

        close_request(batch, conversation, both[ends])
        process(batch, [entry("2")])
        assert (kinds(batch)[-1], batch.outcomes[-1].request_id) == ("appended", both[1 - ends])

        close_request(batch, conversation, both[1 - ends])
        process(batch, [entry("3")])
        assert kinds(batch)[-1] == "opened"
        assert facts_of(batch, RequestOpened)[-1].follow_up_of == both[1 - ends]


class TestContactsAndWishes:
    def test_what_is_new_of_a_contact_is_told_once(self) -> None:
        batch = new_batch()
        process(
            batch,
            [
                entry("1"),
                entry("2", person=Person("7", "Anna")),
                entry("3", person=Person("7")),
            ],
        )

        (changed,) = facts_of(batch, ContactChanged)
        assert changed.contact.name == "Anna"

    def test_wishes_are_obeyed(self) -> None:
        batch = new_batch()
        asked = RequestAttributes(
            "billing", "Pay", "ticket", "high", {"order_no": "123456", "amount": 5}
        )
        process(batch, [entry("1", asked=asked)])

        (opened,) = facts_of(batch, RequestOpened)
        assert (opened.topic, opened.topic_by, opened.title) == ("billing", "client", "Pay")
        assert (opened.request_type, opened.priority) == ("ticket", "high")
        assert opened.fields == {"order_no": "123456", "amount": 5}
        assert batch.outcomes[0].reason is None

    def test_a_wrong_wish_never_loses_the_message(self) -> None:
        batch = new_batch()
        process(
            batch,
            [entry("1", asked=RequestAttributes("no such", None, "no such", "no such", {"x": 1}))],
        )

        (opened,) = facts_of(batch, RequestOpened)
        assert (opened.topic, opened.topic_by, opened.priority) == ("general", "none", None)
        assert opened.fields == {}
        assert all(
            part in (batch.outcomes[0].reason or "") for part in ("topic", "type", "fields.x")
        )

    @pytest.mark.parametrize(
        ("name", "value", "good"),
        [
            ("order_no", "123456", True), ("order_no", "12", False), ("order_no", 123456, False),
            ("amount", 0, True), ("amount", -1, False), ("amount", True, False),
            ("amount", "1", False),
            ("due", "2026-03-02", True), ("due", "2026-13-02", False), ("due", 5, False),
            ("cause", "printer", True), ("cause", "ghost", False), ("cause", ["printer"], False),
            ("unknown", 1, False),
        ],
    )  # fmt: skip
    def test_fields(self, name: str, value: object, good: bool) -> None:
        wrong = RULES.violations(RequestAttributes("billing", fields={name: value}))

        assert (wrong == []) is good


class TestIds:
    def test_own_ids_are_recognised_and_no_others(self) -> None:
        issuer, other = InboundIdIssuer("k" * 32), InboundIdIssuer("x" * 32)
        ids = [UUID(issuer.issue()) for _ in range(200)]

        assert all(issuer.is_issued(id) for id in ids)
        assert not any(other.is_issued(id) for id in ids)
        assert not any(issuer.is_issued(replaced) for id in ids for replaced in _changed(id))
        assert not any(issuer.is_issued(uuid4()) for _ in range(200))
        assert {id.version for id in ids} == {8}

    def test_a_short_key_is_refused(self) -> None:
        with pytest.raises(ValueError, match="16"):
            InboundIdIssuer("short")


def _changed(id: UUID) -> Sequence[UUID]:
    return [UUID(int=id.int ^ 1 << bit) for bit in range(128)]


class TestLimits:
    def test_a_burst_then_the_rate(self) -> None:
        now = [0.0]
        limits = RateLimit(lambda: now[0])

        assert [limits.acquire(("api", "a"), 2) for _ in range(3)] == [0, 0, 0.5]
        assert limits.acquire(("api", "b"), 2) == 0
        now[0] = 0.5
        assert limits.acquire(("api", "a"), 2) == 0
        assert limits.acquire(("api", "a"), 2) > 0


def test_items_are_compared_whole() -> None:
    """An outcome's arrival keeps the item it was read from."""
    first = entry("1")
    assert first.item is not None
    assert replace(first.item, text="x") != first.item
