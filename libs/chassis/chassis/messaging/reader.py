"""The declaration of a reader, and the state that the parts of its loop share.

A reader follows one stream and applies what it reads in one transaction. `loop` runs it.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from chassis.errors import Refused
from chassis.messaging.deferral import DeferredKeys
from chassis.messaging.message import StreamMessage
from chassis.messaging.parsing import MessageParser
from chassis.messaging.positions import Positions
from chassis.messaging.slots import filters
from chassis.messaging.transaction import Tx
from trunkline_contracts import read
from trunkline_contracts.fact import Fact

if TYPE_CHECKING:
    from chassis.service import Service

MIN_BATCH_INTERVAL_S = 0.02
FAILURE_VALID_S = 30.0
"""Seconds a failure counts unless it comes again: another replica may read meanwhile."""
BACKGROUND_INTERVAL_S = 0.1
"""The batch interval of readers for which neither a customer nor an assignment waits."""


def read_fact(item: StreamMessage) -> Any:
    """Parse a fact; raise `Refused` when its type or key is not that of its subject."""
    fact = read(item.data)
    if fact.type != item.type or fact.subject != item.key:
        raise Refused(f"the body is a {fact.type} with another type or key than its subject")
    return fact


Apply = Callable[[Tx, Sequence[Any]], Awaitable[None]]
Tick = Callable[[Tx, datetime], Awaitable[None]]
OnForeign = Callable[[Tx, StreamMessage, int], Awaitable[None]]
OnPark = Callable[[Tx, StreamMessage, str], Awaitable[None]]


@dataclass(frozen=True)
class Reader:
    """The declaration of what a service reads of one stream, and how it applies it."""

    stream: str
    apply: Apply
    consumes: frozenset[type[Fact]] | None = None
    """The facts to apply; None for all. Other facts only move the position."""
    tick: Tick | None = None
    """Called with an instant up to which everything published has been applied: every 250 ms, or
    as soon as that much has been."""
    parse: Callable[[StreamMessage], Any] = read_fact
    """Returns what `apply` takes for a message, or an awaitable of it; raising parks the message.
    Awaitables of a batch run concurrently, before the transaction begins."""
    parse_timeout: float | None = None
    """Seconds a batch waits for parsing. Messages behind the first one that is not parsed by then
    go into the next batch. None: wait for all."""
    batch_interval: float = MIN_BATCH_INTERVAL_S
    """Seconds between the beginnings of two transactions of less than half a batch.
    The first fact after an idle time is applied at once. Under load, facts that arrive within this
    time share a transaction, because the cost is per transaction."""
    name: str = ""
    """The name its positions are stored under; empty for the name of the stream."""
    subjects: str = ""
    """The prefix, up to the slot, of the subjects to read; empty for the whole stream."""
    is_own: Callable[[StreamMessage], bool] | None = None
    """Selects the messages to apply; the others only move the position. None for all."""
    assemble_chunks: bool = False
    """Whether a body may be split over several messages."""
    on_park: OnPark | None = None
    """Called for every message that is parked, in the same transaction."""
    on_foreign: OnForeign | None = None
    """Called with a message that is not a delivery or fact, and the stream's epoch; it may come
    again after a restart."""
    epoch: Callable[[], Awaitable[int]] | None = None
    """Returns the number of the stream's epoch, for a stream that may be set back."""

    @property
    def identifier(self) -> str:
        """The name in storage and in metrics."""
        return self.name or self.stream.lower()

    @property
    def own_positions(self) -> bool:
        """True if positions are the stream's sequences: in INBOUND, which has many publishers."""
        return self.stream == "INBOUND"

    def filters(self, slots: tuple[int, ...]) -> list[str]:
        """Return the subjects to read for these slots; empty for the whole stream."""
        return filters(self.stream, self.subjects, slots)


class ReaderState:
    """The state of one slot group of a reader, shared by the parts of its loop."""

    def __init__(self, service: "Service", reader: Reader, slots: tuple[int, ...]) -> None:
        self.service = service
        self.reader = reader
        self.slots = slots
        self.name = reader.identifier
        self.role = f"reader.{self.name}.{slots[0]:02d}-{slots[-1]:02d}"
        self.positions = Positions(self.name, slots)
        self.deferred_keys = DeferredKeys(self.name, reader.stream, slots)
        self._consumed_types = {fact.name() for fact in reader.consumes or ()}
        self.parser = MessageParser(reader.parse, self.record_progress)
        self.is_leading = False
        self.progress_at = time.monotonic()
        self.lag = 0
        """Messages of the stream that are not applied yet."""
        self.late = 0
        """Deferred facts that have waited longer than `LATE_AFTER_S`."""
        self.behind = 0
        """1 while a replay is being read, else 0."""
        self.wait_reason: str | None = None
        """Why nothing is read at the moment."""
        self.failure: str | None = None
        """The error that ended the loop, until a later loop has read on."""
        self._failed_at = 0.0

    def record_progress(self) -> None:
        """Record that the loop is alive, for the health check."""
        self.progress_at = time.monotonic()

    def record_failure(self, why: str) -> None:
        """Record the error that ended the loop."""
        self.failure, self._failed_at = why, time.monotonic()

    @property
    def recent_failure(self) -> str | None:
        """The error that ended the loop, if that is no longer than `FAILURE_VALID_S` ago."""
        is_recent = time.monotonic() - self._failed_at < FAILURE_VALID_S
        return self.failure if is_recent else None

    def reset(self) -> None:
        """Clear the figures of a replica that no longer leads."""
        self.is_leading, self.lag, self.late, self.behind = False, 0, 0, 0
        self.wait_reason = None

    def is_consumed(self, item: StreamMessage) -> bool:
        """Return whether a message is applied; others only move the position."""
        reader = self.reader
        if reader.consumes is not None and item.type not in self._consumed_types:
            return False
        return reader.is_own is None or reader.is_own(item)
