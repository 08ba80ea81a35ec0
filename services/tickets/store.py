"""What tickets remembers: each request's history, and how each request stands.

The history has the eventsourcing library's table layout and stored form; an event's state is the
body it is told with, so that telling needs no second encoding. Long: it holds every statement, and
the rows they make.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, Generic, LiteralString, TypeVar, cast
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent
from psycopg import AsyncConnection

from chassis.messaging.transaction import fitting
from tickets.domain.events import EVENTS, Contact, Event, Recorded
from tickets.domain.request import FOLD, Request, replay
from trunkline_contracts.fact import slot_of

SNAPSHOTS: Final[LiteralString] = (
    "SELECT snapshot FROM requests WHERE id = ANY(%b::uuid[]) AND fold = %b"
)
HISTORY: Final[LiteralString] = (
    "SELECT originator_id, originator_version, topic, state FROM tickets_events"
    " WHERE originator_id = ANY(%b::uuid[]) ORDER BY originator_id, originator_version"
)
APPEND: Final[LiteralString] = (
    "SELECT duplicates, conflicts FROM tickets_append(%b, %b::text[], %b::bytea[], %b::bytea[],"
    " %b::int[], %b::uuid[], %b::bigint[],"
    " %b::int[], %b::uuid[], %b::bigint[], %b::text[], %b::bytea[], %b::int[], %s::jsonb)"
)

Data = TypeVar("Data", bound=Event)


class Body(msgspec.Struct, Generic[Data], frozen=True, kw_only=True, omit_defaults=True):
    """An event as it is told: what stands beside `data`, and `data`."""

    time: datetime
    workspace: int = 0
    traceparent: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    data: Data


class EventMapper(Mapper[UUID]):
    """Stores events as the JSON they are told with; topics are the facts' names."""

    def __init__(self) -> None:
        super().__init__(JSONTranscoder())
        self._encode = msgspec.json.Encoder().encode
        self._decode = {
            topic: msgspec.json.Decoder(Body[cls]).decode  # type: ignore[valid-type]  # a class made at run time
            for topic, cls in EVENTS.items()
        }

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        """Encode an event at its place; raises `TooLarge` for what could not be told."""
        e = cast(Recorded, domain_event)
        body = Body(
            time=e.time,
            workspace=e.workspace,
            traceparent=e.traceparent,
            correlationid=e.correlationid,
            causationid=e.causationid,
            data=e.data,
        )
        state = fitting(e.data.TOPIC, self._encode(body))
        return StoredEvent(e.originator_id, e.originator_version, e.data.TOPIC, state)

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:
        """Decode an event at its place."""
        body = self._decode[stored_event.topic](stored_event.state)
        return Recorded(
            originator_id=cast(UUID, stored_event.originator_id),
            originator_version=stored_event.originator_version,
            time=body.time,
            data=body.data,
            workspace=body.workspace,
            traceparent=body.traceparent,
            correlationid=body.correlationid,
            causationid=body.causationid,
        )


MAPPER = EventMapper()


class Row(msgspec.Struct, frozen=True):
    """A request as the `requests` table has it; `cmd` says whose work it is."""

    cmd: int
    id: UUID
    version: int
    type: str
    status: str
    title: str
    topic: str
    priority: str
    channel: str
    account: str
    contact: Contact
    conversation: str | None
    fields: dict[str, Any]
    assignee: str | None
    group: str | None
    queued: bool
    paused: bool
    tags: tuple[str, ...]
    watchers: tuple[str, ...]
    origin: str
    follow_up_of: UUID | None
    resolution: str | None
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    fold: int
    snapshot: str


_shown = attrgetter(*Row.__struct_fields__[1:-2])
_encode_snapshot = msgspec.json.Encoder().encode
_decode_snapshot = msgspec.json.Decoder(Request).decode
_encode_rows = msgspec.json.Encoder().encode
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def _encode(rows: list[Row]) -> str:
    """Encode rows for jsonb, which knows no NUL; the history keeps what was written."""
    encoded = _encode_rows(rows)
    if rb"\u0000" in encoded:
        encoded = _NUL.sub(rb"\1", encoded)
    return encoded.decode()


@dataclass(frozen=True, slots=True)
class Change:
    """What one command does to one request: what it saw, what it adds, how that leaves it."""

    request_id: UUID
    seen: int
    events: Sequence[Recorded]
    request: Request | None
    msg_id: str = ""
    """The command's own key; heard once."""
    hash: bytes = b""
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Which changes, by index, were not made."""

    duplicates: frozenset[int] = field(default_factory=frozenset)
    conflicts: frozenset[int] = field(default_factory=frozenset)


async def load(conn: AsyncConnection[Any], request_ids: Iterable[UUID]) -> dict[UUID, Request]:
    """Give many requests at once: from their snapshots, or folded anew where those are old."""
    wanted = list(request_ids)
    cursor = await conn.execute(SNAPSHOTS, (wanted, FOLD), prepare=True)
    found = {
        request.id: request
        for (text,) in await cursor.fetchall()
        for request in [_decode_snapshot(text)]
    }
    if missing := [request_id for request_id in wanted if request_id not in found]:
        found |= await fold(conn, missing)
    return found


async def fold(conn: AsyncConnection[Any], request_ids: Iterable[UUID]) -> dict[UUID, Request]:
    """Fold the histories of many requests, read at once."""
    cursor = await conn.execute(HISTORY, (list(request_ids),), prepare=True, binary=True)
    histories: dict[UUID, list[Recorded]] = {}
    for row in await cursor.fetchall():
        recorded = MAPPER.to_domain_event(StoredEvent(*row))
        histories.setdefault(recorded.originator_id, []).append(recorded)
    folded = {request_id: replay(history) for request_id, history in histories.items()}
    return {request_id: request for request_id, request in folded.items() if request is not None}


def _row(cmd: int, request: Request) -> Row:
    whole: tuple[Any, ...] = (cmd, *_shown(request), FOLD, _encode_snapshot(request).decode())
    return Row(*whole)


async def append(conn: AsyncConnection[Any], lock: int, changes: Sequence[Change]) -> Verdicts:
    """Make many changes under the service's lock; at most one per request and per command key."""
    stored = [
        (n, MAPPER.to_stored_event(event)) for n, c in enumerate(changes, 1) for event in c.events
    ]
    slots = {c.request_id: slot_of(str(c.request_id)) for c in changes}
    rows = [_row(n, c.request) for n, c in enumerate(changes, 1) if c.events and c.request]
    arguments = (
        lock,
        [c.msg_id for c in changes],
        [c.hash for c in changes],
        [c.answer for c in changes],
        list(range(1, len(changes) + 1)),
        [c.request_id for c in changes],
        [c.seen + 1 for c in changes],
        [n for n, _ in stored],
        [e.originator_id for _, e in stored],
        [e.originator_version for _, e in stored],
        [e.topic for _, e in stored],
        [e.state for _, e in stored],
        [slots[cast(UUID, e.originator_id)] for _, e in stored],
        _encode(rows),
    )
    row = await (await conn.execute(APPEND, arguments, prepare=True)).fetchone()
    assert row is not None  # noqa: S101  for the type: a function gives one row
    return Verdicts(frozenset(n - 1 for n in row[0]), frozenset(n - 1 for n in row[1]))
