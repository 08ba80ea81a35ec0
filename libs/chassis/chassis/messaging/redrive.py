"""Apply deferred and parked facts again: deferred ones by themselves, parked ones on request."""

import logging
from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta

from chassis.errors import StaleLeader, is_transient
from chassis.messaging.deferral import PARKED_OF_KEY, SETTLE_PARKED
from chassis.messaging.message import StreamMessage
from chassis.messaging.parsing import ParseResult, describe
from chassis.messaging.reader import ReaderState
from chassis.messaging.replay import request_replay
from chassis.messaging.transaction import Tx

log = logging.getLogger(__name__)

LATE_AFTER_S = 30.0
"""A fact that is deferred for longer counts as late in the metrics."""


class Redrive:
    """Retries the deferred and parked facts of one slot group."""

    def __init__(self, state: ReaderState) -> None:
        self._state = state
        self._service = state.service
        self._positions = state.positions
        self._keys = state.deferred_keys
        self._parser = state.parser

    async def retry_deferred(self) -> None:
        """Apply the deferred facts of some keys, where that is possible now."""
        late_since = self._service.clock() - timedelta(seconds=LATE_AFTER_S)
        async with self._service.db.connection() as conn:
            self._state.late = await self._keys.count_late(conn, late_since)
            by_key = await self._keys.load_some(conn)
        for key, items in by_key.items():
            await self._retry_key(key, items)

    async def redrive_parked(self) -> None:
        """Load the parked keys, and apply those whose redrive was requested."""
        async with self._service.db.connection() as conn:
            await self._keys.load(conn)
        for key in self._keys.redriven:
            await self._redrive_key(key)
        if self._keys.redriven:
            async with self._service.db.connection() as conn:
                await self._keys.load(conn)

    async def _retry_key(self, key: str, items: list[StreamMessage]) -> None:
        if not items:
            self._keys.deferred.discard(key)
            return
        results = await self._parser.parse_all(items)
        async with self._service.transaction(slots=self._state.slots) as tx:
            await self._positions.assert_unmoved(tx)
            reason = await self._try_apply(tx, items, results)
            if reason is not None:
                for number, item in enumerate(items):
                    await self._keys.park(tx, item, reason, head=number == 0)
            if reason is not None or not tx.deferred:
                await self._keys.delete(tx, [item.position or 0 for item in items])
                self._keys.deferred.discard(key)
        self._parser.forget(items)

    async def _redrive_key(self, key: str) -> None:
        """Apply a key's redriven fact and those behind it, until one fails again."""
        state, name = self._state, self._state.name
        async with self._service.db.connection() as conn:
            rows = await (await conn.execute(PARKED_OF_KEY, (name, key))).fetchall()
        parked = {
            position: StreamMessage(
                subject, bytes(data), position, 0, 0, headers, was_deferred=True
            )
            for _, position, subject, headers, data, _ in rows
        }
        heads = [position for _, position, _, _, _, head in rows if head]
        current = {} if state.reader.own_positions else await self._fetch_current(heads)
        for id_, position, *_ in rows:
            item = current.get(position, parked[position])
            results = await self._parser.parse_all([item])
            async with self._service.transaction(slots=state.slots) as tx:
                await self._positions.assert_unmoved(tx)
                is_deferred = key in self._keys.deferred
                reason = None if is_deferred else await self._try_apply(tx, [item], results)
                if is_deferred or (reason is None and tx.deferred):  # its request is not known yet
                    await self._keys.defer(tx, item)
                if reason is None:
                    await tx.run(SETTLE_PARKED, tx.now, [id_])
            self._parser.forget([item])
            state.record_progress()
            if reason is not None:
                async with self._service.transaction(slots=state.slots) as tx:
                    await self._keys.park(tx, item, reason, head=True)
                self._service.announce_parked(name, key, reason)
                return
        log.info("%s: redriven and applied %s facts", name, len(rows))

    async def _try_apply(
        self, tx: Tx, items: list[StreamMessage], results: Sequence[ParseResult]
    ) -> str | None:
        """Apply in a savepoint; return the reason when the messages cannot be applied."""
        try:
            async with tx.conn.transaction():
                for _, reason in results:
                    if reason is not None:
                        return reason
                parsed = [n for n, (body, _) in enumerate(results) if body is not None]
                if parsed:
                    tx.source_messages = [items[n] for n in parsed]
                    await self._state.reader.apply(tx, [results[n][0] for n in parsed])
        except StaleLeader:
            raise
        except Exception as why:
            if is_transient(why):
                raise
            tx.discard_recorded()
            return describe(why)
        return None

    async def _fetch_current(self, positions: list[int]) -> dict[int, StreamMessage]:
        """Return the owner's present facts at these positions, which may have been repaired."""
        items: dict[int, StreamMessage] = {}
        if positions:
            bus, stream = self._service.bus, self._state.reader.stream
            replay = request_replay(bus, stream, self._state.name, {"positions": positions})
            async with aclosing(replay):
                async for item in replay:
                    items[item.position or 0] = item
                    if len(items) == len(positions):
                        break
        return items
