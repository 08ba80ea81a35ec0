"""Edits, deletions, reactions and receipts: a fact about their message, whichever came first."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ingest.domain.bans import Banned, Bans, understood
from ingest.domain.field_rules import Rules
from ingest.domain.inbound_item import Arrival
from ingest.domain.intake_batch import Book
from ingest.domain.items import Item, Person, Place
from ingest.domain.references import TOO_MANY, WAITS
from ingest.intake.message_update_store import names_of
from trunkline_contracts import (
    DeliveryRecorded,
    DeliveryReported,
    MessageEdited,
    MessageReacted,
    MessageReceived,
    MessageRejected,
    ReplySent,
    RequestOpened,
)
from trunkline_contracts.ids import conversation_key
from trunkline_contracts.parts import Contact, Message

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
RULES = Rules("chat", "general", frozenset({"chat"}), frozenset({"low"}), {"general": {}})
TALK = UUID(conversation_key("telegram", "main", "7"))


def book(**known: Any) -> Book:
    return Book(RULES, NOW, **known)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


numbers = itertools.count(1)


def arrival(
    kind: Any, said: float = 0, chat: str = "7", channel: str = "telegram", **more: Any
) -> Arrival:
    number = str(next(numbers))
    told = {"conversation": chat, "person": Person(chat, "Ann"), "sent_at": later(said), **more}
    item = Item(kind, told.pop("external_id", number), told.pop("digest", number), **told)
    return Arrival(str(uuid4()), 0, channel, "main", NOW, item)


def message(platform_id: str = "5", **more: Any) -> Arrival:
    return arrival("message", **{"text": "hello", "platform_id": platform_id, **more})


def said(of: Book, kind: type) -> list[Any]:
    return [fact for fact, _ in of.facts if isinstance(fact, kind)]


class TestAboutACustomersMessage:
    @pytest.mark.parametrize("first", [True, False], ids=["in order", "overtaken"])
    @pytest.mark.parametrize(
        ("kind", "more"),
        [("edited", {"text": "hallo"}), ("deleted", {}), ("reacted", {"reaction": "👍"})],
    )
    def test_it_reaches_the_request_of_its_message(
        self, kind: str, more: dict[str, Any], *, first: bool
    ) -> None:
        desk = book()
        both = [message(), arrival(kind, 9, about="5", **more)]

        for each in both if first else reversed(both):
            desk.take_in([each])

        (opened,) = said(desk, RequestOpened)
        (told,) = [*said(desk, MessageEdited), *said(desk, MessageReacted)]
        (noted,) = [o for o in desk.outcomes if o.word == "noted"]
        assert told.request_id == noted.request_id == opened.request_id
        assert noted.reason == kind
        assert getattr(told, "message_id", None) or told.message.id == opened.message.id
        assert desk.remarks.early == {}

    def test_each_says_the_platforms_number(self) -> None:
        desk = book()
        desk.take_in([message(external_id="81"), message("6", external_id="80")])
        desk.take_in([arrival("edited", 9, about="5", text="x", external_id="83")])
        desk.take_in([arrival("reacted", 9, about="5", reaction="👍", external_id="82")])

        assert [f.message.number for f in said(desk, RequestOpened)] == [80]  # of one instant
        assert [f.message.number for f in said(desk, MessageReceived)] == [81]
        assert [f.message.number for f in said(desk, MessageEdited)] == [83]
        assert [f.number for f in said(desk, MessageReacted)] == [82]

    @pytest.mark.parametrize("id", ["wamid.7", "7:1", str(2**53), "9" * 5000, "٣"])
    def test_an_id_no_reader_takes_for_a_number_is_none(self, id: str) -> None:
        desk = book()
        desk.take_in([message(external_id=id)])

        assert [f.message.number for f in said(desk, RequestOpened)] == [None]

    def test_an_edit_says_all_of_the_message_anew(self) -> None:
        desk = book()
        place = Place(50.45, 30.52, "Square")
        desk.take_in([message(), arrival("edited", 9, about="5", text="no, here", place=place)])

        (edited,) = said(desk, MessageEdited)
        assert (edited.message.text, edited.message.external_id) == ("no, here", "5")
        assert edited.message.location.name == "Square"
        assert (edited.message.sent_at, edited.deleted) == (later(9), False)

    def test_a_deletion_leaves_no_text(self) -> None:
        desk = book()
        desk.take_in([message(), arrival("deleted", 9, about="5")])

        (edited,) = said(desk, MessageEdited)
        assert (edited.message.text, edited.deleted) == ("", True)

    def test_a_reaction_names_who_and_what(self) -> None:
        desk = book()
        desk.take_in([message(), arrival("reacted", 9, about="5", reaction=None)])

        (reacted,) = said(desk, MessageReacted)
        assert (reacted.reaction, reacted.reacted_at) == (None, later(9))
        assert reacted.contact_id == said(desk, RequestOpened)[0].contact.id

    def test_names_count_within_a_conversation_where_the_platform_counts_per_chat(self) -> None:
        desk = book()
        desk.take_in([message(chat="7"), message(chat="8")])
        desk.take_in([arrival("edited", 9, chat="8", about="5", text="x")])

        (edited,) = said(desk, MessageEdited)
        other = next(f for f in said(desk, RequestOpened) if f.conversation == "8")
        assert edited.request_id == other.request_id

    def test_an_update_number_is_no_message_number(self) -> None:
        desk = book()
        desk.take_in([message("900", external_id="5")])
        desk.take_in([arrival("edited", 9, about="5", text="x")])

        assert said(desk, MessageEdited) == []
        assert desk.outcomes[-1].reason == WAITS

    def test_another_chats_update_of_that_number_is_another_message(self) -> None:
        desk = book()
        desk.take_in([message("5", external_id="5", chat="7"), message("5", chat="8")])
        desk.take_in([arrival("edited", 9, chat="8", about="5", text="x")])
        desk.take_in([arrival("edited", 9, chat="9", about="5", text="x")])

        (edited,) = said(desk, MessageEdited)
        other = next(f for f in said(desk, RequestOpened) if f.conversation == "8")
        assert (edited.request_id, edited.message.id) == (other.request_id, other.message.id)
        assert desk.outcomes[-1].reason == WAITS

    @pytest.mark.parametrize("first", [True, False], ids=["in order", "overtaken"])
    def test_a_reaction_finds_its_message_in_whichever_topic(self, *, first: bool) -> None:
        """It does not say in which: messages are numbered in the chat, whatever the topic."""
        desk = book()
        there = message("5", chat="-100:topic:44")
        react = arrival("reacted", 9, chat="-100", about="5", reaction="👍")
        desk.take_in([message("4", chat="-100"), message("6", chat="-100:topic:45")])
        for each in (there, react) if first else (react, there):
            desk.take_in([each])

        (reacted,) = said(desk, MessageReacted)
        assert reacted.message_id == there.message_id
        assert len(said(desk, RequestOpened)) == 3

    def test_businesses_number_their_messages_apart(self) -> None:
        desk = book()
        desk.take_in([message("5", chat="7"), message("5", chat="7:business:b")])
        desk.take_in([arrival("edited", 9, chat="7:business:b", about="5", text="x")])
        desk.take_in([arrival("edited", 9, chat="7:business:c", about="5", text="x")])

        (edited,) = said(desk, MessageEdited)
        other = next(f for f in said(desk, RequestOpened) if f.conversation == "7:business:b")
        assert edited.request_id == other.request_id
        assert desk.outcomes[-1].reason == WAITS

    def test_where_ids_name_a_message_anywhere_the_conversation_need_not_be_told(self) -> None:
        desk = book()
        desk.take_in([message("wamid.1", external_id="wamid.1", channel="whatsapp")])
        lonely = arrival("deleted", channel="whatsapp", chat="", person=None, about="wamid.1")
        desk.take_in([lonely])

        assert said(desk, MessageEdited)[0].deleted

    def test_what_overtook_is_told_after_its_message_in_the_order_it_was_said(self) -> None:
        desk = book()
        for seconds, text in ((3, "third"), (1, "first"), (2, "second")):
            desk.take_in([arrival("edited", seconds, about="5", text=text)])
        desk.take_in([message()])

        kinds = [type(fact) for fact, _ in desk.facts]
        assert kinds == [RequestOpened, MessageEdited, MessageEdited, MessageEdited]
        assert [f.message.text for f in said(desk, MessageEdited)] == ["first", "second", "third"]

    def test_a_remark_again_is_a_duplicate(self) -> None:
        desk = book()
        edit = arrival("edited", 9, about="5", text="x")
        desk.take_in([message(), edit, edit])

        assert [o.word for o in desk.outcomes] == ["opened", "noted", "duplicate"]
        assert len(said(desk, MessageEdited)) == 1

    def test_more_than_there_is_room_for_are_noted_and_why(self) -> None:
        desk = book()
        desk.take_in([arrival("edited", n, about=str(n), text="x") for n in range(3)])

        desk.take_in([arrival("receipt", 9, about="90", state="read")])
        desk.remarks.no_room({("telegram", "main", False): 1, ("telegram", "main", True): 1}, 2)

        assert [o.reason for o in desk.outcomes] == [WAITS, TOO_MANY, TOO_MANY, WAITS]
        assert len(desk.remarks.early) == 2


class TestAboutOurs:
    request, id = uuid4(), uuid4()

    def reply(self, at: float = 0, id: UUID | None = None) -> ReplySent:
        return ReplySent(
            time=later(at), request_id=self.request, by="anna", channel="telegram",
            account="main", contact=Contact(id=uuid4()),
            message=Message(id=id or self.id, text="hi", sent_at=later(at)),
        )  # fmt: skip

    def recorded(self, at: float = 0, id: UUID | None = None, name: str = "90") -> DeliveryRecorded:
        return DeliveryRecorded(
            time=later(at), request_id=self.request, message_id=id or self.id, state="sent",
            platform_id=name,
        )  # fmt: skip

    def written(self) -> Book:
        desk = book()
        desk.remarks.wrote(TALK, self.reply(0))
        self.sent(desk, self.recorded(1))
        return desk

    def sent(self, desk: Book, recorded: DeliveryRecorded) -> None:
        names = names_of([recorded], {self.request: TALK})
        desk.remarks.sent(TALK, recorded, names[recorded.message_id])

    @pytest.mark.parametrize("named", [{"about": "90"}, {"reference": "id"}, {"until": later(2)}])
    def test_a_receipt_by_its_name_by_ours_or_by_the_time(self, named: dict[str, Any]) -> None:
        desk = self.written()
        if "reference" in named:
            named = {"reference": str(self.id)}
        desk.take_in([arrival("receipt", 3, state="read", **named)])

        (reported,) = said(desk, DeliveryReported)
        assert (reported.message_id, reported.state) == (self.id, "read")
        assert desk.outcomes[0].request_id == reported.request_id == self.request

    def test_it_goes_forward_only(self) -> None:
        desk = self.written()
        for state in ("read", "delivered", "read", "sent"):
            desk.take_in([arrival("receipt", 3, state=state, about="90")])

        assert [f.state for f in said(desk, DeliveryReported)] == ["read"]
        assert {o.word for o in desk.outcomes} == {"noted"}

    def test_a_failure_is_told_with_its_reason(self) -> None:
        desk = self.written()
        desk.take_in([arrival("receipt", 3, state="failed", about="90", reason="blocked")])

        (reported,) = said(desk, DeliveryReported)
        assert (reported.state, reported.reason) == ("failed", "blocked")

    @pytest.mark.parametrize("named", [{"about": "90"}, {"until": later(2)}])
    def test_a_receipt_that_overtook_waits(self, named: dict[str, Any]) -> None:
        desk = book()
        desk.remarks.wrote(TALK, self.reply(0))
        desk.take_in([arrival("receipt", 2, state="delivered", **named)])
        assert desk.outcomes[0].reason == WAITS
        assert said(desk, DeliveryReported) == []

        self.sent(desk, self.recorded(2.5))
        desk.remarks.catch_up()

        assert [f.state for f in said(desk, DeliveryReported)] == ["delivered"]
        assert desk.remarks.early == {}

    def test_what_left_after_it_was_read_is_not_read(self) -> None:
        desk = self.written()
        other = uuid4()
        desk.remarks.wrote(TALK, self.reply(0.5, other))
        self.sent(desk, self.recorded(60, other, "91"))
        desk.take_in([arrival("receipt", 2, state="read", until=later(2))])

        assert [f.message_id for f in said(desk, DeliveryReported)] == [self.id]

    def test_what_others_wrote_in_our_name_is_not_waited_for(self) -> None:
        desk = book()
        desk.take_in([arrival("receipt", 3, state="read", until=later(2))])

        assert (desk.outcomes[0].word, desk.outcomes[0].reason) == ("noted", "receipt")
        assert desk.remarks.early == {}

    def test_a_customers_message_gets_no_receipt(self) -> None:
        desk = book()
        desk.take_in([message(), arrival("receipt", 3, about="5", state="read")])

        assert said(desk, DeliveryReported) == []

    def test_a_reaction_to_ours(self) -> None:
        desk = self.written()
        desk.take_in([arrival("reacted", 3, about="90", reaction="❤")])

        (reacted,) = said(desk, MessageReacted)
        assert (reacted.message_id, reacted.request_id) == (self.id, self.request)

    def test_an_echo_is_noted_and_answered_by_nothing(self) -> None:
        desk = self.written()
        desk.take_in([arrival("noted", 3, reason="our own message", reference=str(self.id))])

        assert desk.facts == []
        assert desk.outcomes[0].word == "noted"


class TestContent:
    def test_a_message_carries_all_that_was_in_it(self) -> None:
        desk = book()
        more = {
            "place": Place(50.45, 30.52, "Square", "Main street 1"), "button": "yes",
            "reply_to": "4", "cards": (Person("99", "Bob", email="b@x.test", phone="+1"),),
        }  # fmt: skip
        desk.take_in([message(), message("6", **more)])

        (told,) = (f.message for f in said(desk, MessageReceived))
        assert (told.button, told.reply_to, told.location.address) == ("yes", "4", "Main street 1")
        (card,) = told.contacts
        assert (card.name, card.phone, card.email, card.address) == ("Bob", "+1", "b@x.test", "99")


class TestBans:
    @pytest.mark.parametrize(
        ("told", "what", "name"),
        [
            ("203.0.113.7", "network", "203.0.113.7/32"),
            ("203.0.113.9/24", "network", "203.0.113.0/24"),
            ("2001:DB8::/32", "network", "2001:db8::/32"),
            ("Ann@Example.test", "address", "ann@example.test"),
            ("telegram:7", "address", "telegram:7"), ("7", "address", "7"),
            ("6F1C6F4E-9A55-5E0B-8D0F-5B7A3A0C7E21", "contact",
             "6f1c6f4e-9a55-5e0b-8d0f-5b7a3a0c7e21"),
        ],
    )  # fmt: skip
    def test_how_it_is_said(self, told: str, what: Any, name: str) -> None:
        assert understood(told) == Banned(what, name)

    @pytest.mark.parametrize("told", ["", " ", "a\nb", "\x00", "x" * 256])
    def test_what_nobody_could_be(self, told: str) -> None:
        with pytest.raises(ValueError, match="printable"):
            understood(told)

    @pytest.mark.parametrize("ban", ["7", "telegram:7", "ANN@x.test", "+380501234567", "contact"])
    def test_whoever_is_banned_is_rejected_and_nothing_is_lost(self, ban: str) -> None:
        person = Person("7", "Ann", email="ann@x.test", phone="+380501234567")
        first = message(person=person)
        bans = Bans.of([understood(str(first.contact) if ban == "contact" else ban)])
        desk = book(bans=bans)

        desk.take_in([first, first, arrival("edited", 9, about="5", text="x", person=person)])

        assert [(o.word, o.reason) for o in desk.outcomes] == [
            ("rejected", "banned"), ("duplicate", None), ("rejected", "banned"),
        ]  # fmt: skip
        assert {type(fact) for fact, _ in desk.facts} == {MessageRejected}
        assert desk.contacts == desk.conversations == {}

    @pytest.mark.parametrize("ban", ["8", "viber:7", "bob@x.test", "10.0.0.0/8"])
    def test_others_are_not(self, ban: str) -> None:
        desk = book(bans=Bans.of([understood(ban)]))
        desk.take_in([message()])

        assert [o.word for o in desk.outcomes] == ["opened"]

    def test_networks(self) -> None:
        bans = Bans.of(map(understood, ["203.0.113.0/24", "2001:db8::/32"]))

        shut = ("203.0.113.77", "2001:db8::1", "::ffff:203.0.113.1")
        assert all(bans.shut_out(host) for host in shut)
        assert not any(bans.shut_out(host) for host in ("203.0.114.1", "::1", "a socket", None))
