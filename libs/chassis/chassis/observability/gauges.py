"""Update gauges once a second; a replica reports 0 for roles it does not lead.

Otherwise a former leader would go on reporting its last figures.
"""

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg

from chassis.observability import metrics

if TYPE_CHECKING:
    from chassis.service import Service

UPDATE_INTERVAL_S = 1.0
LAST_POSITION = "SELECT coalesce(max(position), 0) FROM outbox"


async def update_gauges(service: "Service") -> None:
    """Update the gauges until cancelled."""
    _begin_counting(service)
    while True:
        _readers(service)
        await _relay(service)
        await asyncio.sleep(UPDATE_INTERVAL_S)


def _begin_counting(service: "Service") -> None:
    """Create the counters at 0, so that a first event shows as an increase."""
    metrics.nats_errors.labels(service.name)
    metrics.relay_foreign.labels(service.name)
    for reader in service.readers:
        for counted in (metrics.reader_parked, metrics.reader_foreign, metrics.reader_applied):
            counted.labels(service.name, reader.identifier)


def _readers(service: "Service") -> None:
    now = time.monotonic()
    for reader in service.readers:
        states = [loop.state for loop in service.loops if loop.reader is reader]
        labels = (service.name, reader.identifier)
        reading = [s for s in states if s.is_leading or s.recent_failure]
        silent = max((now - s.progress_at for s in reading), default=0.0)
        metrics.reader_lag.labels(*labels).set(sum(s.lag for s in states))
        metrics.reader_silent.labels(*labels).set(silent)
        metrics.reader_late.labels(*labels).set(sum(s.late for s in states))
        metrics.reader_behind.labels(*labels).set(sum(s.behind for s in states))


async def _relay(service: "Service") -> None:
    relay, held = service.relay, "relay" in service.leaders.held
    name = service.name
    metrics.relay_alarm.labels(name).set(held and relay.alarm is not None)
    metrics.relay_silent.labels(name).set(time.monotonic() - relay.progress_at if held else 0)
    lag = 0
    if held:
        with suppress(
            psycopg.Error, OSError, TimeoutError
        ):  # the health check reports an unreachable database
            async with asyncio.timeout(UPDATE_INTERVAL_S), service.db.connection() as conn:
                row = await (await conn.execute(LAST_POSITION, prepare=True)).fetchone()
                lag = max((row[0] if row else 0) - relay.position, 0)
    metrics.relay_lag.labels(name).set(lag)
