"""The ledger: accepted deliveries are taken in, pending or lost; every item has one outcome."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, StreamState
from nats.js.errors import NotFoundError

from chassis.messaging.connections import UNREACHABLE
from chassis.messaging.message import CHUNK_HEADER, is_addressed
from chassis.messaging.transaction import Tx
from chassis.service import Service
from ingest.audit import queries
from ingest.audit.epochs import STREAM, Epochs
from ingest.audit.queries import AccountFigures, Epoch
from trunkline_contracts.fact import slot_of

MAX_INSPECTED = 500
"""Pending deliveries that are read from INBOUND; more are only counted."""
INSPECTED_FACTOR, MIN_INSPECTED_RANGE = 10, 10_000
"""The newest part of INBOUND that is searched for pending deliveries: so many sequences for each
that is missing, and at least so many."""


@dataclass
class Ledger:
    """The figures of all deliveries at one moment."""

    epochs: list[Epoch]
    accounts: dict[tuple[str, str], AccountFigures]
    """By channel and account."""
    acknowledged: int = 0
    """Losses that a person has acknowledged."""
    overlooked: int = 0
    """Pending deliveries behind their reader's position: they will not be taken in."""
    surplus: int = 0
    """Sequences that more than one delivery claims."""

    foreign: int = 0
    """Messages in INBOUND that are no deliveries; no other figure counts them."""

    @property
    def lost(self) -> int:
        """Deliveries accepted and not taken in that INBOUND does not contain."""
        return sum(epoch.lost for epoch in self.epochs)

    @property
    def pending(self) -> int:
        """Deliveries accepted and not taken in yet."""
        return sum(epoch.pending for epoch in self.epochs)

    @property
    def is_balanced(self) -> bool:
        """Return whether accepted = taken in + pending, and items = the sum of their outcomes."""
        by_epoch = sum(epoch.taken_in for epoch in self.epochs)
        by_account = sum(figures.taken_in for figures in self.accounts.values())
        is_wrong = self.overlooked or self.surplus or by_account != by_epoch
        return not is_wrong and self.lost <= self.acknowledged

    def as_json(self) -> dict[str, Any]:
        """Return the ledger as the API's JSON."""
        accounts = [figures.as_json() for _, figures in sorted(self.accounts.items())]
        return {
            **total_figures(self.accounts.values()),
            "accepted": sum(epoch.accepted for epoch in self.epochs),
            "pending": self.pending,
            "lost": self.lost,
            "lost_acknowledged": self.acknowledged,
            "overlooked": self.overlooked,
            "foreign": self.foreign,
            "balanced": self.is_balanced,
            "accounts": accounts,
            "epochs": [epoch.as_json() for epoch in self.epochs],
        }


def total_figures(accounts: Iterable[AccountFigures]) -> dict[str, Any]:
    """Return the sum of the figures of accounts, as the API's JSON."""
    total = AccountFigures("", "")
    for figures in accounts:
        total.taken_in += figures.taken_in
        total.pending += figures.pending
        for outcome, items in figures.outcomes.items():
            total.outcomes[outcome] += items
    return total.figures()


async def load_ledger(service: Service) -> Ledger:
    """Return the ledger as of now; deliveries stored while it is made are left out everywhere."""
    epochs: Epochs = service.state["epochs"]
    await epochs.check()
    state = (await service.bus.js.stream_info(STREAM)).state
    async with service.transaction() as tx:
        await tx.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        ledger = Ledger(
            await queries.load_epochs(tx.conn), await queries.load_account_figures(tx.conn)
        )
        ledger.acknowledged = await queries.count_acknowledged_losses(tx.conn)
        ledger.foreign = await queries.count_foreign(tx.conn)
        missing = await _count_present_epoch(tx, ledger, state)
        sequences, positions = [], await queries.load_positions(tx.conn)
        if missing > 0:
            searched = max(INSPECTED_FACTOR * missing, MIN_INSPECTED_RANGE)
            first = max(state.last_seq - searched, _expired(state)) + 1
            sequences = await queries.find_missing(tx.conn, first, state.last_seq, MAX_INSPECTED)
        present = ledger.epochs[-1]
        if present.end > state.last_seq:
            # Stored and taken in after the count, or given out by a stream that has lost it.
            last = (await service.bus.js.stream_info(STREAM)).state.last_seq
            covered = await queries.count_covered(tx.conn, ledger.epochs, last, present.end)
            present.lost += max(present.end - last - covered, 0)
    foreign = await _inspect_missing(service.bus.js, ledger, sequences, positions)
    if foreign:
        async with service.transaction() as tx:
            for sequence, subject in foreign:
                await tx.run(queries.RECORD_FOREIGN, present.number, sequence, subject)
    return ledger


async def _count_present_epoch(tx: Tx, ledger: Ledger, state: StreamState) -> int:
    """Count what of INBOUND was not taken in; return how many sequences it still contains.

    Sequences that expired and were not taken in are lost, the others pending.
    """
    present, expired = ledger.epochs[-1], _expired(state)
    gone = expired - await queries.count_covered(tx.conn, ledger.epochs, 0, expired)
    covered = await queries.count_covered(tx.conn, ledger.epochs, expired, state.last_seq)
    missing = state.last_seq - expired - covered
    present.lost, present.pending = max(gone, 0), max(missing, 0)
    ledger.surplus = max(-gone, 0) + max(-missing, 0)
    return missing


def _expired(state: StreamState) -> int:
    """Return the last sequence that INBOUND has removed."""
    return max(state.first_seq - 1, 0)


async def _inspect_missing(
    js: JetStreamContext,
    ledger: Ledger,
    sequences: list[int],
    positions: Mapping[tuple[str, int], int],
) -> list[tuple[int, str]]:
    """Read the missing deliveries: count each for its account, and those that are gone as lost.

    Returns sequence and subject of the messages that are no deliveries.
    """
    present, foreign = ledger.epochs[-1], []
    messages = await asyncio.gather(*(_message(js, sequence) for sequence in sequences))
    for sequence, message in messages:
        if message is None:
            present.lost += 1
            present.pending -= 1
            continue
        subject = message.subject or ""
        if not is_addressed(subject, is_inbound=True):
            present.pending -= 1
            ledger.foreign += 1
            foreign.append((sequence, subject))
            continue
        number, _, chunks = (message.headers or {}).get(CHUNK_HEADER, "").partition("/")
        if number != chunks:  # a delivery is counted once, by its last chunk
            present.pending -= 1
            continue
        _, channel, account, slot, _ = subject.split(".")
        key = (channel, account)
        ledger.accounts.setdefault(key, AccountFigures(*key)).pending += 1
        reader = "mail" if channel == "email" else "inbound"
        ledger.overlooked += positions.get((reader, int(slot)), 0) >= sequence
    return foreign


async def _message(js: JetStreamContext, sequence: int) -> tuple[int, RawStreamMsg | None]:
    """Return a sequence and its message, or None if INBOUND does not contain it."""
    try:
        return sequence, await js.get_msg(STREAM, sequence)
    except NotFoundError:
        return sequence, None


async def is_in_inbound(service: Service, inbound_id: UUID) -> bool | None:
    """Return whether INBOUND contains a delivery, or None if NATS cannot be reached."""
    subject = f"{STREAM.lower()}.*.*.{slot_of(str(inbound_id)):02d}.{inbound_id}"
    try:
        await service.bus.js.get_last_msg(STREAM, subject)
    except NotFoundError:
        return False
    except UNREACHABLE:
        return None
    return True
