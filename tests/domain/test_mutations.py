"""Whatever a platform sends instead: items that can be kept, or refused with a reason.

Each body of the corpus with each of its fields removed, retyped and over-long; each broken off,
padded and in other encodings. docs/channels.md says how many that are.
"""

from __future__ import annotations

import re
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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_any_field_may_be_gone_or_of_another_type_or_over_long(case: Case) -> None:
    fates: dict[str, int] = {}

    for name, body in mutants(case):
        try:
            fate = taken_in(case, body)
        except Exception as why:
            raise AssertionError(f"{case.name}: {name}") from why
        fates[fate] = fates.get(fate, 0) + 1

    assert sum(fates.values()) == how_many(case)[0] > 10
    if "items" in case.told:
        assert fates.get("taken in")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_any_bytes_may_come(case: Case) -> None:
    fates: dict[str, int] = {}

    for name, body in broken(case):
        try:
            fate = taken_in(case, body)
        except Exception as why:
            raise AssertionError(f"{case.name}: {name}") from why
        fates[fate] = fates.get(fate, 0) + 1

    assert sum(fates.values()) == how_many(case)[1]
    assert fates.get("refused")
