"""Ticks of a reader: instants up to which everything published has been applied."""

import time
from datetime import datetime

from chassis.messaging.pull_consumer import PullConsumer
from chassis.messaging.reader import ReaderState

TICK_INTERVAL_S = 0.25
RENEW_AFTER_S = 5.0
"""Age at which an instant that still waits for its messages is replaced by a new one."""


class Ticker:
    """Calls the `tick` of a reader, if it has one."""

    def __init__(self, state: ReaderState) -> None:
        self._state = state
        self._ticked_at = 0.0
        self._awaited: tuple[datetime, int] | None = None
        """An instant, and how many messages had been published then."""

    def reset(self) -> None:
        """Drop the awaited instant: a new pull counts messages from 1."""
        self._awaited = None

    def is_due(self) -> bool:
        """Return whether the reader has ticks, and the last one is long enough ago."""
        if self._state.reader.tick is None:
            return False
        return time.monotonic() - self._ticked_at > TICK_INTERVAL_S * 0.8

    async def tick(self, pull: PullConsumer, unapplied: int) -> None:
        """Tick with an instant once all that had been published then is applied.

        So ticks come however busy the stream is: they do not wait for messages published later.
        Messages trimmed meanwhile are never pulled, so an old instant is replaced by a new one.
        """
        state, service, tick = self._state, self._state.service, self._state.reader.tick
        if tick is None:
            return
        instant, published = self._awaited or (service.clock(), await pull.published())
        if pull.taken - unapplied < published:
            is_old = (service.clock() - instant).total_seconds() > RENEW_AFTER_S
            self._awaited = None if is_old else (instant, published)
            return
        self._awaited, self._ticked_at = None, time.monotonic()
        await service.workspaces.wait(0)
        async with service.transaction(slots=state.slots) as tx:
            await tick(tx, instant)
            if tx.recorded:
                await state.positions.assert_unmoved(tx)
