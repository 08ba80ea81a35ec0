"""Calls: one call is one conversation, one event one entry, whatever a provider calls them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, get_args
from urllib.parse import urlencode

import pytest

from ingest.channels import registry
from ingest.channels.telephony.parser import FIELDS
from ingest.domain.items import Item, Raw, Unreadable
from trunkline_contracts.parts import Attachment
from trunkline_workspace.channels import CallField

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NESTED = {"data.call.id": "call_id", "data.state": "event", "data.legs.0.number": "from"}


def read(body: Any, mapping: dict[str, str] | None = None, *, form: bool = False) -> Item:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    if form:
        data = urlencode(body).encode()
    (item,) = registry.read(Raw("telephony", "main", "0", data, NOW, mapping=mapping or {}))
    return item


def test_what_can_be_mapped_to_is_what_is_read() -> None:
    assert get_args(CallField) == FIELDS


def test_a_mapping_finds_what_is_nested() -> None:
    body = {"data": {"call": {"id": 17}, "state": "RINGING", "legs": [{"number": "+380 44 1"}]}}

    item = read(body, NESTED)

    assert (item.conversation, item.text) == ("17", "[call ringing] +380441")
    assert item.person is not None
    assert item.person.address == item.person.phone == "+380441"


def test_a_form_nests_by_brackets_or_by_dots() -> None:
    for name in ("data[call][id]", "data.call.id"):
        body = {name: "17", "data[state]": "ring", "data[legs][0][number]": "101"}

        assert read(body, NESTED, form=True).text == "[call ringing] 101"


def test_a_mapped_field_counts_more_than_one_of_our_name() -> None:
    body = {"call_id": "theirs", "uuid": "ours", "event": "answered"}

    assert read(body, {"uuid": "call_id"}).conversation == "ours"
    assert read(body, {"absent": "call_id"}).conversation == "theirs"


def test_the_same_event_is_one_however_it_is_written() -> None:
    told = {"call_id": 7, "event": "ended", "duration": 65, "from": "101", "attempt": 1}

    first = read(told)
    again = [
        read(dict(reversed(told.items()))),
        read({**told, "attempt": 2}),
        read(told, form=True),
        read({**told, "event": "HANGUP"}),
    ]

    assert {(item.external_id, item.digest) for item in again} == {
        (first.external_id, first.digest)
    }


@pytest.mark.parametrize("change", [{"call_id": 8}, {"event": "answered"}, {"duration": 66}])
def test_another_call_kind_or_content_is_another_event(change: dict[str, Any]) -> None:
    told = {"call_id": 7, "event": "ended", "duration": 65}

    assert read({**told, **change}).external_id != read(told).external_id


def test_an_event_of_an_unknown_kind_is_known_by_all_it_says() -> None:
    one, two = (read({"call_id": 7, "event": "dtmf", "digit": digit}) for digit in "56")

    assert one.external_id != two.external_id
    assert one.text == "[call: dtmf]"


def test_who_is_the_customer_depends_on_who_called() -> None:
    ends = {"call_id": 7, "event": "ringing", "from": "101", "to": "+380501112233"}

    coming, going = read(ends), read({**ends, "direction": "Outbound"})

    assert (coming.person and coming.person.address) == "101"
    assert (going.person and going.person.address) == "+380501112233"
    assert going.text == "[call ringing] +380501112233 → 101"


def test_recording_and_transcript_come_with_whatever_event_brings_them() -> None:
    url = "https://calls.test/7.mp3"
    turns = [{"speaker": "customer", "text": "Where is it?"}, {"text": "On its way."}]

    item = read({"call_id": 7, "event": "ended", "recording": url, "transcript": turns})
    bare = read({"call_id": 7, "transcript": "Where is it?"})

    assert item.attachments == (Attachment(name="recording", url=url),)
    assert item.text == "[call ended]\ncustomer: Where is it?\nOn its way."
    assert bare.text == "[call transcript]\nWhere is it?"


def test_what_is_no_address_is_not_offered_as_one() -> None:
    item = read({"call_id": 7, "event": "recording", "recording": "javascript:alert(1)"})

    assert item.attachments == ()
    assert item.text == "[call recording] javascript:alert(1)"


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (1772441000, datetime(2026, 3, 2, 8, 43, 20, tzinfo=UTC)),
        ("1772441000", datetime(2026, 3, 2, 8, 43, 20, tzinfo=UTC)),
        (1772441000500, datetime(2026, 3, 2, 8, 43, 20, 500000, tzinfo=UTC)),
        ("2026-03-02T10:43:20+02:00", datetime(2026, 3, 2, 8, 43, 20, tzinfo=UTC)),
        ("2026-03-02T10:43:20", None),
        ("2036-03-02T10:43:20Z", NOW),
        ("soon", None),
        (-1, None),
        (True, None),
    ],
)
def test_times_are_read_as_providers_write_them(at: Any, told: datetime | None) -> None:
    assert read({"call_id": 7, "event": "answered", "at": at}).sent_at == told


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"event": "ringing"}, "data.call.id is missing"),
        ({"data": {"call": {"id": {}}}}, "data.call.id is missing"),
        (b"", "neither JSON nor a form"),
        (b"hello", "neither JSON nor a form"),
        (b"\xff=1", "neither JSON nor a form"),
        (b"&".join(b"a=1" for _ in range(600)), "neither JSON nor a form"),
        (b"[1]", "not a JSON object"),
    ],
)
def test_what_names_no_call_says_what_is_missing(body: Any, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read(body, NESTED)
