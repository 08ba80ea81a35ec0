"""Commit a batch: positions, effects, recorded facts, parked and deferred messages in one go.

When a batch fails, it is split until the message that cannot be applied is found and parked.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from chassis.errors import StaleLeader, is_transient
from chassis.messaging.message import StreamMessage
from chassis.messaging.parsing import describe
from chassis.messaging.reader import ReaderState
from chassis.messaging.transaction import Tx
from chassis.observability import tracing
from chassis.observability.tracing import metrics
from trunkline_contracts.fact import Fact

log = logging.getLogger(__name__)

MAX_UNSTORED_MESSAGES = 10_000
"""Messages that may move the position in memory only."""


class Parsed(NamedTuple):
    """A message with its parsed body, or the reason to park it; neither when its key is blocked."""

    item: StreamMessage
    body: Any
    reason: str | None


class Committer:
    """Applies the messages of one slot group."""

    def __init__(self, state: ReaderState) -> None:
        self._state = state
        self._service = state.service
        self._positions = state.positions
        self._keys = state.deferred_keys

    async def apply(
        self, batch: list[StreamMessage], positions: dict[int, int], sequence: int
    ) -> None:
        """Apply a batch and move the positions; park the messages that cannot be applied.

        Raises transient errors, and `StaleLeader` when another leader has moved the positions.
        """
        if not batch:
            if sequence > self._positions.sequence + MAX_UNSTORED_MESSAGES:
                await self.store(positions, sequence)
            return
        try:
            await self._commit(batch, positions, sequence)
        except StaleLeader:
            raise
        except Exception as why:
            if isinstance(why, psycopg.errors.QueryCanceled) and len(batch) > 1:
                log.warning("%s: applying in halves after %r", self._state.name, why)
                half = len(batch) // 2
                await self._apply_parts([batch[:half], batch[half:]], sequence)
            elif is_transient(why):
                raise
            elif len(batch) > 1:
                log.warning("%s: applying one by one after %r", self._state.name, why)
                await self._apply_parts([[item] for item in batch], sequence)
            else:  # the error is the message's own: it is parked
                await self._commit(batch, positions, sequence, park_reason=describe(why))

    async def store(self, positions: dict[int, int], sequence: int) -> None:
        """Commit positions that have moved without any effect."""
        async with self._service.transaction() as tx:
            await self._positions.move(tx, positions, sequence)
        self._positions.mark_committed(positions, sequence)

    async def _apply_parts(self, parts: list[list[StreamMessage]], sequence: int) -> None:
        for number, part in enumerate(parts, 1):
            positions = self._positions.at | {item.slot: item.position or 0 for item in part}
            upto = sequence if number == len(parts) else self._positions.sequence
            await self.apply(part, positions, upto)
            self._state.record_progress()

    async def _commit(
        self,
        batch: list[StreamMessage],
        positions: dict[int, int],
        sequence: int,
        park_reason: str | None = None,
    ) -> None:
        """Apply in one transaction; with `park_reason`, park the batch's messages instead."""
        parsed = await self._parse(batch, park_reason)
        if not parsed:
            self._positions.advance_in_memory(positions, sequence)
            return
        bodies = [message.body for message in parsed if message.body is not None]
        version = max((fact.workspace for fact in bodies if isinstance(fact, Fact)), default=0)
        await self._service.workspaces.wait(version)
        parked, deferred = set(self._keys.parked), set(self._keys.deferred)
        began = time.time_ns()
        try:
            async with self._service.transaction(slots=self._state.slots) as tx:
                await self._positions.move(tx, positions, sequence)
                if bodies:
                    tx.source_messages = [m.item for m in parsed if m.body is not None]
                    await self._state.reader.apply(tx, bodies)
                await self._park_and_defer(tx, parsed)
        except BaseException:
            self._keys.parked, self._keys.deferred = parked, deferred
            raise
        self._positions.mark_committed(positions, sequence)
        self._state.parser.forget(batch)
        metrics.reader_applied.labels(self._service.name, self._state.name).inc(len(bodies))
        tracing.record_applied(f"{self._service.name} hears", bodies, began)
        for item, _, reason in parsed:
            if reason is not None:
                self._service.announce_parked(self._state.name, item.key, reason)

    async def _parse(self, batch: Sequence[StreamMessage], park_reason: str | None) -> list[Parsed]:
        """Parse the messages that are consumed, except those whose key is blocked."""
        parsed: list[Parsed] = []
        failed_keys: set[str] = set()
        blocked = self._keys.parked | self._keys.deferred
        consumed = [item for item in batch if self._state.is_consumed(item)]
        free = [item for item in consumed if item.key not in blocked and park_reason is None]
        results = dict(zip(map(id, free), await self._state.parser.parse_all(free), strict=True))
        for item in consumed:
            if item.key in blocked or item.key in failed_keys:
                parsed.append(Parsed(item, None, None))
                continue
            body, reason = results.get(id(item), (None, park_reason))
            if body is None and reason is None:
                continue
            if reason is not None:
                failed_keys.add(item.key)
            parsed.append(Parsed(item, body, reason))
        return parsed

    async def _park_and_defer(self, tx: Tx, parsed: Sequence[Parsed]) -> None:
        """Park failed messages and those behind them; keep the deferred ones in order."""
        deferred_now = {fact.subject for fact in tx.deferred}
        deferred_ids = {id(fact) for fact in tx.deferred}
        for item, body, reason in parsed:
            if reason is not None:
                await self._keys.park(tx, item, reason, head=True)
                if self._state.reader.on_park is not None:
                    await self._state.reader.on_park(tx, item, reason)
                metrics.reader_parked.labels(self._service.name, self._state.name).inc()
            elif body is None and item.key in self._keys.parked:
                await self._keys.park(tx, item, "behind a parked fact of its key", head=False)
            elif id(body) in deferred_ids or (
                body is None and (item.key in self._keys.deferred or item.key in deferred_now)
            ):
                await self._keys.defer(tx, item)
