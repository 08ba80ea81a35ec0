"""Histories made up by hand: what is well passes, and each way of spoiling it is complained of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from faults.checkers import Row, kept, one_effect, told_once
from faults.recovery import Answer, let_in, refused_in_time

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WRITTEN = ["where is my order?", "hello?", "thank you"]


def row(position: int, key: str, sequence: int, name: str, text: str) -> Row:
    return Row(position, key, sequence, name, NOON, {"message": {"text": text}}, f"id-{position}")


HISTORY = [
    row(1, "A", 1, "opened", WRITTEN[0]),
    row(2, "A", 2, "message_added", WRITTEN[1]),
    row(3, "B", 1, "opened", WRITTEN[2]),
    row(4, "A", 3, "reply_sent", "on its way"),
    row(5, "A", 4, "message_changed", WRITTEN[1]),
]
TOLD = [each.id for each in HISTORY]


def test_every_message_in_one_history_once_is_well() -> None:
    assert one_effect(WRITTEN, HISTORY) == []


@pytest.mark.parametrize(
    ("doctored", "complaint"),
    [
        (HISTORY[1:], "'where is my order?' has 0 effects"),
        ([each for each in HISTORY if each.name != "message_added"], "'hello?' has 0 effects"),
        ([*HISTORY, replace(HISTORY[1], position=6, sequence=5)], "'hello?' has 2 effects"),
        ([*HISTORY, replace(HISTORY[1], position=6, key="B")], "'hello?' has 2 effects"),
        ([*HISTORY, replace(HISTORY[2], position=6, key="C")], "'thank you' has 2 effects"),
        ([*HISTORY, row(6, "B", 2, "message_added", "forged")], "nobody wrote 'forged'"),
        ([replace(HISTORY[0], name="note_added"), *HISTORY[1:]], "order?' has 0 effects"),
    ],
    ids=["lost opening", "lost", "twice", "in another request", "opens two", "forged", "a note"],
)
def test_a_doctored_history_is_rejected(doctored: list[Row], complaint: str) -> None:
    (wrong,) = one_effect(WRITTEN, doctored)
    assert wrong.endswith(complaint)


def test_what_was_accepted_must_be_kept() -> None:
    assert kept(["1", "2"], ["2", "1", "3"]) == []
    assert kept(["1", "2"], ["2"]) == ["accepted and lost: 1"]


def test_a_trimmed_stream_has_the_end_of_what_was_recorded() -> None:
    assert told_once(HISTORY, TOLD) == told_once(HISTORY, TOLD[3:], ever=5) == []
    for stream, ever in [
        (TOLD[3:], 4),  # one was never told
        (TOLD[3:], 6),  # one was told twice, and taken away
        (TOLD[2:4], 5),  # the last is missing
        ([TOLD[4], TOLD[3]], 5),
        ([*TOLD[3:], "id-6"], 6),
    ]:
        assert told_once(HISTORY, stream, ever)
    assert told_once(HISTORY, TOLD[1:]) == ["never told: id-1"]


def test_answers_are_judged_by_status_time_and_retry_after() -> None:
    refused, taken = Answer(0, 2.0, 503, "1"), Answer(0, 0.1, 200, "")
    assert refused_in_time([refused]) == let_in([taken]) == []
    for bad in (taken, Answer(0, 3.1, 503, "1"), Answer(0, 2, 503, ""), Answer(0, 2, 0, "")):
        assert refused_in_time([refused, bad])
    for bad in (refused, Answer(0, 3.1, 200, ""), Answer(0, 15, 0, "no answer")):
        assert let_in([taken, bad])
    assert refused_in_time([]) == let_in([]) == ["nobody asked"]
