"""Apply a workspace from a file, or the example if there is none yet."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import psycopg
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError

from chassis.configuration import publishing
from trunkline.instance import EXAMPLE, Instance
from trunkline.paths import CannotStart
from trunkline.provision import connect_as
from trunkline_workspace import reading

MAX_RECORDED_VERSION = "SELECT coalesce(max(version), 0) FROM tickets.workspace"
"""The schema of tickets records all versions; a stream that lost some gets them back from it."""


def read(file: Path) -> str:
    """Return the text of a workspace file; raises `CannotStart` if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStart(f"{file} cannot be read: {error}") from None


async def apply(instance: Instance, text: str) -> str:
    """Make a workspace the next version; return its changes, one per line.

    Raises `CannotStart` if it is invalid, or if another version was applied at the same time.
    """
    try:
        document = reading.load(text)
        recorded = await _recorded_version(instance)
        async with _jetstream(instance) as js:
            version, before = await publishing.newest(js)
            changes = reading.diff(before, document)
            if version >= recorded and before is not None and not changes:
                return f"nothing changes: version {version} stays in force"
            applied = await publishing.apply(js, document, recorded=recorded)
    except reading.InvalidWorkspace as error:
        raise CannotStart(f"the workspace is refused: {error}") from None
    except publishing.Conflict as error:
        raise CannotStart(f"the workspace is not applied: {error}") from None
    return "\n".join([*changes, f"version {applied} is in force"])


async def apply_example(instance: Instance) -> bool:
    """Apply the example if no version was ever applied; return True if it was applied."""
    async with _jetstream(instance) as js:
        version, _ = await publishing.newest(js)
    if version or await _recorded_version(instance):
        return False
    await apply(instance, read(EXAMPLE))
    return True


@asynccontextmanager
async def _jetstream(instance: Instance) -> AsyncIterator[JetStreamContext]:
    creds = Path(os.environ.get("NATS_CREDS_DIR") or instance.creds)
    try:
        client = await connect_as("admin", instance.nats_url, creds)
    except (OSError, nats.errors.Error) as error:
        raise CannotStart(f"NATS does not answer at {instance.nats_url}: {error!r}") from None
    try:
        yield client.jetstream(timeout=10)
    except (JetStreamError, nats.errors.Error) as error:
        raise CannotStart(f"NATS refuses the workspace: {error}") from None
    finally:
        await client.close()


async def _recorded_version(instance: Instance) -> int:
    try:
        db = await psycopg.AsyncConnection.connect(instance.database_url, connect_timeout=5)
        async with db:
            row = await (await db.execute(MAX_RECORDED_VERSION)).fetchone()
    except psycopg.Error as error:
        first_line, *_ = str(error).splitlines()
        raise CannotStart(f"PostgreSQL does not return the version: {first_line}") from None
    return row[0] if row else 0
