"""Tells facts as their owner's relay would, for tests of a service that hears them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from trunkline.provision import connect_as
from trunkline_contracts.fact import slot_of

if TYPE_CHECKING:
    from nats.aio.client import Client
    from world import World

    from trunkline_contracts.fact import Fact


class Teller:
    """Numbers facts by key and publishes them into their owner's stream, one after another."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lines: dict[str, Client] = {}
        self._sequences: Counter[tuple[str, str]] = Counter()
        self._positions: Counter[str] = Counter()
        self._previous: Counter[tuple[str, int]] = Counter()

    async def __aenter__(self) -> Teller:
        return self

    async def __aexit__(self, *_: object) -> None:
        for line in self._lines.values():
            await line.close()

    async def tell(self, *facts: Fact) -> list[Fact]:
        """Publish; gives the facts as they were numbered."""
        told = []
        for fact in facts:
            owner, key = fact.type.split(".")[1], fact.subject
            self._sequences[owner, key] += 1
            numbered = fact.numbered(self._sequences[owner, key])
            await self._publish(owner, slot_of(key), numbered)
            told.append(numbered)
        return told

    async def _publish(self, owner: str, slot: int, fact: Fact) -> None:
        if owner not in self._lines:
            user = f"{owner}-relay"
            self._lines[owner] = await connect_as(user, self._world.nats.url, self._world.creds)
        self._positions[owner] += 1
        headers = {
            "Nats-Msg-Id": str(fact.id),
            "Trunkline-Position": str(self._positions[owner]),
            "Trunkline-Previous": str(self._previous[owner, slot]),
        }
        self._previous[owner, slot] = self._positions[owner]
        js = self._lines[owner].jetstream()
        await js.publish(fact.nats_subject, fact.wire(), headers=headers)
