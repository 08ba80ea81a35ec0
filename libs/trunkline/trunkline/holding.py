"""Hold domain streams: readers of a held stream wait until it is recreated or released.

A PostgreSQL restored to an older state has lost facts that the streams still contain. A service
that applied them would treat the facts recorded in their place as duplicates.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from nats.js import JetStreamContext
from psycopg import sql

from chassis.messaging.resuming import HOLD_KEY, Ahead, prove
from trunkline.provision import Plan, connect_as

if TYPE_CHECKING:
    from trunkline.instance import Instance

HELD_BY_COMMAND = "by `trunkline stream hold`"


async def hold(js: JetStreamContext, streams: Sequence[str], reason: str | None) -> list[str]:
    """Hold streams for a reason, or release them if it is None; return the streams that changed."""
    changed = []
    for stream in streams:
        config = (await js.stream_info(stream)).config
        metadata = {
            name: value for name, value in (config.metadata or {}).items() if name != HOLD_KEY
        }
        new_metadata = metadata if reason is None else {**metadata, HOLD_KEY: reason}
        if new_metadata != (config.metadata or {}):
            await js.update_stream(config.evolve(metadata=new_metadata))
            changed.append(stream)
    return changed


async def hold_when_ahead(
    instance: Instance, creds: Path, *, release: bool = False
) -> dict[str, str]:
    """Hold all domain streams if one of them is ahead of its outbox.

    If none is ahead and `release` is set, release them. Return `held` or `released` for each
    stream that changed.
    """
    streams = domain_streams(instance.plan)
    async with (
        await psycopg.AsyncConnection.connect(
            instance.database_url, autocommit=True, connect_timeout=10
        ) as conn,
        jetstream_as_admin(instance, creds) as js,
    ):
        reason = await _ahead_reason(conn, js, streams)
        changed = await hold(js, streams, reason) if reason or release else []
    return dict.fromkeys(changed, "held" if reason else "released")


async def _ahead_reason(
    conn: psycopg.AsyncConnection, js: JetStreamContext, streams: Sequence[str]
) -> str | None:
    for stream in streams:
        schema = sql.Identifier(stream.lower())
        await conn.execute(sql.SQL("SET search_path = {}").format(schema))
        try:
            await prove(conn, js, await js.stream_info(stream), further=0)
        except Ahead as reason:
            return f"{stream}: {reason}"
    return None


def domain_streams(plan: Plan) -> list[str]:
    """Return the streams that are published from an outbox."""
    return [service.stream for service in plan.services.values()]


@asynccontextmanager
async def jetstream_as_admin(instance: Instance, creds: Path) -> AsyncGenerator[JetStreamContext]:
    """Connect to JetStream as the administrator and close the connection afterwards."""
    client = await connect_as("admin", instance.nats_url, creds)
    try:
        yield client.jetstream(timeout=10)
    finally:
        await client.close()
