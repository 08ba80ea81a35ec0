"""Facts: ids and sequences, NATS subjects, the wire form, and refusal of unreadable data."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trunkline_contracts import (
    BY_NAME,
    WIRE,
    CapacityReached,
    Contact,
    OperatorPresenceChanged,
    RequestUnassigned,
    StatusChanged,
    TelegramChat,
    TicketsFact,
    Unreadable,
    contact_id,
    conversation_key,
    conversation_name,
    fact_id,
    message_id,
    read,
    slot_of,
    splice,
)

REQUEST = UUID("455b539e-02f2-59e0-ae94-b73256f6f2d8")
NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)


def moved(**more: Any) -> StatusChanged:
    """A request moved from new to open."""
    fields = {"from_": "new", "to": "open", "by": "anna", "time": NOON}
    return StatusChanged.model_validate({"request_id": REQUEST, **fields, **more})


def test_tickets_leave_the_request_to_the_subject() -> None:
    doc = json.loads(moved().numbered(4).wire())

    assert doc["data"] == {"from": "new", "to": "open", "by": "anna"}
    assert doc["subject"] == str(REQUEST)
    assert read(json.dumps(doc)) == moved().numbered(4)


def test_others_say_the_request_in_data_too() -> None:
    fact = RequestUnassigned(
        request_id=REQUEST, operator="anna", reason="offline", epoch=2, time=NOON
    )

    assert json.loads(fact.wire())["data"]["request_id"] == str(REQUEST)


def test_body_has_context_only_when_set() -> None:
    assert set(json.loads(moved().body())) == {"time", "data"}

    known = moved(workspace=3, traceparent="00-a-b-01", correlationid='a"b', causationid="c")
    body = json.loads(known.body())

    assert body["workspace"] == 3
    assert (body["traceparent"], body["correlationid"], body["causationid"]) == (
        "00-a-b-01",
        'a"b',
        "c",
    )
    assert read(known.numbered(1).wire()) == known.numbered(1)


def test_sequence_determines_the_id() -> None:
    first, again, second = moved().numbered(1), moved(to="closed").numbered(1), moved().numbered(2)

    assert first.id == again.id == fact_id(first.type, str(REQUEST), 1)
    assert first.id != second.id


def test_nats_subject_has_type_slot_and_key() -> None:
    slot = slot_of(str(REQUEST))

    assert moved().nats_subject == f"trunkline.tickets.v1.status_changed.{slot:02d}.{REQUEST}"
    assert 0 <= slot < 16


def test_slots_and_ids_never_change() -> None:
    assert slot_of("anna") == 7
    assert contact_id("telegram", "main", "42") == UUID("7cb39542-6cb4-5d96-b937-81b7ef1c2f85")
    assert conversation_key("telegram", "main", "42") == ("43c97789-1c32-5e8c-9759-7fd639c1be2d")
    assert message_id("telegram", "main", "42") == UUID("770c9c71-97f6-5604-99e4-33802fafacfd")
    assert fact_id("trunkline.tickets.v1.opened", "k", 1) == UUID(
        "96e3ba88-e43d-57cc-a383-5d9e61785f24"
    )


def test_fact_of_later_epoch_keeps_its_id_on_the_wire() -> None:
    plain = moved().numbered(1)
    fact = plain.model_copy(update={"id": fact_id(plain.type, plain.subject, 1, epoch=7)})

    assert fact.id != plain.id
    assert read(fact.wire()) == fact


def test_ids_differ_when_names_are_split_differently() -> None:
    assert contact_id("a", "b:c", "d") != contact_id("a", "b", "c:d")


def test_conversation_name_depends_on_the_channel() -> None:
    ann = Contact(id=uuid4(), address="ann@example.test")
    nowhere = Contact(id=uuid4())

    for channel in ("email", "api", "form"):
        assert conversation_name(REQUEST, channel, None, ann) == str(REQUEST)
    assert conversation_name(REQUEST, "telegram", None, ann) == ann.address
    assert conversation_name(REQUEST, "telegram", None, nowhere) == str(nowhere.id)
    assert conversation_name(REQUEST, "email", "order 7", ann) == "order 7"


@pytest.mark.parametrize(
    ("name", "chat"),
    [
        ("7", TelegramChat("7")), ("-100200", TelegramChat("-100200")),
        ("@shop", TelegramChat("@shop")),
        ("7:business:b-C_1", TelegramChat("7", "b-C_1")),
        ("-100200:topic:44", TelegramChat("-100200", topic=44)),
        ("-100300:direct:7", TelegramChat("-100300", direct=7)),
        ("7:business:b:topic:3", TelegramChat("7", "b", 3)),
        ("7:topic:", TelegramChat("7:topic:")), ("", TelegramChat("")),
    ],
)  # fmt: skip
def test_telegram_chat_is_parsed_from_its_name(name: str, chat: TelegramChat) -> None:
    assert TelegramChat.from_name(name) == chat
    assert chat.name == name
    assert chat.message_scope == chat._replace(topic=None, direct=None)


def test_time_is_aware_and_written_in_utc() -> None:
    kyiv = timezone(timedelta(hours=2))

    assert json.loads(moved(time=NOON.astimezone(kyiv)).wire())["time"] == "2026-03-09T12:00:00Z"
    with pytest.raises(ValidationError, match="timezone"):
        moved(time=NOON.replace(tzinfo=None))


@pytest.mark.parametrize("name", ["an na", "an.na", "anna*", ">", 'an"na', "an\\na", "a\nb", ""])
def test_key_that_is_no_subject_token_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="operator"):
        OperatorPresenceChanged(operator=name, from_="away", to="online", by="x", time=NOON)


def test_key_may_be_a_word_in_any_language() -> None:
    fact = CapacityReached(group="перша-лінія", time=NOON).numbered(1)

    assert read(fact.wire()) == fact


def test_facts_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        moved().to = "closed"  # type: ignore[misc]  # the point of the test


def test_old_readers_read_new_facts() -> None:
    doc = json.loads(moved().numbered(1).wire())
    doc["newer"] = doc["data"]["newer"] = {"a": 1}

    assert read(json.dumps(doc)) == moved().numbered(1)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff", "Invalid JSON"),
        (b"[]", "object"),
        (b"{}", "type: missing"),
        (b'{"type": "trunkline.tickets.v9.opened"}', "no fact is called 'trunkline.tickets.v9"),
        (splice("trunkline.tickets.v1.closed", "k", 1, b'{"time": '), "Invalid JSON"),
        (splice("trunkline.tickets.v1.closed", "k", 1, b'{"data": {}}'), "request_id|time"),
    ],
)
def test_unreadable_data_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read(data)


def test_every_type_names_its_class() -> None:
    for name, kind in BY_NAME.items():
        prefix, _, version, fact = name.split(".")

        assert (prefix, version) == ("trunkline", "v1")
        assert kind.__name__.lower() == fact.replace("_", "")
        assert kind.__module__.split(".")[1] == name.split(".")[1]
        assert kind.__doc__
        assert (kind.only_in_envelope == {"request_id"}) == issubclass(kind, TicketsFact)


@given(st.data())
def test_arbitrary_bytes_raise_only_unreadable(data: st.DataObject) -> None:
    raw = data.draw(st.binary() | st.text().map(str.encode))

    with pytest.raises(Unreadable):
        read(raw)


@given(text=st.text(), sequence=st.integers(1, 2**53))
def test_any_text_survives_the_round_trip(text: str, sequence: int) -> None:
    fact = moved(to=text, by=text, correlationid=text).numbered(sequence)

    assert read(fact.wire()) == WIRE.validate_python(json.loads(fact.wire())) == fact
