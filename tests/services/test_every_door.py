"""Rules common to all endpoints: secrets, sizes, rates, and outages of NATS and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest
from entrances import Entrance, entrances, opened
from psycopg import sql
from tampering import GONE, NEW, OLD, PLATFORMS, Attempt, pairs, scheme_of

from chassis.testing import eventually
from chassis.web.conventions import MAX_BODY_BYTES
from ingest.envelope import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx
    from taking_in import Ingest
    from world import World

OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


@pytest.fixture
def workspace(world: World) -> str:
    """Return a workspace whose accounts have two secrets in force."""
    return opened(world)


def limit(door: Entrance) -> int:
    """Return the bytes a body may have."""
    return scheme_of(door.way).max_body_bytes if door.way in PLATFORMS else MAX_BODY_BYTES


def filled(door: Entrance, size: int) -> Entrance:
    """Return an entrance whose body has the same meaning and `size` bytes."""
    return Entrance(door.way, door.path, door.good + b" " * (size - len(door.good)))


async def knock(http: httpx.AsyncClient, door: Entrance, attempt: Attempt | None = None) -> int:
    """Deliver with valid credentials, or an attempt; return the status."""
    return (await ask(http, door, attempt)).status_code


async def ask(
    http: httpx.AsyncClient, door: Entrance, attempt: Attempt | None = None
) -> httpx.Response:
    shown = attempt or door.right(NEW)
    return await http.post(door.path, content=shown.body, headers=shown.headers)


async def test_account_whose_secret_is_gone_accepts_nothing(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = [door for door in entrances() if door.way.name != "api"]  # its key is the issuer's
    ends = tuple(which.upper().replace("-", "_") for which in (OLD, NEW))
    names = [name for name in os.environ if name.endswith(ends)]
    assert len(names) >= 2 * len(secret)
    before = await ingest.world.kept("ingest")
    for told in ("", None):
        for name in names:
            if told is None:
                monkeypatch.delenv(name)
            else:
                monkeypatch.setenv(name, told)
        for door in secret:
            assert await knock(ingest.http, door) == 401, door.way.name
            way = door.way
            bare = pairs(dict.fromkeys(way.shown(NEW, door.good, 0.0), b""))
            assert await knock(ingest.http, door, Attempt("empty", bare, door.good)) == 401
    assert await ingest.world.kept("ingest") == before


async def pieces(body: bytes) -> AsyncGenerator[bytes]:
    """Yield a body in pieces, so that it has no Content-Length."""
    for begin in range(0, len(body), 65_536):
        yield body[begin : begin + 65_536]


async def test_body_above_the_limit_is_refused_everywhere(ingest: Ingest) -> None:
    for door in entrances():
        most = limit(door)
        larger = filled(door, most + 1)
        shown, body = larger.right(NEW), pieces(larger.good)
        unsaid = await ingest.http.post(door.path, content=body, headers=shown.headers)
        assert unsaid.status_code == 413, door.way.name
        assert await knock(ingest.http, larger) == 413, door.way.name
        assert await knock(ingest.http, filled(door, most)) in {200, 202}, door.way.name
    assert (await ingest.ledger())["accepted"] == len(entrances())


async def test_account_above_its_rate_is_refused_everywhere(ingest: Ingest) -> None:
    document = json.loads(opened(ingest.world))
    document["limits"]["per_account"] = "1/min"
    await ingest.world.apply(json.dumps(document))

    async def in_force() -> bool:
        return (await ingest.submit({"text": "x", "contact": {}})).status_code == 429

    await eventually(in_force)
    for door in entrances():
        if door.way.name == "connectiveone":
            continue  # its account is the custom channel's, which has had its turn
        statuses = [await ask(ingest.http, door) for _ in range(2)]
        refused = statuses[-1]
        assert refused.status_code == 429, door.way.name
        assert 1 <= int(refused.headers["retry-after"]) <= 60, door.way.name
        assert refused.headers["content-type"] == "application/problem+json"
        # Who is not known here learns nothing of it.
        assert await knock(ingest.http, door, door.right(GONE)) == 401, door.way.name


async def test_delivery_without_nats_is_refused_in_time_everywhere(ingest: Ingest) -> None:
    doors = entrances()
    doors += [filled(door, CHUNK_BYTES + 1) for door in doors]  # what takes several messages, too

    async def refused() -> list[httpx.Response]:
        async with asyncio.timeout(3):
            return list(await asyncio.gather(*(ask(ingest.http, door) for door in doors)))

    nats = ingest.world.nats
    os.kill(nats.pid, signal.SIGSTOP)
    try:
        frozen = await refused()
    finally:
        os.kill(nats.pid, signal.SIGCONT)
    nats.stop()
    away = await refused()
    assert (await ingest.http.get("/health/door")).status_code == 503
    for answer in (*frozen, *away):
        assert answer.status_code == 503, answer.url
        assert int(answer.headers["retry-after"]) >= 1, answer.url
    nats.start()

    async def taken() -> bool:
        return await knock(ingest.http, doors[0]) == 200

    await eventually(taken)
    for door in doors:
        answer = await ask(ingest.http, door)
        assert answer.status_code in {200, 202}, door.way.name
        assert (await ingest.outcome(answer))["request_id"], door.way.name
    assert (await ingest.ledger())["balanced"]


async def test_delivery_without_postgresql_is_accepted_everywhere(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.service.STUCK_AFTER_S", 1.0)
    world, doors = ingest.world, entrances()

    async def status(path: str) -> int:
        return (await ingest.http.get(path)).status_code

    async def unready() -> bool:
        return await status("/health/ready") == 503

    assert await status("/health/door") == 200
    admin = await psycopg.AsyncConnection.connect(world.postgres.url, autocommit=True)
    async with admin:
        name = sql.Identifier(world.database)
        await admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        try:
            await admin.execute(OUT, (world.database,))
            await eventually(unready)
            answers = [await ask(ingest.http, door) for door in doors]
            assert {answer.status_code for answer in answers} == {200, 202}
            assert await status("/health/door") == 200
        finally:
            await admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    for answer in answers:
        assert (await ingest.outcome(answer))["request_id"], answer.url


async def test_malformed_signature_is_refused_before_the_body(ingest: Ingest) -> None:
    doors = {door.way.name: door for door in entrances() if door.way.signed}
    assert set(doors) == {"custom", "viber", "whatsapp", "messenger", "instagram"}
    read = []

    async def body() -> AsyncGenerator[bytes]:
        read.append(True)
        yield b"{}"

    async def show(door: Entrance, headers: list[tuple[bytes, bytes]]) -> bool:
        """Return whether the body was read; the delivery is refused."""
        read.clear()
        answer = await ingest.http.post(door.path, content=body(), headers=headers)
        assert answer.status_code == 401
        return bool(read)

    for door in doors.values():
        right = door.right(NEW).headers
        *others, (name, value) = right
        prefix, _, digits = value.rpartition(b"," if door.way.name == "custom" else b"=")
        if door.way.name == "viber":
            prefix, digits = b"", value
        wrong = [b"", digits[:-4], b"x" + value, value[:-4], value + b"0000", value[:-1] + b"!"]
        for other in wrong if prefix else wrong[:1] + wrong[2:]:
            assert not await show(door, [*others, (name, other)]), (door.way.name, other)
        assert not await show(door, [*right, (name, value)])
        assert not await show(door, others)
        assert await show(door, right)
