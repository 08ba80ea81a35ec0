"""Messages as people see them: edits, deletions, reactions, receipts, and the order of it all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

from tickets import handlers
from tickets.domain import decisions
from tickets.domain import events as e
from tickets.domain.request import Request, replay
from tickets.domain.rules import Graph, Rules, Topic
from tickets.timeline import after, messages
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


def told(number: int, said: float | None = None, /, **more: Any) -> Message:
    said = number if said is None else said
    more = {"text": f"n{number}", "external_id": str(number), **more}
    return Message(id=name(number), sent_at=at(said), **more)


class History:
    """One request, and what was heard of it."""

    def __init__(self) -> None:
        self.request: Request | None = None
        self.events: list[e.Recorded] = []
        contact = Contact(id=ANN, address="7")
        self.hear(
            RequestOpened, request_type="chat", channel="telegram", account="main",
            conversation="7", contact=contact, message=told(1),
        )  # fmt: skip

    def hear(self, kind: type[Fact], **data: Any) -> int:
        """Hear a fact; gives how many events followed."""
        fact = kind(time=START, request_id=ID, **data)
        return self.add(handlers.decide(self.request, RULES, fact))  # type: ignore[arg-type]

    def add(self, events: decisions.Events) -> int:
        seen = self.request.version if self.request else 0
        more = decisions.record(ID, seen, events, {"time": at(60 + seen)})
        self.request = replay(more, self.request)
        self.events += more
        return len(more)

    def receive(self, number: int, said: float | None = None, /, **more: Any) -> None:
        message = told(number, said, **more)
        self.hear(MessageReceived, message=message, threaded_by="conversation")

    def reply(self, number: int) -> None:
        assert self.request is not None
        sent = e.Message(name(number), f"n{number}", at(number))
        self.add(decisions.reply(self.request, sent, "anna"))

    def shown(self) -> list[dict[str, Any]]:
        return messages(self.events)

    def one(self, number: int = 1) -> dict[str, Any]:
        (found,) = [each for each in self.shown() if each["id"] == name(number)]
        return found


@pytest.fixture
def history() -> History:
    return History()


def test_how_a_message_was_threaded_is_seen_and_what_is_doubtful(history: History) -> None:
    history.receive(2, flags=("of another conversation",))

    assert (history.one()["threaded_by"], history.one()["flags"]) == (None, ())
    shown = history.one(2)
    assert (shown["threaded_by"], shown["flags"]) == ("conversation", ("of another conversation",))


class TestEdits:
    def test_a_corrected_message_keeps_its_place_and_time(self, history: History) -> None:
        history.receive(2)

        assert history.hear(MessageEdited, message=told(1, 90, text="better")) == 1

        shown = history.one()
        assert (shown["text"], shown["edited"], shown["deleted"]) == ("better", True, False)
        assert (shown["sent_at"], shown["edited_at"]) == ("2026-03-02T09:00:01Z", at(90))
        assert [each["text"] for each in history.shown()] == ["better", "n2"]

    def test_the_last_word_counts_whenever_it_came(self, history: History) -> None:
        history.hear(MessageEdited, message=told(1, 90, text="second"))

        assert history.hear(MessageEdited, message=told(1, 80, text="first")) == 0
        assert history.one()["text"] == "second"

    @pytest.mark.parametrize(
        ("numbers", "stands"),
        [((11, 10), "n11"), ((10, 11), "n11"), ((11, None), "nNone"), ((None, 11), "n11")],
    )
    def test_of_one_second_the_higher_number_counts(
        self, history: History, numbers: tuple[int | None, int | None], stands: str
    ) -> None:
        for number in numbers:
            history.hear(MessageEdited, message=told(1, 90, text=f"n{number}", number=number))

        assert history.one()["text"] == stands

    def test_an_edits_number_does_not_move_the_message(self, history: History) -> None:
        history.receive(2, 9, number=20)
        history.receive(3, 9, number=21)
        history.hear(MessageEdited, message=told(2, 90, text="better", number=22))

        assert [each["text"] for each in history.shown()] == ["n1", "better", "n3"]

    def test_what_was_taken_back_stays_so(self, history: History) -> None:
        history.hear(MessageEdited, message=told(1, 90, text=""), deleted=True)

        assert history.hear(MessageEdited, message=told(1, 95, text="no")) == 0
        assert history.hear(MessageEdited, message=told(1, 95, text=""), deleted=True) == 0
        shown = history.one()
        assert (shown["text"], shown["deleted"], shown["edited"]) == ("", True, False)

    def test_of_unknown_messages_nothing_is_said(self, history: History) -> None:
        assert history.hear(MessageEdited, message=told(9)) == 0


class TestReactions:
    def react(
        self,
        history: History,
        reaction: str | None,
        seconds: float,
        who: UUID = ANN,
        number: int | None = None,
    ) -> int:
        return history.hear(
            MessageReacted, message_id=name(1), reaction=reaction, reacted_at=at(seconds),
            contact_id=who, number=number,
        )  # fmt: skip

    def test_of_one_second_the_higher_number_counts(self, history: History) -> None:
        self.react(history, "❤", 2, number=11)

        assert self.react(history, None, 2, number=10) == 0
        assert self.react(history, "🔥", 2, number=12) == 1
        assert [each["reaction"] for each in history.one()["reactions"]] == ["🔥"]

    def test_everybody_has_one_the_last(self, history: History) -> None:
        assert self.react(history, "👍", 1) == 1
        assert self.react(history, "❤", 2) == 1
        assert self.react(history, "👍", 1.5) == 0  # late
        assert self.react(history, "❤", 3) == 0  # again
        assert self.react(history, "🔥", 2, BOB) == 1

        shown = [(each["reaction"], each["contact_id"]) for each in history.one()["reactions"]]
        assert shown == [("❤", ANN), ("🔥", BOB)]

    def test_it_can_be_taken_off(self, history: History) -> None:
        self.react(history, "👍", 1)

        assert self.react(history, None, 2) == 1
        assert self.react(history, None, 3) == 0
        assert history.one()["reactions"] == []


class TestDeliveries:
    def test_the_furthest_counts(self, history: History) -> None:
        history.reply(2)
        assert history.one(2)["state"] == "pending"
        history.hear(MessageSent, message_id=name(2), platform_id="90")
        history.hear(DeliveryReported, message_id=name(2), state="read")

        assert history.hear(DeliveryReported, message_id=name(2), state="read") == 0
        assert history.hear(DeliveryReported, message_id=name(2), state="delivered") == 0
        assert (history.one(2)["state"], history.one(2)["platform_id"]) == ("read", "90")

    def test_what_is_known_further_is_not_less_when_sent_is_heard_later(
        self, history: History
    ) -> None:
        history.reply(2)
        history.hear(DeliveryReported, message_id=name(2), state="delivered")

        assert history.hear(MessageSent, message_id=name(2), platform_id="90") == 1
        assert history.one(2)["state"] == "delivered"

    def test_a_platforms_name_is_enough_once_it_is_known(self, history: History) -> None:
        history.reply(2)
        assert history.hear(DeliveryReported, platform_id="90", state="read") == 0
        history.hear(MessageSent, message_id=name(2), platform_id="90")

        assert history.hear(DeliveryReported, platform_id="90", state="read") == 1
        assert history.hear(DeliveryReported, state="read") == 0
        assert history.one(2)["state"] == "read"

    def test_a_failure_stands_until_it_is_on_its_way_again(self, history: History) -> None:
        history.reply(2)
        history.hear(MessageFailed, message_id=name(2), reason="blocked")
        assert (history.one(2)["state"], history.one(2)["reason"]) == ("failed", "blocked")

        history.hear(MessageSent, message_id=name(2))
        assert (history.one(2)["state"], history.one(2)["reason"]) == ("sent", None)


class TestOrder:
    def test_what_customers_said_stands_as_they_said_it(self, history: History) -> None:
        for number in (4, 2, 3):
            history.receive(number)

        assert [each["text"] for each in history.shown()] == ["n1", "n2", "n3", "n4"]

    def test_of_one_second_the_platforms_numbers_tell(self, history: History) -> None:
        for number in (12, 10, 11):
            history.receive(number, 9, number=number)

        assert [each["text"] for each in history.shown()] == ["n1", "n10", "n11", "n12"]

    def test_an_answer_stands_behind_all_that_had_come(self, history: History) -> None:
        history.receive(3)
        history.reply(5)
        history.receive(2)
        history.receive(4)

        assert [each["text"] for each in history.shown()] == ["n1", "n2", "n3", "n5", "n4"]

    def test_a_page_goes_on_where_the_last_ended(self, history: History) -> None:
        for number in (4, 2, 3):
            history.receive(number)
        shown = history.shown()

        assert after(shown, 0) == shown
        assert [each["text"] for each in after(shown, shown[1]["sequence"])] == ["n3", "n4"]

    def test_an_answer_to_a_message_names_it(self, history: History) -> None:
        history.reply(2)
        history.hear(MessageSent, message_id=name(2), platform_id="90")
        history.receive(3, reply_to="1")
        history.receive(4, reply_to="90")
        history.receive(5, reply_to="elsewhere")

        assert history.one(3)["reply_to_id"] == name(1)
        assert history.one(4)["reply_to_id"] == name(2)
        assert history.one(5)["reply_to_id"] is None


def test_all_that_was_in_a_message_is_kept(history: History) -> None:
    more = {
        "location": {"latitude": 50.45, "longitude": 30.52, "name": "Square"},
        "contacts": [{"name": "Bob", "phone": "+1"}],
        "button": "yes",
    }
    history.receive(2, **more)

    shown = history.one(2)
    assert shown["location"]["name"] == "Square"
    assert shown["contacts"][0]["phone"] == "+1"
    assert shown["button"] == "yes"
