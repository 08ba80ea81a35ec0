"""Retention of a stream: the relay's leader trims facts, which PostgreSQL keeps.

A floor is written before messages are purged, so that a relay that finds an empty stream does not
publish old facts again. A reader that is behind detects the gap and requests a replay.
"""

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg
from nats.js import JetStreamContext
from nats.js.api import StreamInfo
from nats.js.errors import NotFoundError

log = logging.getLogger(__name__)

FULL_SHARE = 0.8
"""The share of `max_bytes` above which a stream is trimmed regardless of age."""
KEPT_SHARE = 0.6
"""The share of messages that is kept then."""

FIRST_FROM: LiteralString = (
    "SELECT position, body FROM outbox WHERE position >= %s ORDER BY position LIMIT 1"
)
ENDS: LiteralString = "SELECT coalesce(min(position), 0), coalesce(max(position), 0) FROM outbox"
SET_FLOOR: LiteralString = (
    "INSERT INTO relay_floor AS f (stream, created, position) VALUES (%s, %s, %s)"
    " ON CONFLICT (stream, created)"
    " DO UPDATE SET position = greatest(f.position, EXCLUDED.position)"
)

Retention = Callable[[], timedelta | None]
"""Returns how long facts stay in the stream; None: without limit."""


async def initial_floor(conn: psycopg.AsyncConnection, after: datetime | None) -> int:
    """Return the position after which a recreated stream begins; older facts are not published."""
    row = await (await conn.execute(ENDS)).fetchone()
    low, high = row or (0, 0)
    if after is None or not high:
        return 0
    high += 1
    while low < high:  # binary search for the first position recorded since `after`
        middle = (low + high) // 2
        found = await (await conn.execute(FIRST_FROM, (middle,))).fetchone()
        if found is None or _recorded_at(bytes(found[1]), after) >= after:
            high = middle
        else:
            low = found[0] + 1
    floor: int = max(low - 1, 0)
    return floor


def _recorded_at(body: bytes, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(json.loads(body)["time"])
    except (ValueError, KeyError, TypeError):
        return otherwise  # unreadable: published, so that readers park it visibly


async def first_to_keep(
    js: JetStreamContext, info: StreamInfo, after: datetime | None, *, full: bool = False
) -> int:
    """Return the first sequence to keep, by age and size; the last message is always kept."""
    state, stream = info.state, info.config.name or ""
    low, high = state.first_seq, state.last_seq
    if full or (info.config.max_bytes and state.bytes > FULL_SHARE * info.config.max_bytes):
        return min(high, high + 1 - int(state.messages * KEPT_SHARE))
    if after is None or not state.messages:
        return low
    while low < high:
        middle = (low + high) // 2
        try:
            at = (await js.get_msg(stream, seq=middle)).time
        except NotFoundError:
            at = None
        if at is not None and at >= after:
            high = middle
        else:
            low = middle + 1
    return low


async def trim(
    conn: psycopg.AsyncConnection,
    js: JetStreamContext,
    stream: str,
    position: int,
    after: datetime | None,
    *,
    full: bool = False,
) -> int:
    """Write the floor, then purge old messages; return how many sequences were purged.

    `full`: the stream has refused a message for lack of room, so trim by size.
    """
    info = await js.stream_info(stream)
    keep = await first_to_keep(js, info, after, full=full)
    if keep <= info.state.first_seq:
        return 0
    await conn.execute(SET_FLOOR, (stream, str(info.created), position))
    await js.purge_stream(stream, seq=keep)
    log.info("%s: trimmed up to sequence %s", stream, keep - 1)
    return keep - info.state.first_seq
