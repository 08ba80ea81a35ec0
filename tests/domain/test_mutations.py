"""Whatever a platform sends instead: items that can be kept, or refused with a reason.

Each body of the corpus with each of its fields removed, retyped and over-long; each broken off,
padded and in other encodings. docs/channels.md says how many that are.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from corpus import INBOUND_ID, NOW, Case, broken, cases, how_many, mutants

from chassis.messaging.transaction import MAX_FACT_BYTES
from ingest.channels import registry
from ingest.channels.email.mime import Excessive
from ingest.channels.parsing import ParsedItem
from ingest.domain.batch_entry import BatchEntry
from ingest.domain.field_rules import Rules
from ingest.domain.intake_batch import IntakeBatch
from ingest.domain.items import InboundItem, Unreadable
from ingest.domain.message_intake import process
from ingest.intake import conversation_store
from trunkline_contracts import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RULES = Rules("chat", "general", frozenset({"chat"}), frozenset({"low"}), {"general": {}})
CASES = cases()
NAMED = 1_000
"""The longest id or name that is kept."""
BUTTON = 4_096
"""Characters a button may stand for, which is the longest of what nobody wrote."""
MESSAGE = MAX_FACT_BYTES // 2
"""Bytes a fact has at most, even of bodies much larger: tickets adds to it what it knows."""
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
ESCAPED = re.compile(r"(?<!\\)(?:\\\\)*\\u00(?:0[0-8bcef]|1[0-9a-f])")


def taken_in(case: Case, body: bytes) -> str:
    """Take a delivery in, as far as that goes without a database; gives what became of it."""
    raw = case.raw(body)
    try:
        items: Sequence[ParsedItem] = registry.read(raw)
    except (Unreadable, Excessive) as why:
        reason = str(why)
        assert reason.strip()
        keepable(reason)
        return "refused"
    batch = IntakeBatch(RULES, NOW)
    entries = [
        BatchEntry(INBOUND_ID, n, raw.channel, raw.account, NOW, *item_or_reason(item))
        for n, item in enumerate(items)
    ]
    process(batch, entries)
    for item in items:
        if isinstance(item, Unreadable):
            continue
        for name in (item.external_id, item.platform_id, item.conversation, item.about):
            assert len(name or "") <= NAMED
    for fact, _ in batch.facts:
        wire = fact.numbered(1).wire()
        assert len(wire) < MESSAGE
        if len(wire) > BUTTON:
            assert max(map(len, short(orjson.loads(wire)))) <= BUTTON
        keepable(wire.decode())
        read(wire)
    for outcome in batch.outcomes:
        keepable(orjson.dumps(conversation_store._item_row(outcome)).decode())
    assert len(batch.outcomes) == len(items)
    return "taken in"


def item_or_reason(item: ParsedItem) -> tuple[InboundItem | None, str | None]:
    """Give one of a batch as the intake takes it: an item, or why it is none."""
    if not isinstance(item, Unreadable):
        return item, None
    assert str(item).strip()
    return None, str(item)


def keepable(text: str) -> None:
    """Fail unless a database keeps this as text."""
    text.encode()
    assert text.isprintable() or CONTROLS.search(text) is None
    assert "\\u00" not in text or ESCAPED.search(text) is None


def short(value: Any) -> Iterator[str]:
    """Give every text of a fact but those people wrote: none of them is as long as a body."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inner:
        if isinstance(each, dict | list):
            yield from short(each)
        elif isinstance(each, str) and key != "text":
            yield each


SIZES = ("tenth", pytest.param("whole", marks=pytest.mark.soak))
"""`make test` tries a tenth of all bodies, chosen anew by each run; `make soak` tries them all."""
SEED = os.environ["CORPUS_SEED"]
"""Chooses the tenth; pytest's header and every failure name it."""


def outcomes(case: Case, bodies: Iterator[tuple[str, bytes]], size: str) -> Counter[str]:
    """Take the bodies in, all or a tenth of them; return how many had which outcome."""
    choice, counted = Random(f"{SEED} {case.name}"), Counter[str]()
    for number, (name, body) in enumerate(bodies):
        if size == "tenth" and number and choice.random() >= 0.1:
            continue
        try:
            counted[taken_in(case, body)] += 1
        except Exception as why:
            raise AssertionError(f"{case.name}: {name} (CORPUS_SEED={SEED})") from why
    return counted


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("size", SIZES)
def test_mutated_fields_are_taken_in_or_refused(case: Case, size: str) -> None:
    counted = outcomes(case, mutants(case), size)

    assert counted.total() > 0
    if size == "whole":
        assert counted.total() == how_many(case)[0] > 10
        assert "items" not in case.told or counted["taken in"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("size", SIZES)
def test_corrupted_bytes_are_taken_in_or_refused(case: Case, size: str) -> None:
    counted = outcomes(case, broken(case), size)

    assert counted.total() > 0
    if size == "whole":
        assert counted.total() == how_many(case)[1] > 10
        assert counted["refused"]
