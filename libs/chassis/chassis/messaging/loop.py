"""The loop of a reader: pull, apply in one transaction, move the position.

Run by the leader of one slot group. Applying is the `committer`'s part; what happens apart from
the stream's order is in `gap_replay`, `redrive` and `ticker`.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nats.js.api import StreamInfo

from chassis.errors import TRANSIENT, NotReady, StaleLeader
from chassis.messaging.committer import Committer
from chassis.messaging.foreign import Doubt, ForeignMessages, doubt_about
from chassis.messaging.gap_replay import GapReplay
from chassis.messaging.message import ChunkAssembler, StreamMessage
from chassis.messaging.parsing import describe
from chassis.messaging.pull_consumer import PullConsumer
from chassis.messaging.reader import Reader, ReaderState
from chassis.messaging.redrive import Redrive
from chassis.messaging.resuming import hold_reason
from chassis.messaging.slots import Consumer
from chassis.messaging.ticker import TICK_INTERVAL_S, Ticker
from chassis.observability.tracing import metrics

if TYPE_CHECKING:
    from chassis.service import Service

log = logging.getLogger(__name__)

MAX_BATCH = 256
MAINTENANCE_INTERVAL_S = 1.0
HOLD_CHECK_INTERVAL_S = 1.0
MIN_RETRY_PAUSE_S, MAX_RETRY_PAUSE_S = 0.1, 2.0
MAX_IDLE_S = 0.1
"""The longest pause after a transaction, which lasts as long as the transaction took. Messages that
arrive meanwhile share the next transaction, so a loaded machine runs fewer of them."""


class Loop:
    """One slot group of one reader, run by its leader."""

    def __init__(self, service: "Service", reader: Reader, slots: tuple[int, ...]) -> None:
        self.state = ReaderState(service, reader, slots)
        self.reader = reader
        self._service = service
        self._positions = self.state.positions
        self._consumer = Consumer.of(
            service.name, reader.identifier, reader.stream, reader.subjects, slots
        )
        self._committer = Committer(self.state)
        self._gap_replay = GapReplay(self.state, self._committer)
        self._redrive = Redrive(self.state)
        self._ticker = Ticker(self.state)
        self._foreign = ForeignMessages()
        self._maintained_at = 0.0
        self._anchor_sequence = self._reconnects = 0

    async def run(self) -> None:
        """Read until another replica leads; retry transient errors with growing pauses."""
        state, pause = self.state, MIN_RETRY_PAUSE_S
        state.is_leading = True
        if state.failure is None:
            state.record_progress()
        try:
            while True:
                try:
                    await self._read()
                    pause = MIN_RETRY_PAUSE_S
                except StaleLeader:
                    raise
                except TRANSIENT as why:
                    log.warning("%s retries after %r", state.role, why)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, MAX_RETRY_PAUSE_S)
        except StaleLeader:
            raise
        except Exception as why:
            state.record_failure(describe(why))
            raise
        finally:
            state.reset()
            await state.parser.aclose()

    async def _read(self) -> None:
        """Read from the stored position until a gap has been replayed or an error is raised."""
        state, reader, own = self.state, self.reader, self.reader.own_positions
        start = await self._load_position()
        self._maintained_at = 0.0
        self._ticker.reset()
        async with PullConsumer(
            self._service.bus.own, self._consumer, start, own_positions=own
        ) as pull:
            assembler = ChunkAssembler()
            unapplied: list[StreamMessage] = []
            while True:
                if len(unapplied) < MAX_BATCH:
                    pulled = await pull.take(MAX_BATCH, 0 if unapplied else TICK_INTERVAL_S)
                    unapplied += assembler.join(pulled) if reader.assemble_chunks else pulled
                began = time.monotonic()
                ready = await self._count_parsed(unapplied)
                batch, unapplied = unapplied[:ready], unapplied[ready:]
                if batch:
                    state.lag = batch[-1].pending + len(batch)
                    doubt = await self._consume(batch)
                    if doubt is not None:
                        await self._ask_owner(doubt)
                        return
                    state.lag += len(unapplied)
                state.record_progress()
                await self._maintain()
                if self._ticker.is_due():
                    await self._ticker.tick(pull, len(unapplied))
                state.failure = None
                if 0 < len(batch) < MAX_BATCH // 2 and not unapplied:
                    took = time.monotonic() - began
                    await asyncio.sleep(max(reader.batch_interval - took, min(took, MAX_IDLE_S)))

    async def _load_position(self) -> int:
        """Load the stored position; return the stream's sequence to pull from."""
        service, reader = self._service, self.reader
        self._reconnects = service.bus.own.reconnects
        info = await self._wait_until_readable()
        epoch = await reader.epoch() if reader.epoch is not None else 0
        async with service.db.connection() as conn:
            created, own = str(info.created), reader.own_positions
            await self._positions.load(conn, created, own=own, epoch=epoch)
            await self.state.deferred_keys.load(conn)
        self._foreign.begin(created, self._positions.sequence)
        if own:
            return self._positions.sequence + 1
        if info.state.first_seq > self._positions.sequence + 1:
            await self._gap_replay.replay_all_slots(info.state.first_seq)
        return self._anchor(info.state.last_seq)

    def _anchor(self, last_sequence: int) -> int:
        """Return the sequence to read from: that of the last message read, which comes again.

        If a stream was set back behind that message and published again, each message has its old
        sequence. If it does not, `_check_anchor` detects it by this message.
        """
        self._anchor_sequence = min(self._positions.sequence, last_sequence)
        return max(self._anchor_sequence, 1)

    async def _check_anchor(self, first: StreamMessage) -> None:
        """Raise `NotReady` when the stream is not the one whose position was loaded.

        If another message stands at that position, the whole stream is read again; facts already
        applied are recognised by their positions.
        """
        if self._service.bus.own.reconnects != self._reconnects:
            raise NotReady(f"{self.reader.stream}: the connection was renewed")
        anchor, self._anchor_sequence = self._anchor_sequence, 0
        if first.stream_sequence != anchor or self._foreign.contains(first):
            return
        if first.position is None:
            return
        if first.position > self._positions.at[first.slot]:
            await self._committer.store(self._positions.at, 0)
            raise NotReady(f"{self.reader.stream} has changed since it was read: it is read again")

    async def _wait_until_readable(self) -> StreamInfo:
        """Return the stream's state; wait while PostgreSQL lacks facts that streams hold."""
        state = self.state
        while True:
            info = await self._service.bus.js.stream_info(self.reader.stream)
            why = hold_reason(info) or await self._service.relay.ahead()
            if why is None:
                state.wait_reason = None
                return info
            if state.wait_reason is None:
                log.error("%s waits for a reset of the streams: %s", state.role, why)
            state.wait_reason = f"waits for a reset of the streams: {why}"
            state.record_progress()
            await asyncio.sleep(HOLD_CHECK_INTERVAL_S)

    async def _count_parsed(self, batch: Sequence[StreamMessage]) -> int:
        """Return how many messages can be applied now: those before the first slow one."""
        timeout = self.reader.parse_timeout
        if timeout is None:
            return len(batch)
        keys = self.state.deferred_keys
        blocked = keys.parked | keys.deferred
        to_parse = [
            index
            for index, item in enumerate(batch)
            if item.position is not None
            and item.position > self._positions.at[item.slot]
            and self.state.is_consumed(item)
            and item.key not in blocked
        ]
        parsed = await self.state.parser.count_parsed([batch[i] for i in to_parse], timeout)
        return to_parse[parsed] if parsed < len(to_parse) else len(batch)

    async def _consume(self, batch: Sequence[StreamMessage]) -> Doubt | None:
        """Apply a batch up to the first message that the owner has to prove; return that one."""
        await self._check_anchor(batch[0])
        positions = dict(self._positions.at)
        highest = max(positions.values())
        new: list[StreamMessage] = []
        doubt: Doubt | None = None
        if self.reader.epoch is not None:
            self._positions.note_newest(batch[-1].stream_sequence, batch[-1].key)
        for item in batch:
            if item.position is None or self._foreign.contains(item):
                await self._step_over(item)
                continue
            slot = item.slot
            if item.position <= positions[slot]:
                continue
            if not self.reader.own_positions:
                doubt = doubt_about(item, item.position, positions[slot], highest)
                if doubt is not None:
                    break
            positions[slot] = item.position
            highest = max(highest, item.position)
            new.append(item)
        if doubt is None or new:
            sequence = batch[-1].stream_sequence if doubt is None else self._positions.sequence
            await self._committer.apply(new, positions, sequence)
        self.state.lag = batch[-1].pending
        return doubt

    async def _ask_owner(self, doubt: Doubt) -> None:
        """Replay what is missing; a message whose fact the owner does not have is foreign."""
        if not await self._gap_replay.replay(doubt.slot, doubt.until):
            self._foreign.refute(doubt.stream_sequence)

    async def _step_over(self, item: StreamMessage) -> None:
        """Count a foreign message."""
        if not self._foreign.count(item):
            return
        state, on_foreign = self.state, self.reader.on_foreign
        if on_foreign is not None:
            async with self._service.transaction() as tx:
                await on_foreign(tx, item, self._positions.epoch)
        metrics.reader_foreign.labels(self._service.name, state.name).inc()
        why = "%s: message %s is from an unknown publisher: ignored"
        log.error(why, state.name, item.stream_sequence)

    async def _maintain(self) -> None:
        """Store positions, retry deferred facts and redrive parked ones, when that is due.

        Due once a second, every 250 ms while facts are deferred, and when a redrive was requested.
        Raises `NotReady` when PostgreSQL has other positions than this loop.
        """
        keys = self.state.deferred_keys
        is_requested = self._service.consume_redrive_flag(self.state.role)
        interval = TICK_INTERVAL_S if keys.deferred else MAINTENANCE_INTERVAL_S
        if not is_requested and time.monotonic() - self._maintained_at < interval:
            return
        self._maintained_at = time.monotonic()
        if self._positions.stored != self._positions.at:
            await self._committer.store(self._positions.at, self._positions.sequence)
        else:
            await self._check_stored()
        self.state.late = 0
        if keys.deferred:
            await self._redrive.retry_deferred()
        if is_requested or keys.parked:
            await self._redrive.redrive_parked()

    async def _check_stored(self) -> None:
        async with self._service.db.connection() as conn:
            if await self._positions.is_moved(conn):
                raise NotReady("PostgreSQL has other positions: they are loaded again")
