"""Holding domain streams: readers of a held stream wait until it is made anew, or released.

PostgreSQL restored to an older state has lost facts that the streams still hold. A service that
applied them would take what comes in their stead for something it has seen.
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

BY_HAND = "by `trunkline stream hold`"


async def hold(js: JetStreamContext, streams: Sequence[str], why: str | None) -> list[str]:
    """Hold streams for a reason, or release them (None). Return those that changed."""
    changed = []
    for stream in streams:
        config = (await js.stream_info(stream)).config
        metadata = {
            name: value for name, value in (config.metadata or {}).items() if name != HOLD_KEY
        }
        wanted = metadata if why is None else {**metadata, HOLD_KEY: why}
        if wanted != (config.metadata or {}):
            await js.update_stream(config.evolve(metadata=wanted))
            changed.append(stream)
    return changed


async def hold_when_ahead(
    instance: Instance, creds: Path, *, release: bool = False
) -> dict[str, str]:
    """Hold all domain streams when one of them is ahead of its outbox.

    When none is, and `release`, release them. Return what changed: `held` or `released`.
    """
    streams = domain(instance.plan)
    async with (
        await psycopg.AsyncConnection.connect(
            instance.database_url, autocommit=True, connect_timeout=10
        ) as conn,
        administrator(instance, creds) as js,
    ):
        why = await _ahead(conn, js, streams)
        changed = await hold(js, streams, why) if why or release else []
    return dict.fromkeys(changed, "held" if why else "released")


async def _ahead(
    conn: psycopg.AsyncConnection, js: JetStreamContext, streams: Sequence[str]
) -> str | None:
    for stream in streams:
        schema = sql.Identifier(stream.lower())
        await conn.execute(sql.SQL("SET search_path = {}").format(schema))
        try:
            await prove(conn, js, await js.stream_info(stream), 0, further=0)
        except Ahead as why:
            return f"{stream}: {why}"
    return None


def domain(plan: Plan) -> list[str]:
    """Return the streams that are made from an outbox."""
    return [service.stream for service in plan.services.values()]


@asynccontextmanager
async def administrator(instance: Instance, creds: Path) -> AsyncGenerator[JetStreamContext]:
    """Connect to JetStream as the administrator."""
    client = await connect_as("admin", instance.nats_url, creds)
    try:
        yield client.jetstream(timeout=10)
    finally:
        await client.close()
