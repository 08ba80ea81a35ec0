"""The HTTP ports of a running instance are all limited alike."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from strangers import ENDLESS, endless, send

if TYPE_CHECKING:
    from desk import Desk

SERVICES = ("ingest", "routing", "tickets", "sla", "notify")


def test_endless_heads_are_refused_at_every_port(desk: Desk) -> None:
    heads = [kind for kind in ENDLESS if not kind.startswith(("trailer", "extension"))]

    async def attack() -> dict[tuple[str, str], tuple[str, bool]]:
        asked = [(service, kind) for service in SERVICES for kind in ENDLESS]
        ports = {service: int(desk.url(service, "").rpartition(":")[2]) for service in SERVICES}
        sent = [send(ports[service], endless(kind, 1 << 20)) for service, kind in asked]
        return dict(zip(asked, await asyncio.gather(*sent), strict=True))

    results = asyncio.run(attack())

    assert {results[service, kind] for service in SERVICES for kind in heads} == {("431", True)}
    # Where there is no such address, its answer may come before the framing is too large.
    assert set(results.values()) <= {("431", True), ("404", True)}
    for service in SERVICES:
        assert desk.http.get(desk.url(service, "/health/live")).status_code == 200
