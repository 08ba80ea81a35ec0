"""`trunkline stream reset`: recreate domain streams from their outboxes.

Messages that only the stream had are saved to a file. A stream ahead of its outbox means that
PostgreSQL was restored to an older state. A new epoch then begins, and readers are set back to the
last position the stream and the outbox share: facts beyond it are no longer recorded, and other
facts have taken their positions. The order of the steps is what makes an interrupted reset safe.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import nats.errors
import psycopg
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError
from psycopg import sql

from chassis.postgres.locks import lock_key
from trunkline.holding import HELD_BY_COMMAND, domain_streams, hold, jetstream_as_admin
from trunkline.instance import Instance
from trunkline.paths import CannotStart
from trunkline.provision import Plan
from trunkline.provisioning import credentials, provision_servers
from trunkline.salvage import Salvage, salvage

REASONS_NOT_RESETTABLE = {
    "INBOUND": "it holds deliveries that nothing else has",
    "WORKSPACE": "it holds the workspace's versions, and no outbox has them",
}

BEGIN_EPOCH = (
    "INSERT INTO {service}.outbox_epoch (epoch, first_position, began_at)"
    " SELECT greatest(%s, coalesce(max(epoch), 0) + 1), %s, now() FROM {service}.outbox_epoch"
    " RETURNING epoch"
)
LOCK_POSITIONS = "LOCK TABLE {reader}.reader_position IN EXCLUSIVE MODE"
SET_READER_BACK = (
    "UPDATE {reader}.reader_position SET position = least(position, %s), stream_sequence = %s"
    " WHERE reader = %s"
)
SLOTS_BEYOND = (
    "SELECT slot, position FROM {reader}.reader_position WHERE reader = %s AND position > %s"
)
CORRECT_POSITION = (
    "UPDATE {reader}.reader_position SET position = %s WHERE reader = %s AND slot = %s"
)
OUTBOX_END = "SELECT coalesce(max(position), 0) FROM {service}.outbox"
DELETE_DEFERRED = "DELETE FROM {reader}.waiting WHERE reader = %s AND position > %s"
RELEASE_PARKED_POSITIONS = (
    "UPDATE {reader}.parked SET position = -id WHERE reader = %s AND position > %s"
)
END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = ANY(%s)"
)


async def hold_all(instance: Instance, *, release: bool) -> list[str]:
    """Hold or release all domain streams; return a line for each stream that changed."""
    try:
        async with jetstream_as_admin(instance, credentials(instance)) as js:
            reason = None if release else HELD_BY_COMMAND
            changed = await hold(js, domain_streams(instance.plan), reason)
    except (OSError, nats.errors.Error, JetStreamError) as error:
        raise CannotStart(f"NATS refuses: {error!r}") from error
    return [f"{stream} is {'released' if release else 'held'}" for stream in changed]


def choose_streams(plan: Plan, names: Sequence[str], *, is_all: bool) -> list[str]:
    """Return the chosen domain streams; raises `CannotStart` for any other name."""
    allowed = domain_streams(plan)
    if is_all == bool(names):
        raise CannotStart(f"name at least one stream of {', '.join(allowed)}, or use --all")
    for name in names:
        if name in REASONS_NOT_RESETTABLE:
            raise CannotStart(f"{name} is not reset: {REASONS_NOT_RESETTABLE[name]}")
        if name not in allowed:
            raise CannotStart(
                f"there is no domain stream {name!r}: it is one of {', '.join(allowed)}"
            )
    return allowed if is_all else list(dict.fromkeys(names))


async def reset(instance: Instance, streams: Sequence[str]) -> list[str]:
    """Reset domain streams; return a line for each step. It may be repeated at any time.

    Raises `CannotStart` if a server fails meanwhile.
    """
    try:
        async with (
            await psycopg.AsyncConnection.connect(
                instance.database_url, autocommit=True, connect_timeout=10
            ) as conn,
            jetstream_as_admin(instance, credentials(instance)) as js,
        ):
            lines = await _reset(conn, js, instance, streams)
    except (OSError, psycopg.Error, nats.errors.Error, JetStreamError) as error:
        raise CannotStart(f"the reset was interrupted, run it again: {error}") from error
    return lines + await provision_servers(instance, release=True)


async def _reset(
    conn: psycopg.AsyncConnection,
    js: JetStreamContext,
    instance: Instance,
    streams: Sequence[str],
) -> list[str]:
    await conn.execute("SELECT pg_advisory_lock(%s)", (lock_key("provision", "reset"),))
    results, lines = [], []
    for stream in streams:
        try:
            results.append(await salvage(conn, js, stream, instance.data / "salvage"))
        except NotFoundError:
            lines.append(f"{stream}: there was no such stream")
    lines += [_summary(result) for result in results]
    for result in results:
        lines += await _correct_positions(conn, instance.plan, result)
    if ahead := [result for result in results if result.first_position is not None]:
        lines += await _begin_epochs(conn, instance.plan, ahead)
    for result in results:
        await js.delete_stream(result.stream)
    return lines


def _summary(result: Salvage) -> str:
    where = f", kept in {result.file}" if result.count else ""
    return f"{result.stream}: {result.count} messages that its outbox does not have{where}"


async def _correct_positions(
    conn: psycopg.AsyncConnection, plan: Plan, result: Salvage
) -> list[str]:
    """Set back positions beyond the outbox's end, which readers took from foreign messages.

    A reader returns to the last fact before that message, so it reads what it has dropped since; to
    the outbox's end if the stream does not show which fact that was. Readers load the positions
    again when they find them changed.
    """
    name, lines = result.stream.lower(), []
    statement = sql.SQL(OUTBOX_END).format(service=sql.Identifier(name))
    row = await (await conn.execute(statement)).fetchone()
    end, first = int(row[0]) if row else 0, result.first_position
    # What was lost is set back with the new epoch.
    before = end + 1 if first is None else first - 1
    for reader in _readers(plan, result.stream):
        where = {"reader": sql.Identifier(reader)}
        async with conn.transaction():
            await conn.execute(sql.SQL(LOCK_POSITIONS).format(**where))
            cursor = await conn.execute(sql.SQL(SLOTS_BEYOND).format(**where), (name, end))
            beyond = [
                (slot, position, result.claims.get((slot, position), end))
                for slot, position in await cursor.fetchall()
            ]
            beyond = [each for each in beyond if each[2] < before]
            for slot, position, right in beyond:
                correct = sql.SQL(CORRECT_POSITION).format(**where)
                await conn.execute(correct, (right, name, slot))
                lines.append(
                    f"{result.stream}: {reader} was at position {position} of slot {slot}, beyond"
                    f" the outbox's end {end}; set back to {right}"
                )
            if beyond:
                for each in (DELETE_DEFERRED, RELEASE_PARKED_POSITIONS):
                    await conn.execute(sql.SQL(each).format(**where), (name, end))
    return lines


async def _begin_epochs(
    conn: psycopg.AsyncConnection, plan: Plan, ahead: Sequence[Salvage]
) -> list[str]:
    """Begin new epochs, set readers back and end the database sessions of the services.

    All of it is one transaction, before any stream is deleted, so that an interrupted reset can be
    repeated. Sessions end because services still hold the lost state in memory; they reconnect and
    load the current state.
    """
    lines = []
    readers = {result.stream: _readers(plan, result.stream) for result in ahead}
    async with conn.transaction():
        for reader in sorted({name for names in readers.values() for name in names}):
            await conn.execute(sql.SQL(LOCK_POSITIONS).format(reader=sql.Identifier(reader)))
        for result in ahead:
            service = sql.Identifier(result.stream.lower())
            begin = sql.SQL(BEGIN_EPOCH).format(service=service)
            row = await (
                await conn.execute(begin, (int(time.time()), result.first_position))
            ).fetchone()
            lines.append(
                f"{result.stream}: was ahead of its outbox; facts from position"
                f" {result.first_position} on belong to epoch {row[0] if row else '?'}"
            )
            for reader in readers[result.stream]:
                await _set_back(conn, reader, result)
        lines += await _end_sessions(conn, list(plan.services))
    return lines


def _readers(plan: Plan, stream: str) -> list[str]:
    return [name for name, service in plan.services.items() if stream in service.reads]


async def _set_back(conn: psycopg.AsyncConnection, reader: str, result: Salvage) -> None:
    name, last = result.stream.lower(), (result.first_position or 1) - 1
    where = {"reader": sql.Identifier(reader)}
    # At the end of the old stream, so that nothing more of it is read before it is deleted.
    await conn.execute(sql.SQL(SET_READER_BACK).format(**where), (last, result.last_seq, name))
    for statement in (DELETE_DEFERRED, RELEASE_PARKED_POSITIONS):
        await conn.execute(sql.SQL(statement).format(**where), (name, last))


async def _end_sessions(conn: psycopg.AsyncConnection, services: list[str]) -> list[str]:
    try:
        async with conn.transaction():
            await conn.execute(END_SESSIONS, (services,))
    except psycopg.errors.InsufficientPrivilege:
        return ["restart the services: the role of DATABASE_URL may not end their sessions"]
    return []
