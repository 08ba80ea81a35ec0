"""What takes long to understand: applied in order, as far as it has come, and understood once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from saying import received, say

from chassis.app import build
from chassis.errors import Refused
from chassis.messaging.loop import Loop
from chassis.messaging.reader import Reader, read_fact
from chassis.settings import Settings
from chassis.testing import eventually, running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from world import World

    from chassis.messaging.message import StreamMessage
    from chassis.messaging.transaction import Tx
    from trunkline_contracts import MessageReceived


class Student:
    """Reads facts; of what is called slow it waits until it is told to go on."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.heard: list[str] = []
        self.gate = asyncio.Event()

    async def parse(self, item: StreamMessage) -> Any:
        fact = read_fact(item)
        text = fact.message.text
        self.begun.append(text)
        if text == "slow":
            await self.gate.wait()
        if text == "bad":
            raise Refused("not to be understood")
        return fact

    async def hear(self, tx: Tx, facts: Sequence[MessageReceived]) -> None:
        if len(facts) > 1 and any(fact.message.text == "odd" for fact in facts):
            raise Refused("one by one, please")
        self.heard += [fact.message.text for fact in facts]


@pytest.mark.parametrize("word", ["good", "odd"])
async def test_facts_before_a_slow_one_are_applied_at_once(world: World, word: str) -> None:
    await world.apply()
    student = Student()
    reader = Reader("INGEST", student.hear, parse=student.parse, parse_timeout=0.2)
    texts = ["one", word, "bad", "slow", "two", "bad", "three"]
    telling = build("ingest", world.settings("ingest", Settings))
    hearing = build("tickets", world.settings("tickets", Settings), readers=lambda _: [reader])
    async with running(telling), running(hearing):
        [loop] = hearing.state.service.loops
        facts = [received(uuid4(), text) for text in texts]
        await say(telling.state.service, *facts)

        async def first() -> bool:
            return moved(loop) == 3 and len(student.begun) == len(texts)

        await eventually(first)
        assert student.heard == ["one", word]
        student.gate.set()

        async def rest() -> bool:
            return moved(loop) == 7

        await eventually(rest)
        rows = await world.sql("tickets", "SELECT key, reason FROM parked ORDER BY position")

    assert student.heard == ["one", word, "slow", "two", "three"]
    assert sorted(student.begun) == sorted(texts)
    assert rows == [(facts[n].subject, "Refused: not to be understood") for n in (2, 5)]


def moved(loop: Loop) -> int:
    """Up to which sequence everything is committed."""
    return loop._positions.sequence


async def test_shutdown_cancels_parsing(world: World) -> None:
    await world.apply()
    student = Student()
    ended = asyncio.Event()

    async def parse(item: StreamMessage) -> Any:
        try:
            return await student.parse(item)
        except asyncio.CancelledError:
            ended.set()
            raise

    reader = Reader("INGEST", student.hear, parse=parse, parse_timeout=0.2)
    telling = build("ingest", world.settings("ingest", Settings))
    hearing = build("tickets", world.settings("tickets", Settings), readers=lambda _: [reader])
    async with running(telling):
        async with running(hearing):
            await say(telling.state.service, received(uuid4(), "one"), received(uuid4(), "slow"))

            async def begun() -> bool:
                return "slow" in student.begun

            await eventually(begun)
        assert ended.is_set()

    assert "slow" not in student.heard


async def test_reader_of_some_subjects_filters_others() -> None:
    reader = Reader("INBOUND", Student().hear, name="mail", subjects="inbound.email.*")

    assert (reader.identifier, Reader("INBOUND", Student().hear).identifier) == ("mail", "inbound")
    assert reader.filters(tuple(range(16))) == ["inbound.email.*.>"]
    assert reader.filters((0, 1)) == ["inbound.email.*.00.*", "inbound.email.*.01.*"]
