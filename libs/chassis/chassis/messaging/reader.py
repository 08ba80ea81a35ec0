"""The inner loop, the same for all: pull, apply in one transaction, move the position.

Longer than other files because it is one loop; each step is a method. What a service does with
facts is its `apply`; everything that can go wrong around it (duplicates, gaps, poison, dead
leaders, a stream that was trimmed or made anew, a database away) is here, once.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from nats.js.api import StreamInfo

from chassis.errors import TRANSIENT, Fenced, NotReady, Refused, passes
from chassis.messaging.deferral import OPEN_OF_KEY, SETTLE, Held
from chassis.messaging.message import Incoming, Joiner
from chassis.messaging.parsing import Understanding, Understood, describe
from chassis.messaging.positions import Positions
from chassis.messaging.pull_consumer import Pull
from chassis.messaging.replay import ask
from chassis.messaging.resuming import held
from chassis.messaging.slots import Consumer, filters
from chassis.messaging.transaction import Tx
from chassis.observability import tracing
from chassis.observability.tracing import metrics
from trunkline_contracts import read
from trunkline_contracts.fact import Fact

if TYPE_CHECKING:
    from chassis.service import Service

log = logging.getLogger(__name__)

BATCH = 256
TICK = 0.25
LOOK = 1.0
RENEW = 5.0
"""Seconds after which a tick that was waited for begins anew."""
REPORT_WAITING = 30.0
PACE = 0.02
REST = 0.1
"""Seconds to rest at most for as long as a transaction took: what comes meanwhile shares the next
one, so a machine with much to do does less of it."""
UNHURRIED = 0.1
"""The pace of readers nobody waits for: neither a customer, nor an operator about to be chosen."""


def read_fact(item: Incoming) -> Any:
    """Read a fact; one that speaks of another subject than it came under is not believed."""
    fact = read(item.data)
    if fact.type != item.type or fact.subject != item.key:
        raise Refused(f"it says it is {fact.type} about another key")
    return fact


Apply = Callable[[Tx, Sequence[Any]], Awaitable[None]]
Tick = Callable[[Tx, datetime], Awaitable[None]]
OnPark = Callable[[Tx, Incoming, str], Awaitable[None]]


@dataclass(frozen=True)
class Reader:
    """What a service hears of one stream, and what it does with it."""

    stream: str
    apply: Apply
    hears: frozenset[type[Fact]] | None = None
    """The facts it acts on; None for everything. Others only move the position."""
    tick: Tick | None = None
    """Called with an instant until which everything published has been applied: every 250 ms, or
    as soon as that much is."""
    parse: Callable[[Incoming], Any] = read_fact
    """Makes a message what `apply` takes; raising parks it. What takes long may be awaited: it is
    done before the transaction begins, for all messages of a batch at once."""
    patience: float | None = None
    """Seconds a batch waits for what takes long; what comes first of the rest begins the next one.
    None: until all is done."""
    pace: float = PACE
    """Seconds between the beginnings of two transactions while less than half a batch has come.
    The first fact after a rest is applied at once; under load, those who come within this time
    share a transaction, and cost follows transactions."""
    name: str = ""
    """What its positions are kept under, if not under the stream's name."""
    subjects: str = ""
    """What the subjects it reads begin with, up to the slot; empty for all of the stream."""
    takes: Callable[[Incoming], bool] | None = None
    """Which of the messages it reads are its own; the others only move the position."""
    join: bool = False
    """Whether a body may come in several messages."""
    on_park: OnPark | None = None
    """Told of every message that is parked, in the same transaction."""
    epoch: Callable[[], Awaitable[int]] | None = None
    """Returns the number of the stream's epoch, for a stream that may be set back."""

    @property
    def called(self) -> str:
        """Its name, in storage and in figures."""
        return self.name or self.stream.lower()

    def filters(self, slots: tuple[int, ...]) -> list[str]:
        """Give the subjects it reads; none for all of the stream."""
        return filters(self.stream, self.subjects, slots)

    @property
    def own_positions(self) -> bool:
        """INBOUND has many writers: its positions are its sequences."""
        return self.stream == "INBOUND"


class Loop:
    """One slot group of one reader, run by its leader."""

    def __init__(self, service: "Service", reader: Reader, slots: tuple[int, ...]) -> None:
        self.reader = reader
        self.name = reader.called
        self.office = f"reader.{self.name}.{slots[0]:02d}-{slots[-1]:02d}"
        self.slots = slots
        self.progress_at = time.monotonic()
        self.leading = False
        self.lag = self.late = self.behind = 0
        self.waits: str | None = None
        """Why nothing is read for now."""
        self._service = service
        self._types = None if reader.hears is None else {fact.name() for fact in reader.hears}
        self._consumer = Consumer.of(service.name, self.name, reader.stream, reader.subjects, slots)
        self._positions = Positions(self.name, slots)
        self._held = Held(self.name, reader.stream, slots)
        self._understanding = Understanding(reader.parse, self._go_on)
        self._looked_at = 0.0
        self._ticked_at = 0.0
        self._certain: tuple[datetime, int] | None = None
        self._anchored = self._returns = 0

    async def run(self) -> None:
        """Read until deposed; what is transient is tried again with growing patience."""
        self.leading, pause, self.progress_at = True, 0.1, time.monotonic()
        try:
            while True:
                try:
                    await self._read()
                    pause = 0.1
                except Fenced:
                    raise
                except TRANSIENT as why:
                    log.warning("%s waits: %r", self.office, why)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 2.0)
        finally:
            self.leading, self.lag, self.late, self.behind = False, 0, 0, 0
            self.waits = None
            await self._understanding.aclose()

    def _go_on(self) -> None:
        self.progress_at = time.monotonic()

    async def _read(self) -> None:
        service, reader, own = self._service, self.reader, self.reader.own_positions
        start = await self._place()
        self._looked_at = 0.0
        self._certain = None
        async with Pull(service.bus.own, self._consumer, start, own_positions=own) as pull:
            joiner = Joiner()
            left: list[Incoming] = []
            while True:
                if len(left) < BATCH:
                    came = await pull.take(BATCH, 0 if left else TICK)
                    left += joiner.join(came) if reader.join else came
                began = time.monotonic()
                ready = await self._ready(left)
                batch, left = left[:ready], left[ready:]
                if batch:
                    self.lag = batch[-1].pending + len(batch)
                    behind = await self._hear(batch)
                    if behind is not None:
                        await self._catch_up(*behind)
                        return
                    self.lag += len(left)
                self._go_on()
                await self._look()
                if reader.tick is not None and time.monotonic() - self._ticked_at > TICK * 0.8:
                    await self._tick(pull, reader.tick, len(left))
                if 0 < len(batch) < BATCH // 2 and not left:
                    took = time.monotonic() - began
                    await asyncio.sleep(max(reader.pace - took, min(took, REST)))

    async def _place(self) -> int:
        """Load where this reader is, and return the stream's sequence to pull from."""
        service, reader = self._service, self.reader
        self._returns = service.bus.own.returns
        info = await self._sound()
        epoch = await reader.epoch() if reader.epoch is not None else 0
        async with service.db.connection() as conn:
            created, own = str(info.created), reader.own_positions
            await self._positions.load(conn, created, own=own, epoch=epoch)
            await self._held.load(conn)
        if own:
            return self._positions.sequence + 1
        if info.state.first_seq > self._positions.sequence + 1:
            await self._make_up(info.state.first_seq)
        return self._anchor(info.state.last_seq)

    def _anchor(self, last: int) -> int:
        """Return the sequence to read from: that of the last message had, so that it is seen again.

        A stream set back behind it and told again gives every message the sequence it had; where
        it did not, `_check_place` notices by this message.
        """
        self._anchored = min(self._positions.sequence, last)
        return max(self._anchored, 1)

    async def _check_place(self, first: Incoming) -> None:
        """Raise `NotReady` when the stream is not the one whose place was loaded.

        When it has another message where it was read up to, all of it is read again: what was
        applied is recognised by its position.
        """
        if self._service.bus.own.returns != self._returns:
            raise NotReady(f"{self.reader.stream}: the connection was renewed")
        anchored, self._anchored = self._anchored, 0
        if first.stream_sequence != anchored or first.position is None:
            return
        if first.position > self._positions.at[first.slot]:
            await self._store(self._positions.at, 0)
            raise NotReady(f"{self.reader.stream} is not as it was read: it is read again")

    async def _sound(self) -> StreamInfo:
        """Return the stream's state; wait while PostgreSQL lacks facts that streams hold."""
        while True:
            info = await self._service.bus.js.stream_info(self.reader.stream)
            why = held(info) or await self._service.relay.ahead()
            if why is None:
                self.waits = None
                return info
            if self.waits is None:
                log.error("%s waits for a reset of the streams: %s", self.office, why)
            self.waits = f"waits for a reset of the streams: {why}"
            self._go_on()
            await asyncio.sleep(LOOK)

    async def _ready(self, batch: Sequence[Incoming]) -> int:
        """Say how many of a batch can be applied: all before the first that takes longer."""
        patience = self.reader.patience
        if patience is None:
            return len(batch)
        held = self._held.parked | self._held.waiting
        slow = [
            number
            for number, item in enumerate(batch)
            if (item.position or 0) > self._positions.at[item.slot]
            and self._is_ours(item)
            and item.key not in held
        ]
        done = await self._understanding.upto([batch[number] for number in slow], patience)
        return slow[done] if done < len(slow) else len(batch)

    def _is_ours(self, item: Incoming) -> bool:
        """Whether it is acted upon."""
        takes = self.reader.takes
        return (self._types is None or item.type in self._types) and (takes is None or takes(item))

    async def _hear(self, batch: Sequence[Incoming]) -> tuple[int, int] | None:
        """Apply a batch; gives (slot, position) when what came before is gone from the stream."""
        await self._check_place(batch[0])
        at = dict(self._positions.at)
        news: list[Incoming] = []
        behind: tuple[int, int] | None = None
        if self.reader.epoch is not None:
            self._positions.came(batch[-1].stream_sequence, batch[-1].key)
        for item in batch:
            if item.position is None:
                metrics.foreign.labels(self._service.name, self.name).inc()
                log.error(
                    "%s: message %s is of a foreign hand: ignored", self.name, item.stream_sequence
                )
                continue
            if item.position <= at[item.slot]:
                continue
            if not self.reader.own_positions and item.previous > at[item.slot]:
                behind = (item.slot, item.previous)
                break
            at[item.slot] = item.position
            news.append(item)
        if behind is None or news:
            sequence = batch[-1].stream_sequence if behind is None else self._positions.sequence
            await self._apply(news, at, sequence)
        self.lag = batch[-1].pending
        return behind

    async def _apply(self, news: list[Incoming], at: dict[int, int], sequence: int) -> None:
        if not news:
            if sequence > self._positions.sequence + 10_000:
                await self._store(at, sequence)
            return
        try:
            await self._commit(news, at, sequence)
        except Fenced:
            raise
        except Exception as why:
            if isinstance(why, psycopg.errors.QueryCanceled) and len(news) > 1:
                log.warning("%s: in halves after %r", self.name, why)
                half = len(news) // 2
                await self._in_parts([news[:half], news[half:]], sequence)
            elif passes(why):
                raise
            elif len(news) > 1:
                log.warning("%s: one by one after %r", self.name, why)
                await self._in_parts([[item] for item in news], sequence)
            else:  # it is the fact's verdict
                await self._commit(news, at, sequence, refused=describe(why))

    async def _in_parts(self, parts: list[list[Incoming]], sequence: int) -> None:
        for number, part in enumerate(parts, 1):
            at = self._positions.at | {item.slot: item.position or 0 for item in part}
            upto = sequence if number == len(parts) else self._positions.sequence
            await self._apply(part, at, upto)
            self._go_on()

    async def _commit(
        self, news: list[Incoming], at: dict[int, int], sequence: int, refused: str | None = None
    ) -> None:
        """One transaction: the positions, the effects, what is said, what is kept for later."""
        parsed = await self._parse(news, refused)
        if not parsed:
            self._positions.heard(at, sequence)
            return
        ready = [thing for _, thing, _ in parsed if thing is not None]
        version = max((f.workspace for f in ready if isinstance(f, Fact)), default=0)
        await self._service.workspaces.wait(version)
        parked, waiting = set(self._held.parked), set(self._held.waiting)
        began = time.time_ns()
        try:
            async with self._service.transaction(slots=self.slots) as tx:
                await self._positions.move(tx, at, sequence)
                if ready:
                    tx.heard = [item for item, thing, _ in parsed if thing is not None]
                    await self.reader.apply(tx, ready)
                await self._keep(tx, parsed)
        except BaseException:
            self._held.parked, self._held.waiting = parked, waiting
            raise
        self._positions.moved(at, sequence)
        self._understanding.forget(news)
        metrics.applied.labels(self._service.name, self.name).inc(len(ready))
        tracing.heard(f"{self._service.name} hears", ready, began)
        for item, _, reason in parsed:
            if reason is not None:
                self._service.announce_parked(self.name, item.key, reason)

    async def _store(self, at: dict[int, int], sequence: int) -> None:
        async with self._service.transaction() as tx:
            await self._positions.move(tx, at, sequence)
        self._positions.moved(at, sequence)

    async def _parse(
        self, news: Sequence[Incoming], refused: str | None
    ) -> list[tuple[Incoming, Any, str | None]]:
        """Say of each: to be applied, parked with a reason, or neither (held back, not for us)."""
        parsed: list[tuple[Incoming, Any, str | None]] = []
        bad: set[str] = set()
        held = self._held.parked | self._held.waiting
        ours = [item for item in news if self._is_ours(item)]
        free = [item for item in ours if item.key not in held and refused is None]
        understood = dict(zip(map(id, free), await self._understanding.of(free), strict=True))
        for item in ours:
            if item.key in held or item.key in bad:
                parsed.append((item, None, None))
                continue
            thing, reason = understood.get(id(item), (None, refused))
            if thing is None and reason is None:
                continue
            if reason is not None:
                bad.add(item.key)
            parsed.append((item, thing, reason))
        return parsed

    async def _keep(self, tx: Tx, parsed: Sequence[tuple[Incoming, Any, str | None]]) -> None:
        """Park what is bad and what stands behind it; keep what came too early."""
        early = {fact.subject for fact in tx.waiting}
        waits = {id(fact) for fact in tx.waiting}
        for item, thing, reason in parsed:
            if reason is not None:
                await self._held.park(tx, item, reason, head=True)
                if self.reader.on_park is not None:
                    await self.reader.on_park(tx, item, reason)
                metrics.parked.labels(self._service.name, self.name).inc()
            elif thing is None and item.key in self._held.parked:
                await self._held.park(tx, item, "behind a parked fact of its key", head=False)
            elif id(thing) in waits or (
                thing is None and (item.key in self._held.waiting or item.key in early)
            ):
                await self._held.wait(tx, item)

    async def _look(self) -> None:
        """Once a second, or when woken: has a person freed something, can what waits be applied?

        Raises `NotReady` when PostgreSQL has other positions than these.
        """
        woken = self._service.take_freed(self.office)
        if not woken and time.monotonic() - self._looked_at < (
            TICK if self._held.waiting else LOOK
        ):
            return
        self._looked_at = time.monotonic()
        if self._positions.stored != self._positions.at:
            await self._store(self._positions.at, self._positions.sequence)
        else:
            await self._check_stored()
        self.late = 0
        if self._held.waiting:
            await self._retry_waiting()
        if woken or self._held.parked:
            async with self._service.db.connection() as conn:
                await self._held.load(conn)
            for key in self._held.freed:
                await self._redrive(key)
            if self._held.freed:
                async with self._service.db.connection() as conn:
                    await self._held.load(conn)

    async def _check_stored(self) -> None:
        async with self._service.db.connection() as conn:
            if await self._positions.is_moved(conn):
                raise NotReady("PostgreSQL has other positions: they are read again")

    async def _retry_waiting(self) -> None:
        late = self._service.clock() - timedelta(seconds=REPORT_WAITING)
        async with self._service.db.connection() as conn:
            self.late = await self._held.late(conn, late)
            by_key = await self._held.some_waiting(conn)
        for key, items in by_key.items():
            await self._retry_key(key, items)

    async def _retry_key(self, key: str, items: list[Incoming]) -> None:
        if not items:
            self._held.waiting.discard(key)
            return
        things = await self._understanding.of(items)
        async with self._service.transaction(slots=self.slots) as tx:
            await self._positions.still(tx)
            reason = await self._try(tx, items, things)
            if reason is not None:
                for number, item in enumerate(items):
                    await self._held.park(tx, item, reason, head=number == 0)
            if reason is not None or not tx.waiting:
                await self._held.waited(tx, [item.position or 0 for item in items])
                self._held.waiting.discard(key)
        self._understanding.forget(items)

    async def _redrive(self, key: str) -> None:
        """Apply what a person freed, then what stood behind it, until one is bad again."""
        async with self._service.db.connection() as conn:
            rows = await (await conn.execute(OPEN_OF_KEY, (self.name, key))).fetchall()
        kept = {p: Incoming(s, bytes(d), p, 0, 0, h, kept=True) for _, p, s, h, d, _ in rows}
        heads = [p for _, p, _, _, _, head in rows if head]
        fresh = {} if self.reader.own_positions else await self._fetch_anew(heads)
        for id_, position, *_ in rows:
            item = fresh.get(position, kept[position])
            things = await self._understanding.of([item])
            async with self._service.transaction(slots=self.slots) as tx:
                await self._positions.still(tx)
                early = key in self._held.waiting
                reason = None if early else await self._try(tx, [item], things)
                if early or (reason is None and tx.waiting):  # its request is not known yet
                    await self._held.wait(tx, item)
                if reason is None:
                    await tx.run(SETTLE, tx.now, [id_])
            self._understanding.forget([item])
            self._go_on()
            if reason is not None:
                async with self._service.transaction(slots=self.slots) as tx:
                    await self._held.park(tx, item, reason, head=True)
                self._service.announce_parked(self.name, key, reason)
                return
        log.info("%s: re-driven and applied: %s facts", self.name, len(rows))

    async def _try(self, tx: Tx, items: list[Incoming], things: Sequence[Understood]) -> str | None:
        """Apply in a savepoint; gives the reason when it cannot be applied."""
        try:
            async with tx.conn.transaction():
                for _, reason in things:
                    if reason is not None:
                        return reason
                wanted = [n for n, (thing, _) in enumerate(things) if thing is not None]
                if wanted:
                    tx.heard = [items[n] for n in wanted]
                    await self.reader.apply(tx, [things[n][0] for n in wanted])
        except Fenced:
            raise
        except Exception as why:
            if passes(why):
                raise
            tx.unsay()  # the fact's verdict, again
            return describe(why)
        return None

    async def _fetch_anew(self, positions: list[int]) -> dict[int, Incoming]:
        """Ask the owner what it has at these positions now: a repair was made there."""
        want = {"positions": positions}
        items: dict[int, Incoming] = {}
        if positions:
            async with aclosing(self._replay(want)) as replay:
                async for item in replay:
                    items[item.position or 0] = item
                    if len(items) == len(positions):
                        break
        return items

    def _replay(self, want: dict[str, Any]) -> AsyncGenerator[Incoming]:
        return ask(self._service.bus, self.reader.stream, self.name, want)

    async def _make_up(self, first: int) -> None:
        """The stream begins after this reader's place: have every slot told again until there."""
        for slot in self.slots:
            await self._catch_up(slot, None)
        await self._store(self._positions.at, first - 1)

    async def _catch_up(self, slot: int, until: int | None) -> None:
        """What comes next is gone from the stream: have the owner tell it again from PostgreSQL."""
        self.behind = 1
        after = self._positions.at[slot]
        log.warning("%s is behind: slot %s, after %s until %s", self.office, slot, after, until)
        want = {"slot": slot, "after": after, "until": until}
        try:
            async with aclosing(self._replay(want)) as replay:
                async for item in replay:
                    self._go_on()
                    await self._told_again(slot, item)
                    if item.position == until:
                        break
        finally:
            self.behind = 0

    async def _told_again(self, slot: int, item: Incoming) -> None:
        """Apply one fact of a replay, if it is the next."""
        here = self._positions.at[slot]
        if item.slot != slot or item.position is None or not item.previous <= here < item.position:
            return
        at = {**self._positions.at, slot: item.position}
        await self._apply([item], at, self._positions.sequence)

    async def _tick(self, pull: Pull, tick: Tick, left: int) -> None:
        """Ask how far the stream has come; once that is applied, that instant is certain.

        So time is noticed however busy the stream is: all must be applied that had been published
        then, not all there is. What was trimmed meanwhile is never taken, so a promise is renewed.
        """
        certain, upto = self._certain or (self._service.clock(), await pull.published())
        if pull.taken - left < upto:
            stale = (self._service.clock() - certain).total_seconds() > RENEW
            self._certain = None if stale else (certain, upto)
            return
        self._certain, self._ticked_at = None, time.monotonic()
        await self._service.workspaces.wait(0)
        async with self._service.transaction(slots=self.slots) as tx:
            await tick(tx, certain)
            if tx.said:
                await self._positions.still(tx)
