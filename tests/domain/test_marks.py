"""Marks: the highest acknowledgements of a gateway, over set-backs of INBOUND."""

from datetime import UTC, datetime

from ingest.audit.marks import MAX_OLDER_MARKS, Marks, last_before_set_back

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def known(marks: Marks) -> list[tuple[int, str, int]]:
    return [(mark.sequence, mark.inbound_id, mark.epoch) for mark in marks.snapshot()]


def wave(marks: Marks, *sequences: int) -> None:
    marks.begin_wave()
    for sequence in sequences:
        marks.record(sequence, f"id {sequence}")


def test_marks_within_a_wave_keep_the_highest() -> None:
    marks = Marks(lambda: NOW)
    wave(marks, 3, 5, 4)
    wave(marks, 8, 6, 7)

    assert known(marks) == [(8, "id 8", 0)]


def test_marks_going_backwards_keep_the_older_one() -> None:
    marks = Marks(lambda: NOW)
    marks.epoch = 1
    wave(marks, 9)
    wave(marks, 4, 5)
    marks.epoch = 2
    wave(marks, 6)

    assert known(marks) == [(9, "id 9", 1), (6, "id 6", 2)]


def test_marks_within_one_wave_notice_a_set_back() -> None:
    """One delivery acknowledged before it, one of the same wave after it."""
    marks = Marks(lambda: NOW)
    wave(marks, 9)
    wave(marks, 10, 6, 7)

    assert known(marks) == [(10, "id 10", 0), (7, "id 7", 0)]


def test_marks_stored_are_forgotten_but_the_highest() -> None:
    marks = Marks(lambda: NOW)
    wave(marks, 9)
    wave(marks, 4)
    marks.mark_stored(marks.snapshot())

    (highest,) = marks.snapshot()
    assert highest.sequence == 4
    assert marks.is_stored(highest)


def test_marks_of_many_set_backs_are_bounded() -> None:
    marks = Marks(lambda: NOW)
    for sequence in range(100, 0, -1):
        wave(marks, sequence)

    assert len(marks.snapshot()) == MAX_OLDER_MARKS + 1


def test_marks_after_a_set_back_are_not_of_the_ended_epoch() -> None:
    marks = Marks(lambda: NOW)
    marks.epoch = 1
    wave(marks, 10)
    for sequence in range(6, 14):
        wave(marks, sequence)

    assert known(marks) == [(10, "id 10", 1), (13, "id 13", 1)]
    ended = last_before_set_back(marks.snapshot(), 1)
    assert ended is not None
    assert ended.sequence == 10
    assert last_before_set_back(marks.snapshot(), 2) is None
