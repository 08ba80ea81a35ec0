"""What a replica shows of the offices it holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.observability import metrics
from chassis.settings import Settings
from chassis.testing import eventually, running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from world import World

    from chassis.messaging.transaction import Tx
    from trunkline_contracts.fact import Fact


async def hear(_: Tx, __: Sequence[Fact]) -> None:
    """Nothing follows."""


async def test_role_held_shows_progress_and_zero_for_no_event(
    world: World,
) -> None:
    for each in vars(metrics).values():
        if isinstance(each, (Counter, Gauge)):
            each.clear()  # other tests of this process had readers of other names
    await world.apply()
    settings = world.settings("sla", Settings)
    app = build("sla", settings, readers=lambda _: [Reader("TICKETS", hear)])
    async with running(app) as client:

        async def shown() -> dict[str, float]:
            page = (await client.get("/metrics")).text
            found = {
                name: float(value)
                for name, value in re.findall(
                    r'^(\w+)\{[^}]*service="sla"[^}]*\} (\S+)$', page, re.MULTILINE
                )
            }
            assert found["trunkline_leader"] == 1
            assert 0 < found["trunkline_relay_silent_seconds"] < 10
            assert 0 < found["trunkline_reader_silent_seconds"] < 10
            return found

        found = await eventually(shown)
    for quiet in ("relay_lag", "relay_alarm", "reader_lag", "reader_behind", "reader_waiting_late"):
        assert found[f"trunkline_{quiet}"] == 0, quiet
    for never in ("reader_parked_total", "reader_foreign_total", "nats_errors_total"):
        assert found[f"trunkline_{never}"] == 0, never
