"""What a stream holds and its outbox does not: found, and written to a file before a reset.

Long: reading, comparing and writing are one pass.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psycopg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from psycopg import sql

from chassis.messaging.epochs import Epochs
from chassis.messaging.message import parse_position
from chassis.messaging.replay import ROWS_AT
from chassis.messaging.resuming import is_recorded, is_same
from chassis.messaging.retention import initial_floor

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

BATCH = 500
FETCH_TIMEOUT_S = 10.0
MAX_IDLE_S = 30.0
"""After which the server forgets a consumer that asks no more."""


@dataclass
class Salvage:
    """One stream compared with its outbox."""

    stream: str
    file: Path
    last_seq: int = 0
    count: int = 0
    """Messages written to the file; without any there is no file."""
    newest: int = 0
    """The highest position at which both have the same fact."""
    lost: int | None = None
    """The lowest position above `newest` of a fact that the outbox does not have."""
    lost_at: datetime | None = None
    first_position: int | None = None
    """From where on facts belong to a new epoch, when the stream is ahead of its outbox."""

    def same(self, position: int) -> None:
        """Count a fact that both have."""
        self.newest = max(self.newest, position)
        if self.lost is not None and self.lost <= self.newest:
            self.lost = self.lost_at = None

    def missing(self, position: int, at: datetime) -> None:
        """Count a fact that the outbox does not have."""
        if position > self.newest and (self.lost is None or position < self.lost):
            self.lost, self.lost_at = position, at


async def salvage(
    conn: psycopg.AsyncConnection, js: JetStreamContext, stream: str, folder: Path
) -> Salvage:
    """Compare a domain stream with its outbox; write what only the stream has, readable by us.

    Raises NotFoundError when there is no such stream.
    """
    now = datetime.now(UTC)
    found = Salvage(stream, folder / f"{stream}-{now:%Y%m%dT%H%M%S.%fZ}.jsonl")
    schema = sql.Identifier(stream.lower())
    await conn.execute(sql.SQL("SET search_path = {}").format(schema))
    epochs = await Epochs.load(conn)
    out: IO[str] | None = None
    try:
        async for batch in _batches(js, stream):
            found.last_seq = batch[-1].metadata.sequence.stream
            for line in await _compare(conn, batch, epochs, found):
                out = out or _private(found.file)
                out.write(line + "\n")
                found.count += 1
        if out is not None:
            out.flush()
            os.fsync(out.fileno())
    finally:
        if out is not None:
            out.close()
    if found.lost is not None:
        behind = found.newest or await initial_floor(conn, found.lost_at)
        found.first_position = behind + 1
    return found


async def _batches(js: JetStreamContext, stream: str) -> AsyncGenerator[list[Msg]]:
    """Yield every message up to the stream's end, which may move on meanwhile."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=MAX_IDLE_S,
        mem_storage=True,
    )
    left = (await js.stream_info(stream)).state.messages
    consumer = await js.add_consumer(stream, config)
    place = await js.pull_subscribe_bind(consumer=consumer.name, stream=stream)
    while left:
        batch = await place.fetch(BATCH, timeout=FETCH_TIMEOUT_S)
        yield batch
        left = batch[-1].metadata.num_pending
    await place.unsubscribe()


async def _compare(
    conn: psycopg.AsyncConnection, batch: Iterable[Msg], epochs: Epochs, found: Salvage
) -> list[str]:
    """Return a line for each message that the outbox does not have."""
    at = [
        (message, parse_position((message.headers or {}).get("Trunkline-Position", "")))
        for message in batch
    ]
    positions = [position for _, position in at if position is not None]
    rows: list[Any] = await (await conn.execute(ROWS_AT, (positions,), binary=True)).fetchall()
    by_position = {row[0]: row for row in rows}
    lines = []
    for message, position in at:
        id_ = str((message.headers or {}).get("Nats-Msg-Id", ""))
        row = by_position.get(position)
        if position is not None and row and is_same(row, id_, message.data, epochs):
            found.same(position)
            continue
        if position is not None and is_recorded(message.subject, id_, message.data):
            found.missing(position, message.metadata.timestamp)
        lines.append(_line(message))
    return lines


def _line(message: Msg) -> str:
    """Write a message as one line of JSON; bytes that are no text as hex."""
    told: dict[str, Any] = {
        "sequence": message.metadata.sequence.stream,
        "time": message.metadata.timestamp.isoformat(),
        "subject": message.subject,
        "headers": {name: str(value) for name, value in (message.headers or {}).items()},
    }
    try:
        told["data"] = message.data.decode()
    except UnicodeDecodeError:
        told["hex"] = message.data.hex()
    return json.dumps(told, ensure_ascii=False)


def _private(file: Path) -> IO[str]:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(
        os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    )
