"""Every shape ever released can still be read: this is the compatibility policy.

A rename, a new field without a default and a changed type fail; a new field with a default passes.
Sample messages are never changed or deleted; a new shape gets a new sample.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft202012Validator, FormatChecker

from trunkline_contracts import BY_NAME, fact_id, read

from .paths import LETTERS, SCHEMAS

each_letter = pytest.mark.parametrize("letter", LETTERS, ids=lambda path: path.stem)


def is_included(sent: Any, again: Any) -> bool:
    """Return True if everything sent is in the other value, which may have more."""
    match sent, again:
        case dict(), dict():
            return all(k in again and is_included(sent[k], again[k]) for k in sent)
        case list(), list():
            return len(sent) == len(again) and all(map(is_included, sent, again))
        case _:
            return type(sent) is type(again) and bool(sent == again)


@each_letter
def test_every_sample_message_can_still_be_read(letter: Path) -> None:
    sent = json.loads(letter.read_text("utf-8"))

    again = json.loads(read(letter.read_bytes()).wire())

    assert is_included(sent, again)


@each_letter
def test_fact_survives_the_round_trip(letter: Path) -> None:
    fact = read(letter.read_bytes())

    assert read(fact.wire()) == fact
    assert fact.id == fact_id(fact.type, fact.subject, fact.sequence)


@each_letter
def test_sample_message_matches_its_schema(letter: Path) -> None:
    sent = json.loads(letter.read_text("utf-8"))
    schema = json.loads((SCHEMAS / f"{sent['type']}.json").read_text("utf-8"))

    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(sent)


@each_letter
def test_cloudevents_sdk_reads_every_fact(letter: Path) -> None:
    fact = read(letter.read_bytes())

    event = JSONFormat().read(None, fact.wire())

    assert event.get_id() == str(fact.id)
    assert event.get_type() == fact.type
    assert event.get_source() == f"trunkline/{fact.type.split('.')[1]}"
    assert event.get_subject() == fact.subject
    assert event.get_time() == fact.time
    assert event.get_extension("sequence") == fact.sequence
    assert is_included(json.loads(letter.read_text("utf-8"))["data"], event.get_data())


def test_every_fact_has_a_sample_message() -> None:
    assert {json.loads(path.read_text("utf-8"))["type"] for path in LETTERS} == set(BY_NAME)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("to"),
        lambda data: data.update(to=5),
        lambda data: data.update(to=None),
    ],
    ids=["a field missing", "another type", "null"],
)
def test_spoiled_sample_message_is_refused(spoil: Any) -> None:
    path = next(p for p in LETTERS if p.stem == "trunkline.tickets.v1.status_changed")
    sent = json.loads(path.read_text("utf-8"))
    schema = json.loads((SCHEMAS / f"{sent['type']}.json").read_text("utf-8"))
    spoil(sent["data"])

    assert not Draft202012Validator(schema).is_valid(sent)
    with pytest.raises(ValueError, match=r"trunkline\.tickets\.v1\.status_changed: data\.to: "):
        read(json.dumps(sent))
