"""What a reader keeps for later: tried again whole and in order, and nothing of it is lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from hearing import Pair, keep
from saying import opened, received, say

from chassis.errors import Refused, is_transient
from chassis.messaging import deferral
from chassis.messaging.reader import Reader, read_fact
from chassis.testing import eventually
from trunkline_contracts import MessageReceived

if TYPE_CHECKING:
    from collections.abc import Sequence

    from world import World

    from chassis.messaging.message import StreamMessage
    from chassis.messaging.transaction import Tx
    from trunkline_contracts.fact import Fact

ONCE = (
    "INSERT INTO heard (request_id, sequence, type) SELECT %s, %s, %s WHERE NOT EXISTS"
    " (SELECT FROM heard WHERE request_id = %s AND sequence = %s)"
)
KNOWN = "SELECT DISTINCT request_id FROM heard WHERE type LIKE '%%opened'"


@pytest.fixture
async def pair(world: World) -> Pair:
    pair = Pair(world)
    await pair.prepare()
    return pair


async def strictly(tx: Tx, facts: Sequence[Fact]) -> None:
    """Write down what is heard of requests that are known; the rest waits."""
    rows = await (await tx.run(KNOWN)).fetchall()
    known = {key for (key,) in rows}
    for fact in facts:
        if isinstance(fact, MessageReceived) and fact.subject not in known:
            tx.defer(fact)
            continue
        if not isinstance(fact, MessageReceived) and fact.message.text == "refuse":  # type: ignore[attr-defined]
            raise Refused("no such request")
        known.add(fact.subject)
        told = (fact.subject, fact.sequence)
        await tx.run(ONCE, *told, fact.type, *told)


def wanted(item: StreamMessage) -> Any:
    """Read a fact, unless nobody wants it."""
    fact = read_fact(item)
    return None if isinstance(fact, MessageReceived) and fact.message.text == "never" else fact


async def waiting(pair: Pair) -> int:
    rows = await pair.world.sql("tickets", "SELECT count(*) FROM waiting")
    return int(rows[0][0])


async def test_retry_leaves_out_facts_that_are_not_consumed(pair: Pair) -> None:
    key = uuid4()
    async with (
        pair.sayer() as sayer,
        pair.hearer(reader=Reader("INGEST", strictly, parse=wanted)) as (_, client),
    ):
        for n, facts in ((1, [received(key)]), (3, [received(key, "never"), received(key)])):
            await say(sayer, *facts)

            async def kept(n: int = n) -> bool:
                return await waiting(pair) == n

            await eventually(kept)
        await say(sayer, opened(key))
        await eventually(lambda: emptied(pair))
        assert [n for _, n in await pair.heard()] == [4, 1, 3]
        parked = await client.get("/v1/parked", headers=pair.world.token("supervisor"))
        assert parked.json()["items"] == []


async def emptied(pair: Pair) -> bool:
    return await waiting(pair) == 0


async def test_redriven_fact_without_its_request_is_deferred(pair: Pair) -> None:
    """Its opening was refused and is skipped: what stood behind it is not done, but waits."""
    key, boss = uuid4(), pair.world.token("supervisor")
    first = opened(key)
    bad = first.model_copy(update={"message": first.message.model_copy(update={"text": "refuse"})})
    async with (
        pair.sayer() as sayer,
        pair.hearer(reader=Reader("INGEST", strictly)) as (_, client),
    ):
        await say(sayer, bad, received(key), received(key))

        async def parked() -> list[dict[str, Any]]:
            items: list[dict[str, Any]] = (await client.get("/v1/parked", headers=boss)).json()[
                "items"
            ]
            assert len(items) == 3
            return items

        head = (await eventually(parked))[0]
        await client.post(f"/v1/parked/{head['id']}/skip", headers=boss)

        async def kept() -> bool:
            return await waiting(pair) == 2

        await eventually(kept)
        await say(sayer, opened(key))
        heard = await pair.hears(3)
    assert [n for _, n in heard] == [4, 2, 3]


async def test_deferred_keys_are_retried_independently(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a restart, when it must be known which keys wait."""
    monkeypatch.setattr(deferral, "KEYS_PER_RETRY", 3)
    stuck, keys = [uuid4() for _ in range(10)], [uuid4() for _ in range(4)]
    async with pair.sayer() as sayer:
        async with pair.hearer(reader=Reader("INGEST", strictly)):
            await say(sayer, *(received(key) for key in (*stuck, *keys)))

            async def kept() -> bool:
                return await waiting(pair) == 14

            await eventually(kept)
        async with pair.hearer(reader=Reader("INGEST", strictly)):
            await say(sayer, *(opened(key) for key in keys))
            await pair.hears(8)
    for key in keys:
        assert [n for k, n in await pair.heard() if k == str(key)] == [2, 1]
    assert await waiting(pair) == 10


async def test_slow_batch_is_applied_in_halves(pair: Pair) -> None:
    async def slowly(tx: Tx, facts: Sequence[Fact]) -> None:
        if len(facts) > 3:
            raise psycopg.errors.QueryCanceled("canceling statement due to statement timeout")
        await keep(tx, facts)

    key = uuid4()
    async with pair.sayer() as sayer, pair.hearer(reader=Reader("INGEST", slowly)):
        await say(sayer, opened(key), *(received(key) for _ in range(19)))
        heard = await pair.hears(20)
    assert [n for _, n in heard] == list(range(1, 21))


async def test_endless_retries_count_as_no_progress(pair: Pair) -> None:
    async def never(tx: Tx, facts: Sequence[Fact]) -> None:
        raise psycopg.OperationalError("again and again")

    async with pair.sayer() as sayer, pair.hearer(reader=Reader("INGEST", never)) as (service, _):
        (loop,) = [each for each in service.loops if each.state.name == "ingest"]
        await say(sayer, opened(uuid4()))

        async def lagging() -> bool:
            return loop.state.lag > 0

        await eventually(lagging)
        before = time.monotonic()

        async def tried_again() -> bool:
            return time.monotonic() - before > 1.0

        await eventually(tried_again)
        assert loop.state.progress_at < before


def test_permanent_database_errors_are_not_transient() -> None:
    errors = psycopg.errors
    assert is_transient(errors.DeadlockDetected("x"))
    assert is_transient(errors.InsufficientPrivilege("x"))
    assert not is_transient(errors.ProgramLimitExceeded("index row size exceeds maximum"))
    assert not is_transient(errors.CardinalityViolation("a row twice"))
    assert not is_transient(errors.NumericValueOutOfRange("too large"))
