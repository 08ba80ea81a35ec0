"""The ledger: what the door accepted is taken in or pending, and every item has one outcome."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from chassis.messaging.message import CHUNK
from chassis.service import Service
from ingest.audit import queries
from ingest.audit.queries import Creation, Line

STREAM = "INBOUND"
LOOKED_AT = 500
"""Deliveries not taken in yet that are looked at one by one; more are only counted."""


@dataclass
class Ledger:
    """How it stands at one moment."""

    creations: list[Creation]
    lines: dict[tuple[str, str], Line]
    pending: int = 0
    gone: list[int] = field(default_factory=list)
    """Sequences of the present INBOUND that were never taken in and are not there any more."""

    @property
    def lost(self) -> int:
        """Accepted, not taken in, and nowhere to be found."""
        return sum(each.missing for each in self.creations if not each.current) + len(self.gone)

    @property
    def balanced(self) -> bool:
        """Whether accepted = taken in + pending, and items = the sum of their outcomes."""
        accepted = sum(each.accepted for each in self.creations)
        taken_in = sum(each.taken_in for each in self.creations)
        lines = sum(line.taken_in for line in self.lines.values())
        return not self.lost and accepted == taken_in + self.pending and lines == taken_in

    def as_json(self) -> dict[str, Any]:
        """Write it as it is answered."""
        accounts = [line.as_json() for _, line in sorted(self.lines.items())]
        streams = [
            {
                "created": each.created,
                "accepted": each.accepted,
                "taken_in": each.taken_in,
                "current": each.current,
            }
            for each in self.creations
        ]
        return {
            **summed(self.lines.values()),
            "accepted": sum(each.accepted for each in self.creations),
            "pending": self.pending,
            "lost": self.lost,
            "balanced": self.balanced,
            "accounts": accounts,
            "streams": streams,
        }


def summed(lines: Iterable[Line]) -> dict[str, Any]:
    """Add accounts up."""
    total = Line("", "")
    for line in lines:
        total.taken_in += line.taken_in
        total.pending += line.pending
        for word, items in line.words.items():
            total.words[word] += items
    return total.figures()


async def ledger(here: Service) -> Ledger:
    """Count. What came after the count of the stream is left out of all of it."""
    js = here.bus.js
    info = await js.stream_info(STREAM)
    last = info.state.last_seq
    created = info.created or datetime.fromtimestamp(0, UTC)
    async with here.transaction() as tx:
        await tx.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        lines = await queries.lines_of(tx.conn)
        creations = await queries.creations_of(tx.conn, created, last)
        present = creations[-1]
        missing = present.missing
        sequences = []
        if missing:
            sequences = await queries.missing_of(
                tx.conn,
                created,
                present.last - max(10 * missing, 10_000),
                present.last,
                LOOKED_AT,
            )
    found = Ledger(creations, lines)
    await _look(js, found, sequences)
    found.pending = present.missing - len(found.gone)
    return found


async def _look(js: JetStreamContext, found: Ledger, sequences: list[int]) -> None:
    """See whose the missing deliveries are, and whether they are there at all."""

    async def look(sequence: int) -> tuple[int, str | None, bool]:
        try:
            there = await js.get_msg(STREAM, sequence)
        except NotFoundError:
            return sequence, None, True
        number, _, of = (there.headers or {}).get(CHUNK, "").partition("/")
        return sequence, there.subject, number == of

    for sequence, subject, last in await asyncio.gather(*map(look, sequences)):
        if not last:
            found.creations[-1].accepted -= 1
            continue
        if subject is None:
            found.gone.append(sequence)
            continue
        _, channel, account, *_ = subject.split(".")
        found.lines.setdefault((channel, account), Line(channel, account)).pending += 1
