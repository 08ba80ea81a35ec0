"""Real code with one protection taken out, for tests that prove the checkers see what then happens.

Each function takes pytest's monkeypatch or a world and breaks one thing until the test ends.
"""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg

from chassis.messaging import positions, relay, resuming
from chassis.messaging.gap_replay import GapReplay
from chassis.messaging.loop import Loop
from chassis.messaging.pull_consumer import PullConsumer
from chassis.messaging.transaction import Tx
from chassis.postgres.leader_election import LeaderElection
from ingest.audit.epochs import Epochs
from ingest.gateway.publisher import Publisher
from notify.delivery import queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest
    from world import World

    from chassis.messaging.connections import Bus
    from chassis.messaging.message import StreamMessage


def everybody_leads(patch: pytest.MonkeyPatch) -> None:
    """Two leaders at once, each sure of it: what a frozen one is when it comes back."""

    async def acquire(self: LeaderElection, role: str) -> None:
        await asyncio.sleep(0.02)
        self.held.add(role)

    patch.setattr(LeaderElection, "_acquire", acquire)


def no_position_fence(patch: pytest.MonkeyPatch) -> None:
    """Positions are moved, whoever has moved them meanwhile."""
    assert " AND p.position = v.old" in positions.MOVE
    patch.setattr(positions, "MOVE", positions.MOVE.replace(" AND p.position = v.old", ""))


def five_times_out_of_order(patch: pytest.MonkeyPatch) -> None:
    """Whatever arrives arrives five times, backwards, and then as it should."""
    take = PullConsumer.take

    async def again(self: PullConsumer, limit: int, wait: float) -> list[StreamMessage]:
        batch = await take(self, limit, wait)
        return [*batch, *(batch[::-1] * 4)]

    patch.setattr(PullConsumer, "take", again)


def no_positions(patch: pytest.MonkeyPatch) -> None:
    """Whatever arrives is applied, whatever its position."""

    async def consume(self: Loop, batch: Sequence[StreamMessage]) -> None:
        at = dict(self._positions.at)
        for item in batch:
            at[item.slot] = max(at[item.slot], item.position or 0)
        await self._committer.apply(list(batch), at, batch[-1].stream_sequence)

    patch.setattr(Loop, "_consume", consume)


def no_relay_fence(patch: pytest.MonkeyPatch) -> None:
    """Batches name no expected sequence, and no id by which the server would know them again."""
    publish, message = relay.publish_batch, relay.message

    async def unfenced(bus: Bus, messages: Sequence[relay.Message], last: int | None) -> int:
        return await publish(bus, messages, None)

    def nameless(row: relay.Row, previous: int, epoch: int = 0) -> relay.Message:
        subject, data, headers = message(row, previous, epoch)
        headers["Test-Id"] = headers.pop("Nats-Msg-Id")
        return subject, data, headers

    patch.setattr(resuming, "is_same", lambda *_: True)
    patch.setattr(relay, "MAX_CHAIN", 0)
    patch.setattr(relay, "publish_batch", unfenced)
    patch.setattr(relay, "message", nameless)


def no_acknowledgements(patch: pytest.MonkeyPatch) -> None:
    """The door and the relay believe that what they have written is stored."""

    async def believed(self: Publisher, wave: Sequence[Any]) -> None:
        for each in wave:
            envelope = each.envelope
            await self._client().publish(envelope.subject, envelope.body, headers=envelope.headers)

    async def written(bus: Bus, messages: Sequence[relay.Message], last: int) -> int:
        for subject, data, headers in messages:
            await bus.relay.nc.publish(subject, data, headers=headers)
        return last + len(messages)

    patch.setattr(Publisher, "_store", believed)
    patch.setattr(relay, "publish_batch", written)
    patch.setattr(relay, "publish_chain", written)
    patch.setattr(relay, "POLLS_PER_END_CHECK", 10**9)


def hard_of_hearing(patch: pytest.MonkeyPatch) -> None:
    """A pull that has fallen silent is waited for."""
    patch.setattr(PullConsumer, "_check", lambda _: None)


def position_moved_apart(patch: pytest.MonkeyPatch) -> None:
    """The position is moved in a transaction of its own, before what it stands for is done."""
    move = positions.Positions.move

    async def apart(self: positions.Positions, tx: Tx, to: dict[int, int], sequence: int) -> None:
        conn = await psycopg.AsyncConnection.connect(tx.conn.info.dsn, **password(tx))
        async with conn, conn.transaction():
            await move(self, Tx(conn, tx.now, 0), to, sequence)

    patch.setattr(positions.Positions, "move", apart)


def password(tx: Tx) -> dict[str, str]:
    """What the connection's own description leaves out."""
    return {"password": tx.conn.info.password}


def no_chain(patch: pytest.MonkeyPatch) -> None:
    """A reader does not ask whether what comes is next to what it has had."""

    async def nothing(*_: object) -> None:
        return

    patch.setattr(GapReplay, "replay_all_slots", nothing)
    patch.setattr(Loop, "_consume", _ignorant(Loop._consume))


def _ignorant(consume: Any) -> Any:
    async def without_predecessors(self: Loop, batch: Sequence[StreamMessage]) -> Any:
        return await consume(self, [replace(item, previous=0) for item in batch])

    return without_predecessors


def no_trimming(patch: pytest.MonkeyPatch) -> None:
    """A relay that is refused asks again, and does no more about it."""

    async def nothing(*_: object) -> None:
        await asyncio.sleep(0.1)

    patch.setattr(relay.Relay, "_handle_refusal", nothing)


def no_decision_lock(patch: pytest.MonkeyPatch) -> None:
    """Decisions are taken side by side."""

    async def nothing(self: Tx) -> None:
        return

    patch.setattr(Tx, "lock", nothing)


def unaware(patch: pytest.MonkeyPatch) -> None:
    """Whatever stands in INBOUND where ingest has read, it is taken for what was read."""

    async def believed(*_: Any) -> bool:
        return True

    patch.setattr(Epochs, "_is_unchanged", believed)


async def rewrite(world: World, schema: str, function: str, pattern: str, by: str) -> None:
    """Change the text of a function in the database."""
    ((text,),) = await world.sql(
        schema, "SELECT pg_get_functiondef(%s::regproc)", f"{schema}.{function}"
    )
    changed = re.sub(pattern, by, text, count=1, flags=re.DOTALL)
    assert changed != text
    await world.sql(schema, changed)


def slow(patch: pytest.MonkeyPatch, module: Any, name: str, seconds: float) -> None:
    """Let something take so long that others surely do theirs meanwhile; not always as long."""
    real = getattr(module, name)

    async def slowly(*args: Any, **named: Any) -> Any:
        result = await real(*args, **named)
        await asyncio.sleep(seconds * random.uniform(0.5, 1))
        return result

    patch.setattr(module, name, slowly)


def slow_claims(patch: pytest.MonkeyPatch, *, locked: bool) -> None:
    """A claim takes a second and more, so that replicas make theirs at once."""
    slow = queue.CLAIM_MESSAGES.replace(
        "RETURNING s.message_id",
        "RETURNING (SELECT s.message_id FROM pg_sleep(0.2 + 0 * s.attempts))",
    )
    held = " FOR UPDATE OF s SKIP LOCKED"
    assert held in slow != queue.CLAIM_MESSAGES
    patch.setattr(queue, "CLAIM_MESSAGES", slow if locked else slow.replace(held, ""))
