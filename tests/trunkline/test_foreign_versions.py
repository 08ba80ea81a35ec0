"""Whatever else stands in the stream of workspaces: the last sound version is found and kept."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from world import EXAMPLE, the_example, the_plan

from chassis.configuration import publishing
from chassis.configuration.following import Workspaces
from chassis.configuration.publishing import newest
from chassis.messaging.connections import NatsConnection
from chassis.postgres.pool import Database
from trunkline import configuration
from trunkline.instance import Instance
from trunkline.provision import provision
from trunkline.provisioning import provision_servers

if TYPE_CHECKING:
    from world import World

SOUND = the_example().document()
FOREIGN = [
    b"",
    b"{",
    b"[]",
    b'{"stream":"WORKSPACE","seq":3}',
    b'{"version":7,"document":{}}',
    b'{"version":7,"document":[]}',
    json.dumps({"version": True, "document": SOUND}).encode(),
    json.dumps({"version": 0, "document": SOUND}).encode(),
    json.dumps({"version": 10**30, "document": SOUND}).encode(),
]


async def spoil(world: World) -> None:
    """Put everything that is no version behind the last one."""
    nc = await world.as_admin()
    for body in FOREIGN:
        await nc.jetstream().publish("workspace.v", body)
    await nc.close()


def instance(world: World, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """The command's view of this world."""
    for name, value in world.env("tickets").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", world.admin_dsn)
    monkeypatch.setattr(Instance, "plan", property(lambda _: the_plan()))
    return Instance.running(world.data)


async def test_the_command_steps_over_what_is_no_version(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = instance(world, monkeypatch)
    await spoil(world)

    assert await provision_servers(here) == []
    assert await configuration.apply_example(here)
    await spoil(world)
    assert await provision_servers(here) == []
    assert "version 1 stays" in await configuration.apply(here, EXAMPLE.read_text())
    assert not await configuration.apply_example(here)
    renamed = EXAMPLE.read_text().replace("name: ", "name: New ", 1)
    assert "version 2 is in force" in await configuration.apply(here, renamed)


async def test_without_stepping_over_it_the_command_dies(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = instance(world, monkeypatch)
    await world.apply()
    await spoil(world)

    def believing(data: bytes) -> tuple[int, object]:
        told = json.loads(data or b"{}")
        return int(told["version"]), told["document"]

    monkeypatch.setattr(publishing, "version_of", believing)
    monkeypatch.setattr(publishing, "parse_or_none", lambda document: document)
    assert (await newest_of(world))[0] == 10**30
    nc = await world.as_admin()
    await nc.jetstream().publish("workspace.v", b"{}")
    await nc.close()
    with pytest.raises(KeyError, match="version"):
        await configuration.apply(here, EXAMPLE.read_text())
    with pytest.raises(KeyError, match="version"):
        await provision(world.admin_dsn, world.nats.url, world.creds, the_plan())


async def newest_of(world: World) -> tuple[int, object]:
    nc = await world.as_admin()
    try:
        return await newest(nc.jetstream())
    finally:
        await nc.close()


async def test_a_replica_and_the_record_step_over_it(world: World) -> None:
    await spoil(world)
    await world.apply()
    await spoil(world)
    db = Database(world.dsn("tickets"), size=2)
    own = NatsConnection(world.nats.url, "tickets", world.creds, "tickets")
    relay = NatsConnection(world.nats.url, "tickets-relay", world.creds, "tickets")
    await asyncio.gather(db.open(), own.open(), relay.open())
    copy = Workspaces(db.pool)
    following = asyncio.create_task(copy.follow(own))
    try:
        await asyncio.wait_for(copy.wait(1), 5)
        await copy.refill(relay.js)
        assert await world.apply(EXAMPLE.read_text().replace("name: ", "name: New ", 1)) == 2
        await asyncio.wait_for(copy.wait(2), 2)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await asyncio.gather(own.close(), relay.close(), db.close())

    assert copy.current.document() != SOUND
    assert (await newest_of(world))[0] == 2
