"""`trunkline stream reset`: make a domain stream anew from its outbox, and keep what only it had.

When the stream is ahead of its outbox, PostgreSQL was restored to an older state. Then a new epoch
begins, and readers are set back to where the stream and the outbox part: what they may have applied
beyond that is no longer recorded, and other facts have taken its positions. Long: the order of the
steps is what makes it safe.
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
from trunkline.holding import BY_HAND, administrator, domain, hold
from trunkline.instance import Instance
from trunkline.places import CannotStart
from trunkline.provision import Plan
from trunkline.provisioning import credentials, provision_servers
from trunkline.salvage import Salvage, salvage

REFUSED = {
    "INBOUND": "it holds deliveries that nothing else has",
    "WORKSPACE": "it holds the workspace's versions, and no outbox has them",
}

BEGIN_EPOCH = (
    "INSERT INTO {service}.outbox_epoch (epoch, first_position, began_at)"
    " SELECT greatest(%s, coalesce(max(epoch), 0) + 1), %s, now() FROM {service}.outbox_epoch"
    " RETURNING epoch"
)
LOCK = "LOCK TABLE {reader}.reader_position IN EXCLUSIVE MODE"
SET_BACK = (
    "UPDATE {reader}.reader_position SET position = least(position, %s), stream_sequence = %s"
    " WHERE reader = %s"
)
FORGET_WAITING = "DELETE FROM {reader}.waiting WHERE reader = %s AND position > %s"
SET_ASIDE = "UPDATE {reader}.parked SET position = -id WHERE reader = %s AND position > %s"
END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = ANY(%s)"
)


async def hold_all(instance: Instance, *, release: bool) -> list[str]:
    """Hold all domain streams, or release them; return a line for each that changed."""
    try:
        async with administrator(instance, credentials(instance)) as js:
            why = None if release else BY_HAND
            changed = await hold(js, domain(instance.plan), why)
    except (OSError, nats.errors.Error, JetStreamError) as error:
        raise CannotStart(f"NATS refuses: {error!r}") from error
    return [f"{stream} is {'released' if release else 'held'}" for stream in changed]


def chosen(plan: Plan, names: Sequence[str], *, everything: bool) -> list[str]:
    """Return the domain streams meant; raise `CannotStart` for any other name."""
    allowed = domain(plan)
    if everything == bool(names):
        raise CannotStart(f"name streams ({', '.join(allowed)}), or say --all")
    for name in names:
        if name in REFUSED:
            raise CannotStart(f"{name} is not reset: {REFUSED[name]}")
        if name not in allowed:
            raise CannotStart(
                f"there is no domain stream {name!r}: it is one of {', '.join(allowed)}"
            )
    return allowed if everything else list(dict.fromkeys(names))


async def reset(instance: Instance, streams: Sequence[str]) -> list[str]:
    """Reset domain streams; return a line for each thing done. May be run again at any time."""
    try:
        async with (
            await psycopg.AsyncConnection.connect(
                instance.database_url, autocommit=True, connect_timeout=10
            ) as conn,
            administrator(instance, credentials(instance)) as js,
        ):
            lines = await _reset(conn, js, instance, streams)
    except (OSError, psycopg.Error, nats.errors.Error, JetStreamError) as error:
        raise CannotStart(f"the reset broke off, run it again: {error}") from error
    return lines + await provision_servers(instance, release=True)


async def _reset(
    conn: psycopg.AsyncConnection,
    js: JetStreamContext,
    instance: Instance,
    streams: Sequence[str],
) -> list[str]:
    await conn.execute("SELECT pg_advisory_lock(%s)", (lock_key("provision", "reset"),))
    found, lines = [], []
    for stream in streams:
        try:
            found.append(await salvage(conn, js, stream, instance.data / "salvage"))
        except NotFoundError:
            lines.append(f"{stream}: there was none")
    lines += [_told(each) for each in found]
    if ahead := [each for each in found if each.first_position is not None]:
        lines += await _begin_epochs(conn, instance.plan, ahead)
    for each in found:
        await js.delete_stream(each.stream)
    return lines


def _told(each: Salvage) -> str:
    where = f", kept in {each.file}" if each.count else ""
    return f"{each.stream}: {each.count} messages that its outbox does not have{where}"


async def _begin_epochs(
    conn: psycopg.AsyncConnection, plan: Plan, ahead: Sequence[Salvage]
) -> list[str]:
    """Begin the new epochs, set readers back, and end the services' sessions.

    One transaction, before any stream is deleted: broken off, all of it is found again. The
    sessions end because what services remember is of the state that was lost; they begin anew.
    """
    lines = []
    readers = {each.stream: _readers(plan, each.stream) for each in ahead}
    async with conn.transaction():
        for reader in sorted({name for names in readers.values() for name in names}):
            await conn.execute(sql.SQL(LOCK).format(reader=sql.Identifier(reader)))
        for each in ahead:
            service = sql.Identifier(each.stream.lower())
            begin = sql.SQL(BEGIN_EPOCH).format(service=service)
            row = await (
                await conn.execute(begin, (int(time.time()), each.first_position))
            ).fetchone()
            lines.append(
                f"{each.stream}: was ahead of its outbox; facts from position"
                f" {each.first_position} on belong to epoch {row[0] if row else '?'}"
            )
            for reader in readers[each.stream]:
                await _set_back(conn, reader, each)
        lines += await _end_sessions(conn, list(plan.services))
    return lines


def _readers(plan: Plan, stream: str) -> list[str]:
    return [name for name, service in plan.services.items() if stream in service.reads]


async def _set_back(conn: psycopg.AsyncConnection, reader: str, each: Salvage) -> None:
    name, last = each.stream.lower(), (each.first_position or 1) - 1
    where = {"reader": sql.Identifier(reader)}
    # At the end of the old stream: none of it is read any more before it is deleted.
    await conn.execute(sql.SQL(SET_BACK).format(**where), (last, each.last_seq, name))
    for statement in (FORGET_WAITING, SET_ASIDE):
        await conn.execute(sql.SQL(statement).format(**where), (name, last))


async def _end_sessions(conn: psycopg.AsyncConnection, services: list[str]) -> list[str]:
    try:
        async with conn.transaction():
            await conn.execute(END_SESSIONS, (services,))
    except psycopg.errors.InsufficientPrivilege:
        return ["restart the services: this role may not end their sessions"]
    return []
