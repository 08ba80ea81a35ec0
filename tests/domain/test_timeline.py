"""The timeline of a request: edits, deletions, reactions, deliveries and the order of messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

from tickets import handlers, timeline
from tickets.domain import events as e
from tickets.domain.commands import messages
from tickets.domain.request import Request, replay
from tickets.domain.rules import Graph, Rules, Topic
from trunkline_contracts import (
    Contact,
    DeliveryReported,
    Fact,
    Message,
    MessageEdited,
    MessageFailed,
    MessageReacted,
    MessageReceived,
    MessageSent,
    RequestOpened,
)

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ID = UUID(int=7)
ANN, BOB = UUID(int=1), UUID(int=2)
RULES = Rules(
    1, {"chat": Graph("new", {"new": ("closed",)}, ("closed",))}, {"general": Topic("first")}, {},
    ("medium",), "chat", "general", "medium",
)  # fmt: skip


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def name(number: int) -> UUID:
    return uuid5(ID, str(number))


def incoming(number: int, sent: float | None = None, /, **more: Any) -> Message:
    sent = number if sent is None else sent
    more = {"text": f"n{number}", "external_id": str(number), **more}
    return Message(id=name(number), sent_at=at(sent), **more)


class History:
    """One request, and the events that followed from its facts."""

    def __init__(self) -> None:
        self.request: Request | None = None
        self.events: list[e.Recorded] = []
        contact = Contact(id=ANN, address="7")
        self.apply(
            RequestOpened, request_type="chat", channel="telegram", account="main",
            conversation="7", contact=contact, message=incoming(1),
        )  # fmt: skip

    def apply(self, kind: type[Fact], **data: Any) -> int:
        """Apply a fact; return the number of events that followed."""
        fact = kind(time=START, request_id=ID, **data)
        return self.add(handlers.decide(self.request, RULES, fact))  # type: ignore[arg-type]

    def add(self, events: e.Events) -> int:
        seen = self.request.version if self.request else 0
        more = e.number(ID, seen, events, {"time": at(60 + seen)})
        self.request = replay(more, self.request)
        self.events += more
        return len(more)

    def receive(self, number: int, sent: float | None = None, /, **more: Any) -> None:
        message = incoming(number, sent, **more)
        self.apply(MessageReceived, message=message, threaded_by="conversation")

    def reply(self, number: int) -> None:
        assert self.request is not None
        sent = e.Message(name(number), f"n{number}", at(number))
        self.add(messages.reply(self.request, sent, "anna"))

    def entries(self) -> list[dict[str, Any]]:
        return timeline.messages(self.events)

    def entry(self, number: int = 1) -> dict[str, Any]:
        (found,) = [entry for entry in self.entries() if entry["id"] == name(number)]
        return found


@pytest.fixture
def history() -> History:
    return History()


def test_message_shows_threading_rule_and_flags(history: History) -> None:
    history.receive(2, flags=("of another conversation",))

    assert (history.entry()["threaded_by"], history.entry()["flags"]) == (None, ())
    entry = history.entry(2)
    assert (entry["threaded_by"], entry["flags"]) == ("conversation", ("of another conversation",))


class TestEdits:
    def test_edited_message_keeps_its_place_and_time(self, history: History) -> None:
        history.receive(2)

        assert history.apply(MessageEdited, message=incoming(1, 90, text="better")) == 1

        entry = history.entry()
        assert (entry["text"], entry["edited"], entry["deleted"]) == ("better", True, False)
        assert (entry["sent_at"], entry["edited_at"]) == ("2026-03-02T09:00:01Z", at(90))
        assert [entry["text"] for entry in history.entries()] == ["better", "n2"]

    def test_latest_edit_wins_in_any_order(self, history: History) -> None:
        history.apply(MessageEdited, message=incoming(1, 90, text="second"))

        assert history.apply(MessageEdited, message=incoming(1, 80, text="first")) == 0
        assert history.entry()["text"] == "second"

    @pytest.mark.parametrize(
        ("numbers", "stands"),
        [((11, 10), "n11"), ((10, 11), "n11"), ((11, None), "nNone"), ((None, 11), "n11")],
    )
    def test_of_one_second_the_higher_number_counts(
        self, history: History, numbers: tuple[int | None, int | None], stands: str
    ) -> None:
        for number in numbers:
            history.apply(MessageEdited, message=incoming(1, 90, text=f"n{number}", number=number))

        assert history.entry()["text"] == stands

    def test_edit_number_does_not_move_the_message(self, history: History) -> None:
        history.receive(2, 9, number=20)
        history.receive(3, 9, number=21)
        history.apply(MessageEdited, message=incoming(2, 90, text="better", number=22))

        assert [entry["text"] for entry in history.entries()] == ["n1", "better", "n3"]

    def test_deleted_message_stays_deleted(self, history: History) -> None:
        history.apply(MessageEdited, message=incoming(1, 90, text=""), deleted=True)

        assert history.apply(MessageEdited, message=incoming(1, 95, text="no")) == 0
        assert history.apply(MessageEdited, message=incoming(1, 95, text=""), deleted=True) == 0
        entry = history.entry()
        assert (entry["text"], entry["deleted"], entry["edited"]) == ("", True, False)

    def test_edit_of_unknown_message_has_no_effect(self, history: History) -> None:
        assert history.apply(MessageEdited, message=incoming(9)) == 0


class TestReactions:
    def react(
        self,
        history: History,
        reaction: str | None,
        seconds: float,
        contact_id: UUID = ANN,
        number: int | None = None,
    ) -> int:
        return history.apply(
            MessageReacted, message_id=name(1), reaction=reaction, reacted_at=at(seconds),
            contact_id=contact_id, number=number,
        )  # fmt: skip

    def test_of_one_second_the_higher_number_counts(self, history: History) -> None:
        self.react(history, "❤", 2, number=11)

        assert self.react(history, None, 2, number=10) == 0
        assert self.react(history, "🔥", 2, number=12) == 1
        assert [item["reaction"] for item in history.entry()["reactions"]] == ["🔥"]

    def test_each_person_has_one_reaction_the_last(self, history: History) -> None:
        assert self.react(history, "👍", 1) == 1
        assert self.react(history, "❤", 2) == 1
        assert self.react(history, "👍", 1.5) == 0  # late
        assert self.react(history, "❤", 3) == 0  # again
        assert self.react(history, "🔥", 2, BOB) == 1

        reactions = history.entry()["reactions"]
        assert [(item["reaction"], item["contact_id"]) for item in reactions] == [
            ("❤", ANN),
            ("🔥", BOB),
        ]

    def test_reaction_can_be_removed(self, history: History) -> None:
        self.react(history, "👍", 1)

        assert self.react(history, None, 2) == 1
        assert self.react(history, None, 3) == 0
        assert history.entry()["reactions"] == []


class TestDeliveries:
    def test_furthest_delivery_state_wins(self, history: History) -> None:
        history.reply(2)
        assert history.entry(2)["state"] == "pending"
        history.apply(MessageSent, message_id=name(2), platform_id="90")
        history.apply(DeliveryReported, message_id=name(2), state="read")

        assert history.apply(DeliveryReported, message_id=name(2), state="read") == 0
        assert history.apply(DeliveryReported, message_id=name(2), state="delivered") == 0
        assert (history.entry(2)["state"], history.entry(2)["platform_id"]) == ("read", "90")

    def test_late_sent_does_not_undo_delivered(self, history: History) -> None:
        history.reply(2)
        history.apply(DeliveryReported, message_id=name(2), state="delivered")

        assert history.apply(MessageSent, message_id=name(2), platform_id="90") == 1
        assert history.entry(2)["state"] == "delivered"

    def test_report_by_platform_id_applies_once_known(self, history: History) -> None:
        history.reply(2)
        assert history.apply(DeliveryReported, platform_id="90", state="read") == 0
        history.apply(MessageSent, message_id=name(2), platform_id="90")

        assert history.apply(DeliveryReported, platform_id="90", state="read") == 1
        assert history.apply(DeliveryReported, state="read") == 0
        assert history.entry(2)["state"] == "read"

    def test_failure_stands_until_the_next_attempt(self, history: History) -> None:
        history.reply(2)
        history.apply(MessageFailed, message_id=name(2), reason="blocked")
        assert (history.entry(2)["state"], history.entry(2)["reason"]) == ("failed", "blocked")

        history.apply(MessageSent, message_id=name(2))
        assert (history.entry(2)["state"], history.entry(2)["reason"]) == ("sent", None)


class TestOrder:
    def test_messages_are_in_platform_order(self, history: History) -> None:
        for number in (4, 2, 3):
            history.receive(number)

        assert [entry["text"] for entry in history.entries()] == ["n1", "n2", "n3", "n4"]

    def test_messages_of_one_second_are_in_number_order(self, history: History) -> None:
        for number in (12, 10, 11):
            history.receive(number, 9, number=number)

        assert [entry["text"] for entry in history.entries()] == ["n1", "n10", "n11", "n12"]

    def test_reply_stands_after_all_earlier_messages(self, history: History) -> None:
        history.receive(3)
        history.reply(5)
        history.receive(2)
        history.receive(4)

        assert [entry["text"] for entry in history.entries()] == ["n1", "n2", "n3", "n5", "n4"]

    def test_page_continues_after_the_last_one(self, history: History) -> None:
        for number in (4, 2, 3):
            history.receive(number)
        entries = history.entries()

        assert timeline.after_sequence(entries, 0) == entries
        rest = timeline.after_sequence(entries, entries[1]["sequence"])
        assert [entry["text"] for entry in rest] == ["n3", "n4"]

    def test_reply_to_resolves_to_the_message_id(self, history: History) -> None:
        history.reply(2)
        history.apply(MessageSent, message_id=name(2), platform_id="90")
        history.receive(3, reply_to="1")
        history.receive(4, reply_to="90")
        history.receive(5, reply_to="elsewhere")

        assert history.entry(3)["reply_to_id"] == name(1)
        assert history.entry(4)["reply_to_id"] == name(2)
        assert history.entry(5)["reply_to_id"] is None


def test_message_keeps_all_of_its_content(history: History) -> None:
    more = {
        "location": {"latitude": 50.45, "longitude": 30.52, "name": "Square"},
        "contacts": [{"name": "Bob", "phone": "+1"}],
        "button": "yes",
    }
    history.receive(2, **more)

    entry = history.entry(2)
    assert entry["location"]["name"] == "Square"
    assert entry["contacts"][0]["phone"] == "+1"
    assert entry["button"] == "yes"
