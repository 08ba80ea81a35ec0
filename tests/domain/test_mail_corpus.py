"""Every mail of the corpus becomes what it must become, and none of them costs much."""

from __future__ import annotations

import time

import pytest
from mail_corpus import Case, cases
from mailing import raw

from ingest.channels.email import message
from ingest.channels.email.mime import Excessive
from ingest.channels.email.parser_worker import items_of
from ingest.domain.items import Unreadable

CORPUS = cases()
EACH = [(kind, case) for kind, found in CORPUS.items() for case in found]
NAMES = [f"{kind}: {case.name}" for kind, case in EACH]
SECONDS = 2.0
"""Processor time one mail may take; half of what it is given."""


@pytest.mark.parametrize("case", [case for _, case in EACH], ids=NAMES)
def test_what_becomes_of_it(case: Case) -> None:
    began = time.process_time()
    try:
        items = message.read(raw(case.body))
    except Excessive:
        assert case.verdict == "parked"
    except Unreadable:
        assert case.verdict == "rejected"
    else:
        assert case.verdict == "read"
        [item] = items
        assert not case.complaints(item)
        assert items_of.validate_json(items_of.dump_json(items)) == items
    assert time.process_time() - began < SECONDS


def test_no_two_are_called_the_same() -> None:
    assert len(set(NAMES)) == len(NAMES)
