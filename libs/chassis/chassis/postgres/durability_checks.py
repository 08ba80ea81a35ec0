"""Checks at start-up: refuse servers that acknowledge before they have written.

The promise "2xx means fsynced" depends on settings of both servers, so they are queried.
"""

from __future__ import annotations

from typing import Any

import httpx
import psycopg
from psycopg.rows import scalar_row

from chassis.tls import trusted_certificates

SETTING = "SELECT current_setting(%s)"


class UnsafeServer(Exception):
    """The server may lose acknowledged data; the message names the setting."""


async def check_nats(monitor_url: str | None) -> None:
    """Raise `UnsafeServer` when NATS acknowledges before fsync; OSError when it does not answer."""
    if not monitor_url:
        raise UnsafeServer("NATS_MONITOR_URL is not set: it shows whether sync_interval is always")
    address = f"{monitor_url.rstrip('/')}/jsz"
    try:
        async with httpx.AsyncClient(timeout=5, verify=trusted_certificates()) as client:
            answer = await client.get(address)
            answer.raise_for_status()
    except httpx.HTTPError as error:
        raise ConnectionError(f"NATS does not answer at {address}: {error}") from None
    info: dict[str, Any] = answer.json()
    if info.get("disabled"):
        raise UnsafeServer("NATS runs without JetStream: add `jetstream { sync_interval: always }`")
    if not info.get("config", {}).get("sync_always"):
        raise UnsafeServer(
            "NATS acknowledges before fsync: set `jetstream { sync_interval: always }`"
        )


async def check_postgres(url: str) -> None:
    """Raise `UnsafeServer` when PostgreSQL acknowledges before fsync.

    Raises OSError when it does not answer.
    """
    try:
        db = await psycopg.AsyncConnection.connect(url, connect_timeout=5, row_factory=scalar_row)
    except psycopg.OperationalError as error:
        first, *_ = str(error).splitlines()
        raise ConnectionError(f"PostgreSQL does not answer: {first}") from None
    async with db:
        for setting in ("fsync", "synchronous_commit"):
            found = await (await db.execute(SETTING, [setting])).fetchone()
            if found == "off":
                raise UnsafeServer(f"PostgreSQL acknowledges before fsync: set `{setting} = on`")
