"""Updates of Telegram and submissions of the HTTP API, as items."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.channels import registry
from ingest.domain.items import InboundItem, Person, RawDelivery, Unreadable

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def raw(body: bytes | object, channel: str = "telegram", **more: Any) -> RawDelivery:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RawDelivery(channel, "main", str(uuid4()), data, NOW, **more)


MESSAGE = {
    "message_id": 5, "date": 1772442000, "text": "Hello",
    "chat": {"id": 7, "type": "private"},
    "from": {"id": 7, "first_name": "Ann", "last_name": "Lee", "language_code": "uk"},
}  # fmt: skip


def update(body: object = None, kind: str = "message", **more: Any) -> dict[str, Any]:
    return {"update_id": 42, kind: {**MESSAGE, **more} if body is None else body}


class TestTelegram:
    def read(self, body: bytes | object) -> InboundItem:
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
    def read(self, body: object, key: str | None = None) -> tuple[RawDelivery, InboundItem]:
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
