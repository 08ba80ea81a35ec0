"""Reads the records the checkers judge: outboxes from PostgreSQL, streams from NATS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from faults.checkers import Row
from trunkline_contracts.fact import fact_id

if TYPE_CHECKING:
    from nats.aio.client import Client

OUTBOX = """
SELECT position, key, sequence, type, body,
    coalesce((SELECT max(epoch) FROM {0}.outbox_epoch WHERE first_position <= position), 0)
FROM {0}.outbox ORDER BY position"""


async def query(dsn: str, sql: str, *params: Any) -> list[tuple[Any, ...]]:
    """Ask the database as its superuser."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        cursor = await conn.execute(sql.encode(), params or None)
        return await cursor.fetchall() if cursor.description else []


def row_of(position: int, key: str, sequence: int, type_: str, body: bytes, epoch: int = 0) -> Row:
    """Read one row of an outbox."""
    told = json.loads(bytes(body))
    at = datetime.fromisoformat(told["time"])
    id_ = str(fact_id(type_, key, sequence, epoch))
    return Row(position, key, sequence, type_.rsplit(".", 1)[1], at, told["data"], id_)


async def outbox(dsn: str, service: str) -> list[Row]:
    """All a service has said, in its order."""
    return [row_of(*row) for row in await query(dsn, OUTBOX.format(service))]


async def stream(nc: Client, name: str, header: str = "Nats-Msg-Id") -> Sequence[str]:
    """The ids of all messages of a stream, in its order."""
    js = nc.jetstream(timeout=5)
    end = (await js.stream_info(name)).state.messages
    if not end:
        return []
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, headers_only=True,
        inactive_threshold=10, mem_storage=True,
    )  # fmt: skip
    info = await js.add_consumer(name, config)
    sub = await js.pull_subscribe_bind(consumer=info.name, stream=name)
    ids: list[str] = []
    while len(ids) < end:
        ids += [(m.headers or {}).get(header, "") for m in await sub.fetch(500, timeout=5)]
    await sub.unsubscribe()
    return ids
