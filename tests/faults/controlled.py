"""What tests of checkers share: a verdict, and services in their own loop that say and hear."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.messaging.transaction import Tx
from chassis.service import Service
from chassis.settings import Settings
from chassis.testing import eventually, running
from trunkline_contracts import Fact

if TYPE_CHECKING:
    from world import World

both = pytest.mark.parametrize("protected", [True, False], ids=["protected", "broken"])


def verdict(complaints: Sequence[str], *, protected: bool) -> None:
    """Nothing is wrong with the protection, something is without it."""
    if protected:
        assert not complaints
    else:
        assert complaints
        print(f"\nseen: {len(complaints)} complaints, first: {complaints[0]}")


async def settled(
    complain: Callable[[], Awaitable[Sequence[str]]], within: float = 3.0
) -> Sequence[str]:
    """Give what is left to complain of once there is nothing, or no patience either."""
    complaints: Sequence[str] = []

    async def content() -> bool:
        nonlocal complaints
        complaints = await complain()
        return not complaints

    with contextlib.suppress(AssertionError):
        await eventually(content, within)
    return complaints


async def keep(tx: Tx, facts: Sequence[Fact]) -> None:
    """Write down what was heard."""
    for fact in facts:
        await tx.run(
            "INSERT INTO heard (key, sequence) VALUES (%s, %s)", fact.subject, fact.sequence
        )


async def prepare(world: World) -> None:
    """Make the table that `keep` writes into, and apply the workspace."""
    table = "CREATE TABLE heard (n bigserial, key text, sequence bigint)"
    await world.sql("tickets", table)
    await world.sql("tickets", "GRANT ALL ON heard TO tickets")
    await world.sql("tickets", "GRANT ALL ON SEQUENCE heard_n_seq TO tickets")
    await world.apply()


async def heard(world: World) -> list[tuple[str, int]]:
    """What was written down: keys and sequences."""
    return await world.sql("tickets", "SELECT key, sequence FROM heard ORDER BY n")


@asynccontextmanager
async def chassis_service(
    world: World, name: str, *readers: Reader, groups: int = 2
) -> AsyncGenerator[Service]:
    """A replica that does nothing but what every service does."""
    settings = world.settings(name, Settings, READERS=str(groups))
    app = build(name, settings, readers=lambda _: readers)
    async with running(app):
        yield app.state.service


@asynccontextmanager
async def hearing(world: World, groups: int = 2) -> AsyncGenerator[Service]:
    """Somebody who hears what ingest says."""
    reader = Reader("INGEST", keep)
    async with chassis_service(world, "tickets", reader, groups=groups) as hearer:
        yield hearer


@asynccontextmanager
async def saying_and_hearing(world: World, hearers: int) -> AsyncGenerator[Service]:
    """Somebody who says, and as many replicas as wanted who hear.

    By different consumers: of one, each would be given what the others are not.
    """
    await prepare(world)
    async with AsyncExitStack() as stack:
        for number in range(hearers):
            await stack.enter_async_context(hearing(world, (2, 1)[number % 2]))
        yield await stack.enter_async_context(chassis_service(world, "ingest"))
