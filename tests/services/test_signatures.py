"""Tampered credentials over HTTP at every endpoint are refused; nothing is stored or logged.

Each attempt is made with both secrets in force. The proofs of devices are in
`tests/chassis/test_dpop.py`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from entrances import entrances, opened
from taking_in import served
from tampering import CANARY, GONE, NEW, OLD, Attempt

if TYPE_CHECKING:
    import httpx
    from taking_in import Ingest
    from world import World


@pytest.fixture
def workspace(world: World) -> str:
    """Return a workspace whose accounts have two secrets in force."""
    return opened(world)


async def answers(http: httpx.AsyncClient, tried: list[tuple[str, Attempt]]) -> list[int]:
    """Make all attempts, eight at a time; return the statuses in order."""
    told, waiting = [0] * len(tried), iter(enumerate(tried))

    async def some() -> None:
        for n, (path, attempt) in waiting:
            url = f"{path}?{attempt.query}" if attempt.query else path
            answer = await http.post(url, content=attempt.body, headers=attempt.headers)
            told[n] = answer.status_code

    await asyncio.gather(*(some() for _ in range(8)))
    return told


async def test_tampered_credentials_are_refused_everywhere(
    ingest: Ingest, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    doors = entrances()
    tried = [(each, attempt) for each in doors for attempt in each.attempts()]
    named = [each for each in doors if each.elsewhere]
    tried += [(replace(each, path=each.elsewhere), each.right(NEW)) for each in named]
    before = await ingest.world.kept("ingest")

    async with served(ingest.apps[0]) as http:
        told = await answers(http, [(each.path, attempt) for each, attempt in tried])
        let_in = [
            (each.way.name, attempt.how, answer)
            for (each, attempt), answer in zip(tried, told, strict=True)
            if answer != 401
        ]
        assert let_in == []
        assert await ingest.world.kept("ingest") == before
        right = [(each.path, each.right(which)) for each in doors for which in (OLD, NEW)]
        taken = await answers(http, right)

    assert set(taken) == {200, 202}
    ledger = await ingest.ledger()
    assert (ledger["accepted"], ledger["balanced"]) == (len(right), True)
    logging.getLogger("ingest").debug("so far the log was read")
    ours = [each for each in caplog.records if not each.name.startswith(("httpx", "httpcore"))]
    said = "".join([*(each.getMessage() for each in ours), *capfd.readouterr()])
    assert "so far the log was read" in said
    assert CANARY not in said
    secrets = [each.way.secret(which) for each in doors for which in (OLD, NEW, GONE)]
    assert [secret for secret in secrets if secret in said] == []
