"""Save the messages of a stream that its outbox does not have to a file before a reset."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psycopg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from psycopg import sql

from chassis.messaging.epochs import Epochs
from chassis.messaging.message import is_addressed, parse_position
from chassis.messaging.replay import ROWS_AT
from chassis.messaging.resuming import is_recorded, is_same
from chassis.messaging.retention import initial_floor

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

BATCH = 500
FETCH_TIMEOUT_S = 10.0
MAX_IDLE_S = 30.0
"""Idle time after which the server deletes the temporary consumer."""


@dataclass
class Salvage:
    """The result of comparing a stream with its outbox."""

    stream: str
    file: Path
    first_seq: int = 0
    last_seq: int = 0
    count: int = 0
    """Number of messages written to the file; there is no file if it is 0."""
    newest: int = 0
    """The highest position at which the stream and the outbox have the same fact."""
    lost: int | None = None
    """The lowest position above `newest` whose fact the outbox does not have."""
    lost_at: datetime | None = None
    first_position: int | None = None
    """The first position of the new epoch if the stream is ahead of its outbox, else None."""

    claims: dict[tuple[int, int], int] = field(default_factory=dict)
    """By slot and position that a message claims without being in the outbox: `newest` then."""

    def note_claim(self, slot: int, position: int) -> None:
        """Note a position that a reader may have believed, and the one it had before."""
        if self.newest or self.first_seq == 1:
            self.claims.setdefault((slot, position), self.newest)

    def count_recorded(self, position: int) -> None:
        """Count a fact that the stream and the outbox have."""
        self.newest = max(self.newest, position)
        if self.lost is not None and self.lost <= self.newest:
            self.lost = self.lost_at = None

    def count_missing(self, position: int, time: datetime) -> None:
        """Count a fact that only the stream has."""
        if position > self.newest and (self.lost is None or position < self.lost):
            self.lost, self.lost_at = position, time


async def salvage(
    conn: psycopg.AsyncConnection, js: JetStreamContext, stream: str, folder: Path
) -> Salvage:
    """Compare a domain stream with its outbox; write messages only the stream has to a file.

    Only the owner may read the file. Raises `NotFoundError` if there is no such stream.
    """
    now = datetime.now(UTC)
    result = Salvage(stream, folder / f"{stream}-{now:%Y%m%dT%H%M%S.%fZ}.jsonl")
    schema = sql.Identifier(stream.lower())
    await conn.execute(sql.SQL("SET search_path = {}").format(schema))
    epochs = await Epochs.load(conn)
    out: IO[str] | None = None
    try:
        async for batch in _batches(js, stream):
            result.first_seq = result.first_seq or batch[0].metadata.sequence.stream
            result.last_seq = batch[-1].metadata.sequence.stream
            for line in await _compare(conn, batch, epochs, result):
                out = out or _open_private(result.file)
                out.write(line + "\n")
                result.count += 1
        if out is not None:
            out.flush()
            os.fsync(out.fileno())
    finally:
        if out is not None:
            out.close()
    if result.lost is not None:
        last_common = result.newest or await initial_floor(conn, result.lost_at)
        result.first_position = last_common + 1
    return result


async def _batches(js: JetStreamContext, stream: str) -> AsyncGenerator[list[Msg]]:
    """Yield every message up to the end of the stream, including those added meanwhile."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=MAX_IDLE_S,
        mem_storage=True,
    )
    remaining = (await js.stream_info(stream)).state.messages
    consumer = await js.add_consumer(stream, config)
    subscription = await js.pull_subscribe_bind(consumer=consumer.name, stream=stream)
    while remaining:
        batch = await subscription.fetch(BATCH, timeout=FETCH_TIMEOUT_S)
        yield batch
        remaining = batch[-1].metadata.num_pending
    await subscription.unsubscribe()


async def _compare(
    conn: psycopg.AsyncConnection, batch: Iterable[Msg], epochs: Epochs, result: Salvage
) -> list[str]:
    """Return one line for each message that the outbox does not have."""
    positioned = [
        (message, parse_position((message.headers or {}).get("Trunkline-Position", "")))
        for message in batch
    ]
    positions = [position for _, position in positioned if position is not None]
    rows: list[Any] = await (await conn.execute(ROWS_AT, (positions,), binary=True)).fetchall()
    by_position = {row[0]: row for row in rows}
    lines = []
    for message, position in positioned:
        id_ = str((message.headers or {}).get("Nats-Msg-Id", ""))
        row = by_position.get(position)
        if position is not None and row and is_same(row, id_, message.data, epochs):
            result.count_recorded(position)
            continue
        if position is not None and is_addressed(message.subject, is_inbound=False):
            result.note_claim(int(message.subject.rsplit(".", 2)[1]), position)
        if position is not None and is_recorded(message.subject, id_, message.data):
            result.count_missing(position, message.metadata.timestamp)
        lines.append(_line(message))
    return lines


def _line(message: Msg) -> str:
    """Return a message as one line of JSON; data that is not UTF-8 as hex."""
    record: dict[str, Any] = {
        "sequence": message.metadata.sequence.stream,
        "time": message.metadata.timestamp.isoformat(),
        "subject": message.subject,
        "headers": {name: str(value) for name, value in (message.headers or {}).items()},
    }
    try:
        record["data"] = message.data.decode()
    except UnicodeDecodeError:
        record["hex"] = message.data.hex()
    return json.dumps(record, ensure_ascii=False)


def _open_private(file: Path) -> IO[str]:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(
        os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    )
