"""Streams are full, and readers find their next facts gone: nothing is lost, and all goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from chassis.testing import eventually
from faults.load import Load
from faults.records import query
from faults.recovery import Watch, let_in, recovered, refused_in_time
from faults.weather import weather
from trunkline.provision import connect_as

if TYPE_CHECKING:
    from nats.js import JetStreamContext

    from faults.town import Town

pytestmark = pytest.mark.timeout(200, func_only=True)  # ten processes share two processors

HEARD_UPTO = "SELECT min(stream_sequence) FROM {}.reader_position WHERE reader = 'tickets'"


@asynccontextmanager
async def administrator(town: Town) -> AsyncGenerator[JetStreamContext]:
    nc = await connect_as("admin", town.instance.nats_url, town.instance.creds)
    try:
        yield nc.jetstream(timeout=5)
    finally:
        await nc.close()


@asynccontextmanager
async def narrow(town: Town, stream: str, max_bytes: int) -> AsyncGenerator[None]:
    """A stream has little room; then as much again as before."""
    async with administrator(town) as js:
        config = (await js.stream_info(stream)).config
        await js.update_stream(config.evolve(max_bytes=max_bytes))
        try:
            yield
        finally:
            await js.update_stream(config)


async def trimmed_past(town: Town, service: str, by: int) -> None:
    """Wait until the stream of requests has lost so many facts a service has not heard yet."""
    ((heard,),) = await query(town.dsn, HEARD_UPTO.format(service))
    async with administrator(town) as js:
        until = time.monotonic() + 60
        while (await js.stream_info("TICKETS")).state.first_seq <= heard + by:
            assert time.monotonic() < until, "nothing is trimmed"
            await asyncio.sleep(0.1)


@asynccontextmanager
async def notes(town: Town) -> AsyncGenerator[None]:
    """Somebody writes note after note, so that facts are said also while nobody takes in any."""
    ((request_id,),) = await query(town.dsn, "SELECT id FROM tickets.requests LIMIT 1")
    boss = town.token("boss", "supervisor")

    async def write() -> None:
        async with httpx.AsyncClient(timeout=15, headers=boss) as http:
            while True:
                door = f"{town.doors('tickets')[0]}/v1/requests/{request_id}/note"
                await http.post(door, json={"text": "still nothing"})
                await asyncio.sleep(0.02)

    writing = asyncio.create_task(write())
    try:
        yield
    finally:
        writing.cancel()
        await asyncio.wait({writing})


def fallen_behind(town: Town, service: str) -> int:
    """How often readers of a service have said that they are behind."""
    logs = [town.instance.log(name) for name in (service, f"{service}-second")]
    return sum(log.read_text().count("is behind: slot") for log in logs)


async def stopped_past_the_retention(town: Town, service: str, *, by: int) -> None:
    """Nobody hears for a service, until what it would hear next is gone from the stream."""
    before = fallen_behind(town, service)
    async with administrator(town) as js:
        await js.purge_stream("TICKETS", keep=1)  # what earlier tests left is not the point
        asked = (await js.stream_info("REDRIVE")).state.last_seq
    async with narrow(town, "TICKETS", 30_000):
        with town.nobody_at(service):
            async with notes(town):
                await trimmed_past(town, service, by)
        await town.ready()
        took = await recovered(town, within=30)
    async with administrator(town) as js:
        told = (await js.stream_info("REDRIVE")).state.last_seq - asked
    assert fallen_behind(town, service) > before
    assert told > by
    print(f"\n{service} fell behind: {told} messages over REDRIVE; all goes on after {took:.1f} s")


async def no_room_for_facts(town: Town, watch: Watch) -> None:
    """ingest can say nothing: its relay waits, and says why; the door goes on."""
    began = time.monotonic()
    async with narrow(town, "INGEST", 1), httpx.AsyncClient(timeout=5) as http:
        while "maximum bytes exceeded" not in await _complaints(town, http):
            assert time.monotonic() - began < 20, "nobody complains"
            await asyncio.sleep(0.1)
        ended = time.monotonic()
    print(f"\nroom for facts again: all goes on after {await recovered(town):.1f} s")
    assert let_in(watch.between(began, ended)) == []


async def _complaints(town: Town, http: httpx.AsyncClient) -> str:
    answers = [await http.get(f"{door}/health/ready") for door in town.doors("ingest")]
    return " ".join(answer.text for answer in answers if answer.status_code == 503)


async def no_room_for_deliveries(town: Town, watch: Watch) -> None:
    """INBOUND refuses, so the door does, and says when to come again."""
    async with narrow(town, "INBOUND", 1):
        began = time.monotonic()
        await asyncio.sleep(2)
        ended = time.monotonic()
    print(f"\nroom for deliveries again: all goes on after {await recovered(town):.1f} s")
    # whoever asked last may be looked after when there is room again
    assert refused_in_time(watch.between(began, ended - 1)) == []
    back = time.monotonic()

    async def asked() -> bool:
        return len(watch.between(back, time.monotonic())) >= 3

    await eventually(asked)
    assert let_in(watch.between(back, time.monotonic())) == []


async def test_full_streams_and_a_reader_that_comes_too_late(town: Town) -> None:
    watch = Watch(town)

    async def nemesis() -> None:
        await recovered(town, 30)
        async with watch.watching(600_000):
            await stopped_past_the_retention(town, "notify", by=10)
            await no_room_for_facts(town, watch)
            await no_room_for_deliveries(town, watch)

    load = Load(town, chats=10, messages=2, repeat=3, chat_from=600_010, endless=True)
    await weather(town, load, nemesis)


@pytest.mark.soak
@pytest.mark.timeout(1700, func_only=True)
async def test_every_reader_of_requests_comes_too_late(town: Town) -> None:
    watch = Watch(town)

    async def nemesis() -> None:
        await recovered(town, 30)
        async with watch.watching(700_000):
            for service in ("ingest", "routing", "sla", "notify") * 2:
                await stopped_past_the_retention(town, service, by=40)
            for _ in range(3):
                await no_room_for_facts(town, watch)
                await no_room_for_deliveries(town, watch)

    load = Load(town, chats=20, messages=2, chat_from=700_010, endless=True, patience=150)
    await weather(town, load, nemesis)
