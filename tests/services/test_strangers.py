"""Attacks on the services' own ports: other clients are served meanwhile.

In `make test` with few clients and file descriptors, in `make soak` with as many as a process has.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from entrances import opened
from strangers import (
    DESCRIPTORS,
    ENDLESS,
    MAX_GROWTH,
    PLAIN,
    Port,
    Witness,
    endless,
    idle,
    ports,
    raise_descriptors,
    send,
    slow_body,
)
from tampering import NEW

from chassis.web.connections import RESERVED_DESCRIPTORS

if TYPE_CHECKING:
    from world import World

SERVICES = ("ingest", "routing", "tickets", "sla", "notify")
UNSIGNED = {"X_Hub_Signature_256": "sha256=" + "0" * 64}


@dataclass(frozen=True)
class Size:
    """The numbers of attackers, and the longest wait of a client in seconds."""

    descriptors: int
    idle: int
    endless_bytes: int
    heads: int
    bodies: int
    wait: float


FEW = Size(RESERVED_DESCRIPTORS + 64, 200, 1 << 20, 60, 24, 2.0)  # other tests run meanwhile
MANY = Size(DESCRIPTORS, 2000, 120 << 20, 960, 200, 0.5)


@pytest.fixture
async def served(world: World) -> World:
    """Return a world whose accounts have secrets."""
    raise_descriptors()
    await world.apply(opened(world))
    world.environment["TELEGRAM_MAIN_SECRET"] = NEW
    return world


async def attack(port: Port, size: Size, path: str) -> dict[str, tuple[str, bool]]:
    """Attack in every way, one after the other; return the result of each kind's last client."""
    results = {kind: await send(port.number, endless(kind, size.endless_bytes)) for kind in ENDLESS}
    heads = [send(port.number, endless("headers", 128 << 10), within=60) for _ in range(size.heads)]
    results["heads"] = (await asyncio.gather(*heads))[-1]
    bodies = [
        send(port.number, slow_body(path, 3_000_000, 30, **UNSIGNED), pause=0.05, within=3)
        for _ in range(size.bodies)
    ]
    results["bodies"] = (await asyncio.gather(*bodies))[0]
    with idle(port.number, size.idle):
        await asyncio.sleep(1)
    return results


def check(witness: Witness, size: Size) -> None:
    assert witness.failures == []
    assert max(witness.waits) < size.wait
    assert witness.growth < MAX_GROWTH
    assert len(witness.waits) > 5
    assert not witness.secret or witness.delivered > 5


async def test_ingest_serves_others_during_attacks(served: World) -> None:
    with ports(served, "ingest", descriptors=FEW.descriptors) as (port,):
        with port.witness() as witness:
            results = await attack(port, FEW, "/channels/whatsapp/main")
        check(witness, FEW)
    assert set(results.values()) <= {("431", True), ("503", True), ("404", True)}


async def test_plain_server_serves_nobody_during_attacks(served: World) -> None:
    with ports(served, "ingest", descriptors=FEW.descriptors, program=PLAIN) as (port,):
        assert await send(port.number, endless("url", 1 << 20), within=0.5) == ("", False)
        with port.witness() as witness, idle(port.number, FEW.descriptors):
            await asyncio.sleep(1)
        assert witness.failures != []


@pytest.mark.soak
@pytest.mark.parametrize("service", SERVICES)
async def test_service_serves_others_during_large_attacks(served: World, service: str) -> None:
    with ports(served, service) as (port,):
        path = "/channels/whatsapp/main" if service == "ingest" else "/v1/requests"
        with port.witness() as witness:
            await attack(port, MANY, path)
        check(witness, MANY)


@pytest.mark.soak
async def test_slow_clients_are_ended_in_time(served: World) -> None:
    with ports(served, "ingest") as (port,):
        began = time.monotonic()
        head = send(port.number, [b"GET / HTTP/1.1\r\n", *[b"a"] * 1000], pause=0.1, within=60)
        body = slow_body("/channels/whatsapp/main", 300_000, 300, **UNSIGNED)
        slow = send(port.number, body, pause=0.3, within=90)

        async def seconds(client: object) -> tuple[object, float]:
            return await client, time.monotonic() - began  # type: ignore[misc]

        (head_result, head_s), (body_result, body_s) = await asyncio.gather(
            seconds(head), seconds(slow)
        )
    assert (head_result, body_result) == (("408", True), ("408", True))
    assert 10 <= head_s < 14
    assert 30 <= body_s < 38
