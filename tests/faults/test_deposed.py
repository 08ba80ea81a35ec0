"""A leader that has lost its session lets go of its work, even of work that is hard of hearing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chassis.app import build
from chassis.messaging.relay import Relay
from chassis.postgres.locks import lock_key
from chassis.settings import Settings
from chassis.testing import eventually, running
from faults.records import query

if TYPE_CHECKING:
    import pytest
    from world import World

DEPOSE = """
SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
AND (classid::bigint << 32) | objid::bigint = %s
"""


async def test_work_that_forgets_that_it_was_cancelled_is_told_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Python 3.11 a wait that ends just as it is cancelled forgets the cancellation."""
    run, rest, forgotten, at_work = Relay.run, Relay._wait_for_rows, asyncio.Event(), 0
    most = 0

    async def counted(self: Relay) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        try:
            await run(self)
        finally:
            at_work -= 1

    async def forget_once(self: Relay) -> bool:
        try:
            return await rest(self)
        except asyncio.CancelledError:
            if forgotten.is_set():
                raise
            forgotten.set()
            return True

    monkeypatch.setattr(Relay, "run", counted)
    monkeypatch.setattr(Relay, "_wait_for_rows", forget_once)
    await world.apply()
    app = build("ingest", world.settings("ingest", Settings))
    async with running(app):
        leaders = app.state.service.leaders

        async def leads() -> bool:
            return "relay" in leaders.held

        await eventually(leads)
        assert await query(world.admin_dsn, DEPOSE, lock_key("relay", "ingest/relay")) == [(True,)]
        await asyncio.wait_for(forgotten.wait(), 10)
        assert not await leads()
        await eventually(leads)

        async def works() -> bool:
            return at_work == 1

        await eventually(works)
        assert most == 1
