"""Find where a relay resumes: the outbox position up to which the stream holds the outbox.

The stream is read backwards from its end. Messages of other publishers and deleted ones are
skipped. A fact of this service that the outbox does not have shows that PostgreSQL was restored to
a state before its publication: then nothing may be published.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, StreamInfo
from nats.js.errors import NotFoundError

from chassis.messaging.epochs import Epochs
from chassis.messaging.message import parse_position
from trunkline_contracts.fact import fact_id_text, splice

HOLD_KEY = "trunkline.held"
"""The stream metadata key of a hold: readers wait until the stream is recreated or released."""
MAX_STEPS = 10_000
"""The most sequences read. When they prove nothing, the floor and the memory decide."""
FURTHER_STEPS = 16
"""Sequences read beyond the first own message, which may be a copy of an older one."""

ROW: LiteralString = (
    "SELECT position, key, slot, sequence, type, body FROM outbox WHERE position = %s"
)
LAST_POSITION: LiteralString = "SELECT coalesce(max(position), 0) FROM outbox"


class Ahead(Exception):
    """The stream holds facts that its outbox does not have: PostgreSQL was restored."""


def hold_reason(info: StreamInfo) -> str | None:
    """Return why a stream is held; None when it is not."""
    why = (info.config.metadata or {}).get(HOLD_KEY)
    return None if why is None else f"{info.config.name} is held: {why}"


@dataclass(frozen=True)
class Proof:
    """The position up to which a stream holds its outbox, and the foreign messages at its end."""

    position: int
    foreign: tuple[tuple[int, str], ...] = ()
    """Sequence and reason of each message skipped."""


@dataclass(frozen=True)
class _Verdict:
    """One message: own at a position, a fact lost by the outbox, or foreign (neither)."""

    ours: int | None = None
    lost: int | None = None
    why: str = ""


async def prove(
    conn: psycopg.AsyncConnection,
    js: JetStreamContext,
    info: StreamInfo,
    at_least: int = 0,
    *,
    floor: int = 0,
    further: int = FURTHER_STEPS,
) -> Proof:
    """Return the highest position that the stream proves, at least `at_least`.

    `floor` counts only where the stream has no message of this relay: a stream that was set back
    behind it proves an older position, and lacks what follows. Raises `Ahead` when the stream holds
    facts that the outbox does not have.
    """
    (end,) = await (await conn.execute(LAST_POSITION)).fetchone() or (0,)
    if (published := max(at_least, floor)) > end:
        raise Ahead(f"the stream is ahead of its outbox: published up to {published} > {end}")
    judge = _Judge(conn, await Epochs.load(conn), end)
    position, is_found = at_least, False
    foreign: list[tuple[int, str]] = []
    lost: list[tuple[int, int, str]] = []
    async with aclosing(_backwards(js, info)) as messages:
        async for sequence, message in messages:
            if is_found and further == 0:
                break
            further -= is_found
            verdict = await judge.of(message)
            if verdict.ours is not None:
                position, is_found = max(position, verdict.ours), True
            elif verdict.lost is not None:
                lost.append((sequence, verdict.lost, verdict.why))
            else:
                foreign.append((sequence, verdict.why))
    position = position if is_found else max(position, floor)
    foreign += _foreign_of(lost, position)
    return Proof(position, tuple(sorted(foreign)))


def _foreign_of(lost: list[tuple[int, int, str]], position: int) -> list[tuple[int, str]]:
    """Return the facts the outbox lacks as foreign; raise `Ahead` for one beyond the position."""
    for sequence, claimed, why in lost:
        if claimed > position:
            raise Ahead(f"the stream is ahead of its outbox: message {sequence}, {why}")
    return [(sequence, why) for sequence, _, why in lost]


async def _backwards(
    js: JetStreamContext, info: StreamInfo
) -> AsyncGenerator[tuple[int, RawStreamMsg]]:
    """Yield the messages from a stream's end backwards, without deleted sequences."""
    first, last = info.state.first_seq, info.state.last_seq
    for sequence in range(last, max(first, 1, last - MAX_STEPS + 1) - 1, -1):
        try:
            message = await js.get_msg(info.config.name or "", seq=sequence)
        except NotFoundError:
            continue
        yield sequence, message


class _Judge:
    """Compares messages with the outbox."""

    def __init__(self, conn: psycopg.AsyncConnection, epochs: Epochs, end: int) -> None:
        self._conn, self._epochs, self._end = conn, epochs, end

    async def of(self, message: RawStreamMsg) -> _Verdict:
        """Return the verdict on a message; raise `Ahead` for a fact beyond the outbox's end."""
        headers = message.headers or {}
        position = parse_position(headers.get("Trunkline-Position", ""))
        if position is None:
            return _Verdict(why="it has no position")
        data = message.data or b""
        is_fact = is_recorded(message.subject or "", str(headers.get("Nats-Msg-Id", "")), data)
        if position > self._end:
            why = f"position {position} > {self._end}"
            if is_fact:
                raise Ahead(f"the stream is ahead of its outbox: {why}")
            return _Verdict(why=why)
        cursor = await self._conn.execute(ROW, (position,), binary=True)
        row = await cursor.fetchone()
        if row and is_same(row, headers.get("Nats-Msg-Id"), data, self._epochs):
            return _Verdict(ours=position)
        why = f"position {position} holds another fact"
        return _Verdict(lost=position if is_fact else None, why=why)


def is_same(row: tuple[Any, ...], id_: object, data: bytes, epochs: Epochs) -> bool:
    """Return whether a message is the fact of this row, which may have been repaired since then."""
    position, key, _, sequence, type_, body = row
    if fact_id_text(type_, key, sequence, epochs.at(position)) != id_:
        return False
    published, recorded = _time(data), _time(bytes(body))
    return published == recorded or not (published and recorded)


def is_recorded(subject: str, id_: str, data: bytes) -> bool:
    """Return whether id, type and key in a message's body are those of its headers and subject."""
    if not id_ or subject.count(".") < 5:
        return False
    type_, _, key = subject.rsplit(".", 2)
    head, _, _ = splice(type_, key, 0, b"{}", id_).partition(b'"sequence":')
    return data.startswith(head)


def _time(body: bytes) -> str:
    """Return the time a fact was recorded, which no repair changes; empty when unreadable."""
    try:
        return str(json.loads(body)["time"])
    except (ValueError, KeyError, TypeError):
        return ""
