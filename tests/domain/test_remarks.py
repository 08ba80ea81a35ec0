"""Edits, deletions, reactions and receipts: a fact about their message, whichever came first."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ingest.domain.bans import Ban, BanSet, parse_ban
from ingest.domain.batch_entry import BatchEntry
from ingest.domain.field_rules import Rules
from ingest.domain.intake_batch import IntakeBatch
from ingest.domain.items import InboundItem, Person, SharedLocation
from ingest.domain.message_intake import process
from ingest.domain.message_updates import OVER_LIMIT, PENDING
from ingest.domain.ticket_facts import platform_keys
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


def new_batch(**known: Any) -> IntakeBatch:
    return IntakeBatch(RULES, NOW, **known)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


numbers = itertools.count(1)


def entry(
    kind: Any, said: float = 0, chat: str = "7", channel: str = "telegram", **more: Any
) -> BatchEntry:
    number = str(next(numbers))
    told = {"conversation": chat, "person": Person(chat, "Ann"), "sent_at": later(said), **more}
    item = InboundItem(kind, told.pop("external_id", number), told.pop("digest", number), **told)
    return BatchEntry(str(uuid4()), 0, channel, "main", NOW, item)


def message(platform_id: str = "5", **more: Any) -> BatchEntry:
    return entry("message", **{"text": "hello", "platform_id": platform_id, **more})


def facts_of(of: IntakeBatch, kind: type) -> list[Any]:
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
        batch = new_batch()
        both = [message(), entry(kind, 9, about="5", **more)]

        for each in both if first else reversed(both):
            process(batch, [each])

        (opened,) = facts_of(batch, RequestOpened)
        (told,) = [*facts_of(batch, MessageEdited), *facts_of(batch, MessageReacted)]
        (noted,) = [o for o in batch.outcomes if o.kind == "noted"]
        assert told.request_id == noted.request_id == opened.request_id
        assert noted.reason == kind
        assert getattr(told, "message_id", None) or told.message.id == opened.message.id
        assert batch.updates.pending == {}

    def test_each_says_the_platforms_number(self) -> None:
        batch = new_batch()
        process(batch, [message(external_id="81"), message("6", external_id="80")])
        process(batch, [entry("edited", 9, about="5", text="x", external_id="83")])
        process(batch, [entry("reacted", 9, about="5", reaction="👍", external_id="82")])

        assert [f.message.number for f in facts_of(batch, RequestOpened)] == [80]  # of one instant
        assert [f.message.number for f in facts_of(batch, MessageReceived)] == [81]
        assert [f.message.number for f in facts_of(batch, MessageEdited)] == [83]
        assert [f.number for f in facts_of(batch, MessageReacted)] == [82]

    @pytest.mark.parametrize("id", ["wamid.7", "7:1", str(2**53), "9" * 5000, "٣"])
    def test_an_id_no_reader_takes_for_a_number_is_none(self, id: str) -> None:
        batch = new_batch()
        process(batch, [message(external_id=id)])

        assert [f.message.number for f in facts_of(batch, RequestOpened)] == [None]

    def test_an_edit_says_all_of_the_message_anew(self) -> None:
        batch = new_batch()
        place = SharedLocation(50.45, 30.52, "Square")
        process(batch, [message(), entry("edited", 9, about="5", text="no, here", place=place)])

        (edited,) = facts_of(batch, MessageEdited)
        assert (edited.message.text, edited.message.external_id) == ("no, here", "5")
        assert edited.message.location.name == "Square"
        assert (edited.message.sent_at, edited.deleted) == (later(9), False)

    def test_a_deletion_leaves_no_text(self) -> None:
        batch = new_batch()
        process(batch, [message(), entry("deleted", 9, about="5")])

        (edited,) = facts_of(batch, MessageEdited)
        assert (edited.message.text, edited.deleted) == ("", True)

    def test_a_reaction_names_who_and_what(self) -> None:
        batch = new_batch()
        process(batch, [message(), entry("reacted", 9, about="5", reaction=None)])

        (reacted,) = facts_of(batch, MessageReacted)
        assert (reacted.reaction, reacted.reacted_at) == (None, later(9))
        assert reacted.contact_id == facts_of(batch, RequestOpened)[0].contact.id

    def test_platform_ids_per_chat_are_unique_within_it_only(self) -> None:
        batch = new_batch()
        process(batch, [message(chat="7"), message(chat="8")])
        process(batch, [entry("edited", 9, chat="8", about="5", text="x")])

        (edited,) = facts_of(batch, MessageEdited)
        other = next(f for f in facts_of(batch, RequestOpened) if f.conversation == "8")
        assert edited.request_id == other.request_id

    def test_an_update_number_is_no_message_number(self) -> None:
        batch = new_batch()
        process(batch, [message("900", external_id="5")])
        process(batch, [entry("edited", 9, about="5", text="x")])

        assert facts_of(batch, MessageEdited) == []
        assert batch.outcomes[-1].reason == PENDING

    def test_another_chats_update_of_that_number_is_another_message(self) -> None:
        batch = new_batch()
        process(batch, [message("5", external_id="5", chat="7"), message("5", chat="8")])
        process(batch, [entry("edited", 9, chat="8", about="5", text="x")])
        process(batch, [entry("edited", 9, chat="9", about="5", text="x")])

        (edited,) = facts_of(batch, MessageEdited)
        other = next(f for f in facts_of(batch, RequestOpened) if f.conversation == "8")
        assert (edited.request_id, edited.message.id) == (other.request_id, other.message.id)
        assert batch.outcomes[-1].reason == PENDING

    @pytest.mark.parametrize("first", [True, False], ids=["in order", "overtaken"])
    def test_a_reaction_finds_its_message_in_whichever_topic(self, *, first: bool) -> None:
        """It does not say in which: messages are numbered in the chat, whatever the topic."""
        batch = new_batch()
        there = message("5", chat="-100:topic:44")
        react = entry("reacted", 9, chat="-100", about="5", reaction="👍")
        process(batch, [message("4", chat="-100"), message("6", chat="-100:topic:45")])
        for each in (there, react) if first else (react, there):
            process(batch, [each])

        (reacted,) = facts_of(batch, MessageReacted)
        assert reacted.message_id == there.message_id
        assert len(facts_of(batch, RequestOpened)) == 3

    def test_businesses_number_their_messages_apart(self) -> None:
        batch = new_batch()
        process(batch, [message("5", chat="7"), message("5", chat="7:business:b")])
        process(batch, [entry("edited", 9, chat="7:business:b", about="5", text="x")])
        process(batch, [entry("edited", 9, chat="7:business:c", about="5", text="x")])

        (edited,) = facts_of(batch, MessageEdited)
        other = next(f for f in facts_of(batch, RequestOpened) if f.conversation == "7:business:b")
        assert edited.request_id == other.request_id
        assert batch.outcomes[-1].reason == PENDING

    def test_globally_unique_ids_need_no_conversation(self) -> None:
        batch = new_batch()
        process(batch, [message("wamid.1", external_id="wamid.1", channel="whatsapp")])
        lonely = entry("deleted", channel="whatsapp", chat="", person=None, about="wamid.1")
        process(batch, [lonely])

        assert facts_of(batch, MessageEdited)[0].deleted

    def test_early_updates_follow_their_message_in_order(self) -> None:
        batch = new_batch()
        for seconds, text in ((3, "third"), (1, "first"), (2, "second")):
            process(batch, [entry("edited", seconds, about="5", text=text)])
        process(batch, [message()])

        kinds = [type(fact) for fact, _ in batch.facts]
        assert kinds == [RequestOpened, MessageEdited, MessageEdited, MessageEdited]
        assert [f.message.text for f in facts_of(batch, MessageEdited)] == [
            "first",
            "second",
            "third",
        ]

    def test_a_remark_again_is_a_duplicate(self) -> None:
        batch = new_batch()
        edit = entry("edited", 9, about="5", text="x")
        process(batch, [message(), edit, edit])

        assert [o.kind for o in batch.outcomes] == ["opened", "noted", "duplicate"]
        assert len(facts_of(batch, MessageEdited)) == 1

    def test_more_than_there_is_room_for_are_noted_and_why(self) -> None:
        batch = new_batch()
        process(batch, [entry("edited", n, about=str(n), text="x") for n in range(3)])

        process(batch, [entry("receipt", 9, about="90", state="read")])
        batch.updates.evict_over_limit(
            {("telegram", "main", False): 1, ("telegram", "main", True): 1}, 2
        )

        assert [o.reason for o in batch.outcomes] == [PENDING, OVER_LIMIT, OVER_LIMIT, PENDING]
        assert len(batch.updates.pending) == 2


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

    def written(self) -> IntakeBatch:
        batch = new_batch()
        batch.updates.record_reply(TALK, self.reply(0))
        self.sent(batch, self.recorded(1))
        return batch

    def sent(self, batch: IntakeBatch, recorded: DeliveryRecorded) -> None:
        names = platform_keys([recorded], {self.request: TALK})
        batch.updates.record_delivery(TALK, recorded, names[recorded.message_id])

    @pytest.mark.parametrize("named", [{"about": "90"}, {"reference": "id"}, {"until": later(2)}])
    def test_a_receipt_by_its_name_by_ours_or_by_the_time(self, named: dict[str, Any]) -> None:
        batch = self.written()
        if "reference" in named:
            named = {"reference": str(self.id)}
        process(batch, [entry("receipt", 3, state="read", **named)])

        (reported,) = facts_of(batch, DeliveryReported)
        assert (reported.message_id, reported.state) == (self.id, "read")
        assert batch.outcomes[0].request_id == reported.request_id == self.request

    def test_it_goes_forward_only(self) -> None:
        batch = self.written()
        for state in ("read", "delivered", "read", "sent"):
            process(batch, [entry("receipt", 3, state=state, about="90")])

        assert [f.state for f in facts_of(batch, DeliveryReported)] == ["read"]
        assert {o.kind for o in batch.outcomes} == {"noted"}

    def test_a_failure_is_told_with_its_reason(self) -> None:
        batch = self.written()
        process(batch, [entry("receipt", 3, state="failed", about="90", reason="blocked")])

        (reported,) = facts_of(batch, DeliveryReported)
        assert (reported.state, reported.reason) == ("failed", "blocked")

    @pytest.mark.parametrize("named", [{"about": "90"}, {"until": later(2)}])
    def test_a_receipt_that_overtook_waits(self, named: dict[str, Any]) -> None:
        batch = new_batch()
        batch.updates.record_reply(TALK, self.reply(0))
        process(batch, [entry("receipt", 2, state="delivered", **named)])
        assert batch.outcomes[0].reason == PENDING
        assert facts_of(batch, DeliveryReported) == []

        self.sent(batch, self.recorded(2.5))
        batch.updates.resolve_pending()

        assert [f.state for f in facts_of(batch, DeliveryReported)] == ["delivered"]
        assert batch.updates.pending == {}

    def test_what_left_after_it_was_read_is_not_read(self) -> None:
        batch = self.written()
        other = uuid4()
        batch.updates.record_reply(TALK, self.reply(0.5, other))
        self.sent(batch, self.recorded(60, other, "91"))
        process(batch, [entry("receipt", 2, state="read", until=later(2))])

        assert [f.message_id for f in facts_of(batch, DeliveryReported)] == [self.id]

    def test_what_others_wrote_in_our_name_is_not_waited_for(self) -> None:
        batch = new_batch()
        process(batch, [entry("receipt", 3, state="read", until=later(2))])

        assert (batch.outcomes[0].kind, batch.outcomes[0].reason) == ("noted", "receipt")
        assert batch.updates.pending == {}

    def test_a_customers_message_gets_no_receipt(self) -> None:
        batch = new_batch()
        process(batch, [message(), entry("receipt", 3, about="5", state="read")])

        assert facts_of(batch, DeliveryReported) == []

    def test_a_reaction_to_ours(self) -> None:
        batch = self.written()
        process(batch, [entry("reacted", 3, about="90", reaction="❤")])

        (reacted,) = facts_of(batch, MessageReacted)
        assert (reacted.message_id, reacted.request_id) == (self.id, self.request)

    def test_an_echo_is_noted_and_answered_by_nothing(self) -> None:
        batch = self.written()
        process(batch, [entry("noted", 3, reason="our own message", reference=str(self.id))])

        assert batch.facts == []
        assert batch.outcomes[0].kind == "noted"


class TestContent:
    def test_a_message_carries_all_that_was_in_it(self) -> None:
        batch = new_batch()
        more = {
            "place": SharedLocation(50.45, 30.52, "Square", "Main street 1"), "button": "yes",
            "reply_to": "4", "cards": (Person("99", "Bob", email="b@x.test", phone="+1"),),
        }  # fmt: skip
        process(batch, [message(), message("6", **more)])

        (told,) = (f.message for f in facts_of(batch, MessageReceived))
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
        assert parse_ban(told) == Ban(what, name)

    @pytest.mark.parametrize("told", ["", " ", "a\nb", "\x00", "x" * 256])
    def test_what_nobody_could_be(self, told: str) -> None:
        with pytest.raises(ValueError, match="printable"):
            parse_ban(told)

    @pytest.mark.parametrize("ban", ["7", "telegram:7", "ANN@x.test", "+380501234567", "contact"])
    def test_whoever_is_banned_is_rejected_and_nothing_is_lost(self, ban: str) -> None:
        person = Person("7", "Ann", email="ann@x.test", phone="+380501234567")
        first = message(person=person)
        bans = BanSet.from_bans([parse_ban(str(first.contact) if ban == "contact" else ban)])
        batch = new_batch(bans=bans)

        process(batch, [first, first, entry("edited", 9, about="5", text="x", person=person)])

        assert [(o.kind, o.reason) for o in batch.outcomes] == [
            ("rejected", "banned"), ("duplicate", None), ("rejected", "banned"),
        ]  # fmt: skip
        assert {type(fact) for fact, _ in batch.facts} == {MessageRejected}
        assert batch.contacts == batch.conversations == {}

    @pytest.mark.parametrize("ban", ["8", "viber:7", "bob@x.test", "10.0.0.0/8"])
    def test_others_are_not(self, ban: str) -> None:
        batch = new_batch(bans=BanSet.from_bans([parse_ban(ban)]))
        process(batch, [message()])

        assert [o.kind for o in batch.outcomes] == ["opened"]

    def test_networks(self) -> None:
        bans = BanSet.from_bans(map(parse_ban, ["203.0.113.0/24", "2001:db8::/32"]))

        shut = ("203.0.113.77", "2001:db8::1", "::ffff:203.0.113.1")
        assert all(bans.blocks_host(host) for host in shut)
        assert not any(bans.blocks_host(host) for host in ("203.0.114.1", "::1", "a socket", None))
