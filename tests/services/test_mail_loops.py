"""Two instances that acknowledge each other's mails stop, whatever is between them (RFC 3834)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from postoffice import free_port, open_office, written
from world import EXAMPLE, World, clone, provision_nats

from chassis.settings import Settings as TicketsSettings
from chassis.testing import eventually, running
from ingest.app import make as make_ingest
from ingest.settings import Settings as IngestSettings
from notify.app import make as make_notify
from notify.email import acknowledgements
from notify.settings import Settings as NotifySettings
from tickets.app import make as make_tickets
from trunkline import paths
from trunkline.servers import Nats, Postgres

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from postoffice import Office

ABOUT = "address: support@example.test, secret: env:EMAIL_MAIN_SECRET, smtp: sink"
MAIL = f"  email:     {{main: {{{ABOUT}}}}}"


@dataclass
class Side:
    """One instance: what it does between a mail that comes and a mail that goes."""

    world: World
    address: str

    async def silent(self, times: int) -> list[str]:
        """Wait until it has said so many times that it does not answer; gives the reasons."""
        query = """SELECT convert_from(body, 'UTF8')::json -> 'data' ->> 'why' FROM outbox
            WHERE type = 'trunkline.notify.v1.notification_suppressed' ORDER BY position"""

        async def told() -> list[str] | None:
            rows = [why for (why,) in await self.world.sql("notify", query)]
            return rows if len(rows) >= times else None

        found = await eventually(told)
        assert found is not None
        return found

    async def requests(self) -> int:
        [(count,)] = await self.world.sql("ingest", "SELECT count(*) FROM request")
        return int(count)

    async def at_rest(self) -> bool:
        """Whether nothing is left to be sent."""
        return not await self.world.sql("notify", "SELECT 1 FROM sends WHERE next_at IS NOT NULL")


@contextmanager
def a_world(house: Path, cluster: Postgres, data: Path) -> Iterator[World]:
    """Another provisioned world beside the test's own."""
    data.mkdir()
    with Nats(house / "nats.conf", data / "nats") as nats:
        asyncio.run(provision_nats(nats, house / "creds"))
        name = clone(cluster, "provisioned")
        yield World(data, cluster, nats, name, house / "creds")
    paths.remove(data / "nats")


@pytest.fixture
def worlds(
    house: Path, cluster: Postgres, world: World, tmp_path: Path
) -> Iterator[tuple[World, World]]:
    with a_world(house, cluster, tmp_path / "other") as other:
        yield world, other


async def begin(stack: AsyncExitStack, world: World, office: Office, domain: str) -> Side:
    """Run ingest, tickets and notify, with a mailbox that acknowledges."""
    address = f"support@{domain}"
    about = f"secret: env:EMAIL_MAIN_SECRET, smtp: '{office.place}', acknowledge: We have it."
    names = {"main": address, "help": f"help@{domain}"}
    each = ", ".join(f"{name}: {{address: {where}, {about}}}" for name, where in names.items())
    mail = f"  email: {{{each}}}"
    text = EXAMPLE.read_text()
    assert MAIL in text
    await world.apply(text.replace(MAIL, mail))
    office.doors[domain] = free_port()
    port = str(office.doors[domain])
    for app in (
        make_ingest(world.settings("ingest", IngestSettings, SMTP_PORT=port)),
        make_tickets(world.settings("tickets", TicketsSettings)),
        make_notify(world.settings("notify", NotifySettings)),
    ):
        http: httpx.AsyncClient = await stack.enter_async_context(running(app))

        async def ready(http: httpx.AsyncClient = http) -> bool:
            return (await http.get("/health/ready")).status_code == 200

        await eventually(ready)
    return Side(world, address)


Meeting = tuple["Office", Side, Side]


@pytest.fixture
async def meeting(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Meeting]:
    monkeypatch.setenv("EMAIL_MAIN_SECRET", "mail-secret")
    async with AsyncExitStack() as stack:
        office = await stack.enter_async_context(open_office())
        ours = await begin(stack, worlds[0], office, "ours.test")
        theirs = await begin(stack, worlds[1], office, "theirs.test")
        yield office, ours, theirs


async def test_two_instances_stop_after_two_automatic_mails(meeting: Meeting) -> None:
    office, ours, theirs = meeting
    # Every sign is lost on the way: each takes the other for a person, once.
    office.forgetful = True
    await office.send(theirs.address, ours.address, written(theirs.address, ours.address))
    assert await ours.silent(1) == [acknowledgements.CONTACT_REASON]
    assert [each.to for each in office.carried] == [theirs.address, ours.address]
    assert (await ours.requests(), await theirs.requests()) == (2, 1)

    # What arrives is what was sent: the first is seen to be automatic.
    office.forgetful = False
    office.carried.clear()
    other = "help@theirs.test"
    await office.send(other, ours.address, written(other, ours.address))
    assert await theirs.silent(1) == ["auto-submitted"]
    [only] = office.carried
    assert (only.sender, only.to) == ("", other)
    assert await ours.at_rest()
    assert await theirs.at_rest()

    # Whoever is away has a machine answer that says nothing of being one.
    office.away.add("away.test")
    iryna = "iryna@away.test"
    await office.send(iryna, ours.address, written(iryna, ours.address))
    assert await ours.silent(2) == [acknowledgements.CONTACT_REASON] * 2
    assert [each.to for each in office.carried] == [other, iryna]
    assert await ours.at_rest()


async def test_without_the_caps_they_go_on(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledgements, "CONTACT_INTERVAL", timedelta(0))
    monkeypatch.setattr(acknowledgements, "MAX_PER_CONVERSATION", 1_000_000)
    office, ours, theirs = meeting
    office.forgetful = True
    await office.send(theirs.address, ours.address, written(theirs.address, ours.address))

    async def many() -> bool:
        return len(office.carried) >= 8

    await eventually(many)
    office.closed = True
