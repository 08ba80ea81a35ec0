"""ingest's decisions: one effect per message, one open request per conversation, nothing lost.

Long, as it tries every path by which a message reaches a request.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailing import outbound

from ingest.channels import registry
from ingest.domain.field_rules import Rules
from ingest.domain.fields import FieldRule
from ingest.domain.intake_batch import Arrival, Book, Card, First
from ingest.domain.items import Asked, Item, Person, Raw, Unreadable
from ingest.gateway.inbound_ids import Mint
from ingest.gateway.rate_limit import Limits
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


def book(**known: Any) -> Book:
    return Book(RULES, NOW, **known)


def arrival(
    external_id: str | None = "1", text: str = "hello", *, chat: str = "7", **more: Any
) -> Arrival:
    item = Item(
        "message", external_id, text, more.pop("reused", "new"), conversation=chat,
        person=more.pop("person", Person(chat, "Ann")), text=text, sent_at=more.pop("sent_at", NOW),
        asked=more.pop("asked", None),
    )  # fmt: skip
    return Arrival(str(uuid4()), 0, "telegram", "main", NOW, item, **more)


def words(of: Book) -> list[str]:
    return [outcome.word for outcome in of.outcomes]


def said(of: Book, kind: type) -> list[Any]:
    return [fact for fact, _ in of.facts if isinstance(fact, kind)]


class TestMessages:
    def test_who_is_not_named_is_whom_the_conversation_is_with(self) -> None:
        desk = book()
        desk.take_in([arrival("1"), arrival("2", person=None), arrival("3", person=None)])

        assert words(desk) == ["opened", "appended", "appended"]
        assert [card.address for card in desk.contacts.values()] == ["7"]

        lost = book(conversations=desk.conversations)
        for talk in lost.conversations.values():
            talk.open = None
        lost.take_in([arrival("4", person=None)])

        (opened,) = said(lost, RequestOpened)
        assert opened.contact.id == contact_id("telegram", "main", "7")
        assert not lost.contacts

    def test_the_first_opens_the_second_is_appended(self) -> None:
        desk = book()

        desk.take_in([arrival("1"), arrival("2", "again")])

        (opened,), (received,) = said(desk, RequestOpened), said(desk, MessageReceived)
        assert words(desk) == ["opened", "appended"]
        assert opened.request_id == received.request_id
        assert (opened.topic, opened.topic_by, opened.request_type) == ("general", "none", "chat")
        assert received.threaded_by == "conversation"
        assert said(desk, ContactChanged) == []

    def test_a_message_again_changes_nothing_and_names_its_request(self) -> None:
        desk = book()

        desk.take_in([arrival("1"), arrival("1"), arrival("1")])

        assert words(desk) == ["opened", "duplicate", "duplicate"]
        assert len({outcome.request_id for outcome in desk.outcomes}) == 1
        assert [outcome.first for outcome in desk.outcomes] == [True, False, False]
        assert len(desk.facts) == 1

    def test_what_was_seen_in_another_batch_is_a_duplicate(self) -> None:
        request_id, known = uuid4(), arrival("1")

        desk = book(firsts={known.message_id: First("hello", request_id)})
        desk.take_in([known])

        assert (words(desk), desk.outcomes[0].request_id) == (["duplicate"], request_id)
        assert desk.facts == []

    def test_an_id_that_began_anew_is_another_message_and_flagged(self) -> None:
        desk = book(firsts={arrival("1").message_id: First("years ago", uuid4())})

        desk.take_in([arrival("1"), arrival("1")])

        assert words(desk) == ["opened", "duplicate"]
        assert "used before" in (desk.outcomes[0].reason or "")

    def test_a_key_with_another_body_is_rejected(self) -> None:
        desk = book()

        desk.take_in(
            [arrival("k", "one", reused="rejected"), arrival("k", "two", reused="rejected")]
        )

        assert words(desk) == ["opened", "rejected"]
        assert desk.outcomes[1].request_id == desk.outcomes[0].request_id
        assert "another body" in said(desk, MessageRejected)[0].reason

    def test_without_an_id_nothing_is_a_duplicate(self) -> None:
        desk = book()

        desk.take_in([arrival(None), arrival(None)])

        assert words(desk) == ["opened", "appended"]

    def test_conversations_are_apart(self) -> None:
        desk = book()

        desk.take_in([arrival("1", chat="7"), arrival("2", chat="8")])

        assert words(desk) == ["opened", "opened"]

    def test_they_are_heard_in_the_order_they_were_said(self) -> None:
        late = arrival("1", "second", sent_at=NOW + timedelta(seconds=1))
        desk = book()

        desk.take_in(
            [late, arrival("3", "third", sent_at=NOW + timedelta(seconds=1)), arrival("2", "first")]
        )

        opened, received = said(desk, RequestOpened), said(desk, MessageReceived)
        assert [fact.message.text for fact in (*opened, *received)] == ["first", "second", "third"]

    @given(st.lists(st.sampled_from("abcdef"), max_size=30), st.randoms())
    def test_in_any_order_and_number_one_effect_each(
        self, ids: list[str], chance: random.Random
    ) -> None:
        """However often, in which order, in which batches: one effect each, one request."""
        desk = book()
        batches = [
            list(group) for _, group in itertools.groupby(ids, lambda _: chance.random() < 0.5)
        ]

        for batch in batches:
            desk.take_in([arrival(each, each) for each in batch])

        effects = [o for o in desk.outcomes if o.word in {"opened", "appended"}]
        assert {o.arrival.item.text for o in effects if o.arrival.item} == set(ids)
        assert len(effects) == len(set(ids))
        assert len(said(desk, RequestOpened)) == (1 if ids else 0)


class TestClosing:
    def opened(self) -> tuple[Book, UUID, Any]:
        desk = book()
        desk.take_in([arrival("1")])
        (opened,) = said(desk, RequestOpened)
        (talk,) = desk.conversations.values()
        return desk, opened.request_id, talk

    def test_after_closing_the_next_message_opens_a_follow_up(self) -> None:
        desk, request_id, talk = self.opened()

        desk.close(talk, request_id)
        desk.take_in([arrival("2")])

        assert desk.outcomes[-1].threaded_by == "follow_up"
        assert said(desk, RequestOpened)[-1].follow_up_of == request_id

    def test_closing_an_earlier_request_leaves_the_present_one_open(self) -> None:
        desk, request_id, talk = self.opened()

        desk.close(talk, uuid4())

        assert talk.open == request_id

    def returned(self, request_id: UUID, text: str = "late") -> MessageReturned:
        message = Message(id=uuid4(), text=text, sent_at=NOW)
        return MessageReturned(time=NOW, request_id=request_id, message=message, reason="closed")

    def test_a_returned_message_opens_the_follow_up_and_corrects_its_outcome(self) -> None:
        desk, request_id, talk = self.opened()
        late = self.returned(request_id)
        author = Card(uuid4(), "telegram", "main", "7", "Ann")

        desk.close(talk, request_id)
        desk.give_back(talk, late, author, Asked(title="Late"))

        follow_up, cause = desk.facts[-1]
        assert isinstance(follow_up, RequestOpened)
        assert cause is late
        assert (follow_up.follow_up_of, follow_up.title) == (request_id, "Late")
        assert follow_up.contact.id == author.id
        (correction,) = desk.corrections
        assert (correction.word, correction.request_id) == ("opened", follow_up.request_id)

    def test_returned_messages_open_one_follow_up_together(self) -> None:
        desk, request_id, talk = self.opened()

        for text in ("one", "two"):
            desk.give_back(talk, self.returned(request_id, text), None, None)

        assert len(said(desk, RequestOpened)) == 2
        assert [each.word for each in desk.corrections] == ["opened", "appended"]
        assert said(desk, MessageReceived)[-1].threaded_by == "returned"

    def test_a_request_opened_over_tickets_has_its_conversation(self) -> None:
        desk = book()
        opened = outbound("7", "telegram", conversation="7")

        desk.register(opened)
        desk.take_in([arrival("1")])

        assert words(desk) == ["appended"]
        assert desk.outcomes[0].request_id == opened.request_id

    @pytest.mark.parametrize("ends", [0, 1])
    def test_of_two_open_requests_the_one_that_stays_is_heard(self, ends: int) -> None:
        """Somebody of ours opened a second one in a chat that has one."""
        desk, first, talk = self.opened()
        second = outbound("7", "telegram", conversation="7")
        desk.register(second)
        both = (first, second.request_id)

        desk.close(talk, both[ends])
        desk.take_in([arrival("2")])
        assert (words(desk)[-1], desk.outcomes[-1].request_id) == ("appended", both[1 - ends])

        desk.close(talk, both[1 - ends])
        desk.take_in([arrival("3")])
        assert words(desk)[-1] == "opened"
        assert said(desk, RequestOpened)[-1].follow_up_of == both[1 - ends]


class TestContactsAndWishes:
    def test_what_is_new_of_a_contact_is_told_once(self) -> None:
        desk = book()
        desk.take_in(
            [
                arrival("1"),
                arrival("2", person=Person("7", "Anna")),
                arrival("3", person=Person("7")),
            ]
        )

        (changed,) = said(desk, ContactChanged)
        assert changed.contact.name == "Anna"

    def test_wishes_are_obeyed(self) -> None:
        desk = book()
        asked = Asked("billing", "Pay", "ticket", "high", {"order_no": "123456", "amount": 5})
        desk.take_in([arrival("1", asked=asked)])

        (opened,) = said(desk, RequestOpened)
        assert (opened.topic, opened.topic_by, opened.title) == ("billing", "client", "Pay")
        assert (opened.request_type, opened.priority) == ("ticket", "high")
        assert opened.fields == {"order_no": "123456", "amount": 5}
        assert desk.outcomes[0].reason is None

    def test_a_wrong_wish_never_loses_the_message(self) -> None:
        desk = book()
        desk.take_in([arrival("1", asked=Asked("no such", None, "no such", "no such", {"x": 1}))])

        (opened,) = said(desk, RequestOpened)
        assert (opened.topic, opened.topic_by, opened.priority) == ("general", "none", None)
        assert opened.fields == {}
        assert all(
            part in (desk.outcomes[0].reason or "") for part in ("topic", "type", "fields.x")
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
        wrong = RULES.complaints(Asked("billing", fields={name: value}))

        assert (wrong == []) is good


def raw(body: bytes | object, channel: str = "telegram", **more: Any) -> Raw:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Raw(channel, "main", str(uuid4()), data, NOW, **more)


MESSAGE = {
    "message_id": 5, "date": 1772442000, "text": "Hello",
    "chat": {"id": 7, "type": "private"},
    "from": {"id": 7, "first_name": "Ann", "last_name": "Lee", "language_code": "uk"},
}  # fmt: skip


def update(body: object = None, kind: str = "message", **more: Any) -> dict[str, Any]:
    return {"update_id": 42, kind: {**MESSAGE, **more} if body is None else body}


class TestTelegram:
    def read(self, body: bytes | object) -> Item:
        (item,) = registry.read(raw(body))
        return item

    def test_text(self) -> None:
        item = self.read(update())

        assert (item.kind, item.external_id, item.conversation) == ("message", "42", "7")
        assert (item.text, item.platform_id) == ("Hello", "5")
        assert item.person == Person("7", "Ann Lee", "uk")
        assert item.sent_at == NOW

    def test_caption(self) -> None:
        body = {k: v for k, v in MESSAGE.items() if k != "text"} | {
            "photo": [{}],
            "caption": "Look",
        }
        assert self.read(update(body)).text == "Look"

    @pytest.mark.parametrize(
        ("more", "text"),
        [
            ({"photo": [{}]}, "[photo]"),
            ({"sticker": {"emoji": "👍"}}, "[sticker 👍]"),
            ({"something_of_next_year": 1}, "[something_of_next_year]"),
            ({}, "[message]"),
        ],
    )
    def test_what_is_unknown_is_kept_with_a_placeholder(
        self, more: dict[str, Any], text: str
    ) -> None:
        body = {k: v for k, v in MESSAGE.items() if k != "text"} | more
        assert self.read(update(body)).text == text

    def test_a_new_kind_of_update_with_a_chat_is_a_message(self) -> None:
        assert self.read(update(kind="business_message")).text == "Hello"

    def test_a_button(self) -> None:
        pressed = {"id": "9", "from": MESSAGE["from"], "message": MESSAGE, "data": "yes"}
        item = self.read(update(pressed, "callback_query"))

        assert (item.text, item.conversation, item.sent_at) == ("[button] yes", "7", None)

    @pytest.mark.parametrize(
        "kind", ["message_reaction_count", "my_chat_member", "inline_query", "poll"]
    )
    def test_what_is_no_message_is_noted(self, kind: str) -> None:
        item = self.read(update(kind=kind))

        assert (item.kind, item.reason, item.external_id) == ("noted", kind, "42")

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"update_id": NaN}',
            {}, {"update_id": "42"}, {"update_id": True}, {"update_id": 2**70},
            update("text"), update({}), update({"chat": 7}), update({"chat": {"id": "7"}}),
        ],
    )  # fmt: skip
    def test_what_can_never_be_a_message_is_refused_with_a_reason(self, body: object) -> None:
        with pytest.raises(Unreadable, match=r"\w"):
            registry.read(raw(body))

    def test_text_no_database_keeps_is_replaced(self) -> None:
        body = orjson.dumps(update()).replace(b"Hello", b"a\\u0000b\\ud800c")
        assert self.read(body).text == "a\ufffdb\ufffdc"

    def test_text_nobody_needs_is_taken_out(self) -> None:
        body = orjson.dumps(update()).replace(b"Hello", b"a\\u0001\\u001b[2Jb\\t\\nc\\u007f\\u009c")
        assert self.read(body).text == "a[2Jb\t\nc"

    def test_text_of_nothing_else_is_still_something(self) -> None:
        body = orjson.dumps(update()).replace(b"Hello", b"\\u0001\\u0002")
        assert self.read(body).text == "\ufffd"

    def test_text_that_is_too_long_is_cut_and_flagged(self) -> None:
        item = self.read(update({**MESSAGE, "text": "x" * 100_001}))
        assert (len(item.text), item.flags) == (100_000, ("text may have 100000 characters",))
        assert self.read(update({**MESSAGE, "text": "x" * 100_000})).flags == ()

    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )

    @given(st.sampled_from([*MESSAGE, "chat.id", "from.id"]), anything)
    def test_any_field_may_be_anything(self, field: str, value: object) -> None:
        """Each field retyped: an item or a reason, never another exception."""
        outer, _, inner = field.partition(".")
        part = {**MESSAGE[outer], inner: value} if inner else value  # type: ignore[dict-item]
        try:
            items = registry.read(raw({"update_id": 1, "message": {**MESSAGE, outer: part}}))
        except Unreadable:
            return
        assert [item.kind for item in items] == ["message"]
        assert "\x00" not in items[0].text

    @given(st.binary(max_size=200))
    def test_any_bytes_may_come(self, body: bytes) -> None:
        for channel in ("telegram", "api"):
            with contextlib.suppress(Unreadable):
                registry.read(raw(body, channel))


class TestApi:
    def read(self, body: object, key: str | None = None) -> tuple[Raw, Item]:
        delivered = raw(body, "api", sha256="digest", idempotency_key=key)
        (item,) = registry.read(delivered)
        return delivered, item

    def test_each_submission_is_a_conversation_of_its_own(self) -> None:
        delivered, item = self.read({"text": "Hi", "contact": {"id": "c1", "name": "Ann"}})

        assert item.conversation == delivered.inbound_id
        assert (item.external_id, item.digest) == (None, "digest")
        assert item.person == Person("c1", "Ann")

    def test_a_named_conversation_and_key(self) -> None:
        _, item = self.read(
            {"text": "Hi", "contact": {"email": "A@B.test"}, "conversation": "c"}, "k"
        )

        assert (item.conversation, item.external_id) == ("c", "k")
        assert item.person == Person("a@b.test", email="A@B.test")

    @pytest.mark.parametrize(
        "body",
        [{}, {"text": "", "contact": {}}, {"text": " ", "contact": {}}, {"text": "x"},
         {"text": 1, "contact": {}}, {"text": "x", "contact": {"id": []}},
         {"text": "x", "contact": {}, "fields": 1}],
    )  # fmt: skip
    def test_what_is_not_a_submission(self, body: object) -> None:
        with pytest.raises(Unreadable, match=r"\w"):
            self.read(body)

    def test_an_unknown_channel_is_refused(self) -> None:
        with pytest.raises(Unreadable, match="pigeon"):
            registry.read(raw({}, "pigeon"))


class TestIds:
    def test_own_ids_are_recognised_and_no_others(self) -> None:
        mint, other = Mint("k" * 32), Mint("x" * 32)
        ids = [UUID(mint.issue()) for _ in range(200)]

        assert all(mint.issued(id) for id in ids)
        assert not any(other.issued(id) for id in ids)
        assert not any(mint.issued(replaced) for id in ids for replaced in _changed(id))
        assert not any(mint.issued(uuid4()) for _ in range(200))
        assert {id.version for id in ids} == {8}

    def test_a_short_key_is_refused(self) -> None:
        with pytest.raises(ValueError, match="16"):
            Mint("short")


def _changed(id: UUID) -> Sequence[UUID]:
    return [UUID(int=id.int ^ 1 << bit) for bit in range(128)]


class TestLimits:
    def test_a_burst_then_the_rate(self) -> None:
        now = [0.0]
        limits = Limits(lambda: now[0])

        assert [limits.wait(("api", "a"), 2) for _ in range(3)] == [0, 0, 0.5]
        assert limits.wait(("api", "b"), 2) == 0
        now[0] = 0.5
        assert limits.wait(("api", "a"), 2) == 0
        assert limits.wait(("api", "a"), 2) > 0


def test_items_are_compared_whole() -> None:
    """An outcome's arrival keeps the item it was read from."""
    first = arrival("1")
    assert first.item is not None
    assert replace(first.item, text="x") != first.item
