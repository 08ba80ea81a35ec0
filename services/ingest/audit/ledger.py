"""The ledger: what the door accepted is taken in, pending or lost; every item has one outcome.

Longer than other files: the figures and the counting stand together.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from chassis.messaging.connections import UNREACHABLE
from chassis.messaging.message import CHUNK_HEADER
from chassis.service import Service
from ingest.audit import queries
from ingest.audit.epochs import STREAM, Epochs
from ingest.audit.queries import Epoch, Line
from trunkline_contracts.fact import slot_of

LOOKED_AT = 500
"""Deliveries not taken in yet that are looked at one by one; more are only counted."""


@dataclass
class Ledger:
    """How it stands at one moment."""

    epochs: list[Epoch]
    lines: dict[tuple[str, str], Line]
    acknowledged: int = 0
    """Losses that a person has looked at."""
    overlooked: int = 0
    """Of what is pending: deliveries the readers are past."""
    surplus: int = 0
    """Sequences that more than one delivery claims."""

    @property
    def lost(self) -> int:
        """Accepted, not taken in, and nowhere to be found."""
        return sum(each.lost for each in self.epochs)

    @property
    def pending(self) -> int:
        """Accepted and not taken in yet."""
        return sum(each.pending for each in self.epochs)

    @property
    def balanced(self) -> bool:
        """Whether accepted = taken in + pending, and items = the sum of their outcomes."""
        taken_in = sum(each.taken_in for each in self.epochs)
        lines = sum(line.taken_in for line in self.lines.values())
        wrong = self.overlooked or self.surplus or lines != taken_in
        return not wrong and self.lost <= self.acknowledged

    def as_json(self) -> dict[str, Any]:
        """Write it as it is answered."""
        accounts = [line.as_json() for _, line in sorted(self.lines.items())]
        return {
            **summed(self.lines.values()),
            "accepted": sum(each.accepted for each in self.epochs),
            "pending": self.pending,
            "lost": self.lost,
            "lost_acknowledged": self.acknowledged,
            "overlooked": self.overlooked,
            "balanced": self.balanced,
            "accounts": accounts,
            "epochs": [each.as_json() for each in self.epochs],
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
    epochs: Epochs = here.state["epochs"]
    await epochs.look()
    state = (await here.bus.js.stream_info(STREAM)).state
    async with here.transaction() as tx:
        await tx.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        found = Ledger(await queries.epochs_of(tx.conn), await queries.lines_of(tx.conn))
        found.acknowledged = await queries.acknowledged_of(tx.conn)
        present, every = found.epochs[-1], found.epochs
        expired = max(state.first_seq - 1, 0)
        gone = expired - await queries.covered_of(tx.conn, every, 0, expired)
        there = state.last_seq - expired
        missing = there - await queries.covered_of(tx.conn, every, expired, state.last_seq)
        found.surplus = max(-gone, 0) + max(-missing, 0)
        sequences, positions = [], await queries.positions_of(tx.conn)
        if missing > 0:
            first = max(state.last_seq - max(10 * missing, 10_000), expired) + 1
            sequences = await queries.missing_of(tx.conn, first, state.last_seq, LOOKED_AT)
        beyond = 0
        if present.end > state.last_seq:
            last = (await here.bus.js.stream_info(STREAM)).state.last_seq
            covered = await queries.covered_of(tx.conn, every, last, present.end)
            beyond = present.end - last - covered
    present.lost, present.pending = max(gone, 0) + max(beyond, 0), max(missing, 0)
    await _look(here.bus.js, found, sequences, positions)
    return found


async def _look(
    js: JetStreamContext,
    found: Ledger,
    sequences: list[int],
    positions: Mapping[tuple[str, int], int],
) -> None:
    """See whose the missing deliveries are, and whether they are there at all."""
    present = found.epochs[-1]
    for sequence, there in await asyncio.gather(*(_message(js, each) for each in sequences)):
        if there is None:
            present.lost += 1
            present.pending -= 1
            continue
        number, _, of = (there.headers or {}).get(CHUNK_HEADER, "").partition("/")
        if number != of:
            present.pending -= 1
            continue
        _, channel, account, *rest = (there.subject or "").split(".")
        found.lines.setdefault((channel, account), Line(channel, account)).pending += 1
        reader = "mail" if channel == "email" else "inbound"
        slot = int(rest[0]) if rest and rest[0].isdecimal() else -1
        found.overlooked += positions.get((reader, slot), 0) >= sequence


async def _message(js: JetStreamContext, sequence: int) -> tuple[int, RawStreamMsg | None]:
    try:
        return sequence, await js.get_msg(STREAM, sequence)
    except NotFoundError:
        return sequence, None


async def is_in_inbound(here: Service, inbound_id: UUID) -> bool | None:
    """Whether INBOUND has a delivery; None when it cannot be asked."""
    subject = f"{STREAM.lower()}.*.*.{slot_of(str(inbound_id)):02d}.{inbound_id}"
    try:
        await here.bus.js.get_last_msg(STREAM, subject)
    except NotFoundError:
        return False
    except UNREACHABLE:
        return None
    return True
