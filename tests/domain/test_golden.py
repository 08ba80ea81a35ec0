"""Every type of message of every platform, as it becomes items."""

from __future__ import annotations

import pytest
from corpus import Case, cases, outcome

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_body_becomes_these_items(case: Case) -> None:
    expected = {key: case.told[key] for key in ("items", "unreadable") if key in case.told}

    assert outcome(case) == expected
    assert expected


def test_the_corpus_is_there() -> None:
    channels = {case.channel for case in CASES}
    assert "telegram" in channels
