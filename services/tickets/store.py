"""Histories and requests in PostgreSQL.

The history has the table layout and the stored form of the eventsourcing library. The state of an
event is the body it is published with, so the relay encodes nothing.
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

from chassis.messaging.transaction import check_size
from tickets.domain.events import EVENTS, Contact, Event, Recorded
from tickets.domain.request import SNAPSHOT_VERSION, Request, replay
from trunkline_contracts.fact import slot_of

SELECT_SNAPSHOTS: Final[LiteralString] = (
    "SELECT snapshot FROM requests WHERE id = ANY(%b::uuid[]) AND fold = %b"
)
SELECT_HISTORIES: Final[LiteralString] = (
    "SELECT originator_id, originator_version, topic, state FROM tickets_events"
    " WHERE originator_id = ANY(%b::uuid[]) ORDER BY originator_id, originator_version"
)
APPEND: Final[LiteralString] = (
    "SELECT duplicates, conflicts FROM tickets_append(%b, %b::text[], %b::bytea[], %b::bytea[],"
    " %b::int[], %b::uuid[], %b::bigint[],"
    " %b::int[], %b::uuid[], %b::bigint[], %b::text[], %b::bytea[], %b::int[], %s::jsonb)"
)

Data = TypeVar("Data", bound=Event)


class StoredBody(msgspec.Struct, Generic[Data], frozen=True, kw_only=True, omit_defaults=True):
    """The published body of an event: its context and its `data`."""

    time: datetime
    workspace: int = 0
    traceparent: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    data: Data


class EventMapper(Mapper[UUID]):
    """Encodes and decodes events as the JSON they are published with; topics are facts' names."""

    def __init__(self) -> None:
        super().__init__(JSONTranscoder())
        self._encode = msgspec.json.Encoder().encode
        self._decode = {
            topic: msgspec.json.Decoder(StoredBody[cls]).decode  # type: ignore[valid-type]  # a class made at run time
            for topic, cls in EVENTS.items()
        }

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        """Encode an event; raises `TooLarge` if no message could carry it."""
        recorded = cast(Recorded, domain_event)
        body = StoredBody(
            time=recorded.time,
            workspace=recorded.workspace,
            traceparent=recorded.traceparent,
            correlationid=recorded.correlationid,
            causationid=recorded.causationid,
            data=recorded.data,
        )
        topic = recorded.data.TOPIC
        state = check_size(topic, self._encode(body))
        return StoredEvent(recorded.originator_id, recorded.originator_version, topic, state)

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:
        """Decode an event."""
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


class RequestRow(msgspec.Struct, frozen=True):
    """A row of `requests`; `cmd` is the number of the change it belongs to, from 1."""

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


_column_values = attrgetter(*RequestRow.__struct_fields__[1:-2])
_encode_snapshot = msgspec.json.Encoder().encode
_decode_snapshot = msgspec.json.Decoder(Request).decode
_encode_rows = msgspec.json.Encoder().encode
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def _encode(rows: list[RequestRow]) -> str:
    """Encode rows for jsonb without NUL, which it cannot hold; the history keeps it."""
    encoded = _encode_rows(rows)
    if rb"\u0000" in encoded:
        encoded = _NUL.sub(rb"\1", encoded)
    return encoded.decode()


@dataclass(frozen=True, slots=True)
class Change:
    """The new events of one request, the version they follow, and the request after them."""

    request_id: UUID
    expected_version: int
    events: Sequence[Recorded]
    request: Request | None
    key: str = ""
    """The idempotency key of the command, if it has one; each key is accepted once."""
    hash: bytes = b""
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class RejectedChanges:
    """The indexes of the changes that were not made."""

    duplicates: frozenset[int] = field(default_factory=frozenset)
    conflicts: frozenset[int] = field(default_factory=frozenset)


async def load(conn: AsyncConnection[Any], request_ids: Iterable[UUID]) -> dict[UUID, Request]:
    """Load requests from their snapshots, or from their histories where those are outdated."""
    ids = list(request_ids)
    cursor = await conn.execute(SELECT_SNAPSHOTS, (ids, SNAPSHOT_VERSION), prepare=True)
    snapshots = [_decode_snapshot(text) for (text,) in await cursor.fetchall()]
    requests = {request.id: request for request in snapshots}
    if missing := [request_id for request_id in ids if request_id not in requests]:
        requests |= await rebuild(conn, missing)
    return requests


async def rebuild(conn: AsyncConnection[Any], request_ids: Iterable[UUID]) -> dict[UUID, Request]:
    """Build requests from their whole histories, which one query reads."""
    cursor = await conn.execute(SELECT_HISTORIES, (list(request_ids),), prepare=True, binary=True)
    histories: dict[UUID, list[Recorded]] = {}
    for row in await cursor.fetchall():
        recorded = MAPPER.to_domain_event(StoredEvent(*row))
        histories.setdefault(recorded.originator_id, []).append(recorded)
    requests = {request_id: replay(history) for request_id, history in histories.items()}
    return {request_id: request for request_id, request in requests.items() if request is not None}


def _row(cmd: int, request: Request) -> RequestRow:
    values: tuple[Any, ...] = (
        cmd,
        *_column_values(request),
        SNAPSHOT_VERSION,
        _encode_snapshot(request).decode(),
    )
    return RequestRow(*values)


async def append(
    conn: AsyncConnection[Any], lock: int, changes: Sequence[Change]
) -> RejectedChanges:
    """Make changes under the service's lock, at most one for each request and command key."""
    stored = [
        (n, MAPPER.to_stored_event(event)) for n, c in enumerate(changes, 1) for event in c.events
    ]
    slots = {c.request_id: slot_of(str(c.request_id)) for c in changes}
    rows = [_row(n, c.request) for n, c in enumerate(changes, 1) if c.events and c.request]
    arguments = (
        lock,
        [c.key for c in changes],
        [c.hash for c in changes],
        [c.answer for c in changes],
        list(range(1, len(changes) + 1)),
        [c.request_id for c in changes],
        [c.expected_version + 1 for c in changes],
        [n for n, _ in stored],
        [e.originator_id for _, e in stored],
        [e.originator_version for _, e in stored],
        [e.topic for _, e in stored],
        [e.state for _, e in stored],
        [slots[cast(UUID, e.originator_id)] for _, e in stored],
        _encode(rows),
    )
    row = await (await conn.execute(APPEND, arguments, prepare=True)).fetchone()
    assert row is not None  # noqa: S101  for the type: a function returns one row
    return RejectedChanges(frozenset(n - 1 for n in row[0]), frozenset(n - 1 for n in row[1]))
