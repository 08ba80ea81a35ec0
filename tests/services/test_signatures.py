"""Every door against everything that is nearly right: nobody gets in, and nothing is left behind.

Over HTTP, by both live secrets of each account. Besides the platforms' doors there are those of
pages, and that of programs; how devices prove themselves is in `tests/chassis/test_dpop.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest
from knocking import door
from ruamel.yaml import YAML
from taking_in import served
from tampering import BODIES, CANARY, GONE, NEW, OLD, PLATFORMS, Attempt, Way, scheme_of, tampered
from world import EXAMPLE

from chassis.auth import jwks, new_key, sign
from ingest import sessions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taking_in import Ingest
    from world import World

SHOP = "https://shop.example.test"
FORM = {"text": f"Hello, {CANARY}"}
MAIL = f"From: a@example.test\r\nSubject: {CANARY}\r\n\r\n{CANARY}\r\n"
SAID = {"id": "1", "text": CANARY, "contact": {"id": "7"}}


@cache
def key(which: str) -> str:
    """Give a key of whoever issues tokens to programs."""
    return new_key()[0]


def session(secret: str, body: bytes, now: float) -> dict[str, bytes]:
    at = datetime.fromtimestamp(now, UTC)
    mine = sessions.begun("main", SHOP, str(UUID(int=1)), str(UUID(int=2)), at)
    token = sessions.sign(mine, secret)
    return {"origin": SHOP.encode(), "authorization": b"Bearer " + token.encode()}


def program(secret: str, body: bytes, now: float) -> dict[str, bytes]:
    return {"authorization": b"Bearer " + sign(secret, "shop", ["integrator"]).encode()}


@dataclass(frozen=True)
class Door:
    """A way in, where it is, and what would be taken there."""

    way: Way
    path: str
    good: bytes
    elsewhere: str = ""
    """The same door of an account that is not declared, where there are accounts."""

    def right(self, which: str) -> Attempt:
        """Show a secret as one should."""
        headers = self.way.shown(which, self.good, time.time())
        return Attempt(which, [(name.encode(), each) for name, each in headers.items()], self.good)

    def attempts(self) -> Iterator[Attempt]:
        """Give everything that is tried here; each live secret is shown with half of the bodies."""
        now = time.time()
        for body, which in zip(BODIES.values(), (OLD, NEW, NEW, OLD), strict=True):
            yield from tampered(self.way, which, body, now)


def doors() -> list[Door]:
    """Give every door of the example workspace."""
    found = []
    for way in PLATFORMS:
        scheme = scheme_of(way)
        place = f"{{{scheme.parameter}}}"
        path = scheme.address.replace(place, "acme" if scheme.channel == "custom" else "main")
        bodies = {"email": MAIL.encode(), "custom": json.dumps(SAID).encode()}
        good = bodies.get(way.name) or door(way.name).case.bytes()
        found.append(Door(way, path, good, scheme.address.replace(place, "nowhere")))
    form = Way("form", lambda secret, body, now: {"x-form-token": secret.encode()}, query="token")
    page, submission = json.dumps(FORM).encode(), json.dumps({**FORM, "contact": {}}).encode()
    return [
        *found,
        Door(form, "/channels/form/main", page, "/channels/form/nowhere"),
        Door(Way("widget", session), "/channels/widget/main", page, "/channels/widget/nowhere"),
        Door(Way("api", program, secret=key), "/v1/requests", submission),
    ]


def variables(way: Way) -> dict[str, str]:
    """Give the environment in which both live secrets of a way's account are."""
    return {
        f"{way.name}_{which}".upper().replace("-", "_"): way.secret(which) for which in (OLD, NEW)
    }


@pytest.fixture
def workspace(world: World) -> str:
    """Every account has two live secrets, and so has the issuer of tokens."""
    document = YAML(typ="safe", pure=True).load(EXAMPLE.read_text())
    for each in doors():
        if each.way.name == "api":
            world.jwks.write_text(jwks(key(OLD), key(NEW)))
            world.key = key(NEW)
            continue
        world.environment |= variables(each.way)
        scheme = next((scheme_of(way) for way in PLATFORMS if way == each.way), None)
        channel, place = (scheme.channel, scheme.key) if scheme else (each.way.name, "secret")
        account = document["channels"][channel]["acme" if channel == "custom" else "main"]
        account[place] = [f"env:{name}" for name in variables(each.way)]
    document["limits"] = {"per_account": "100000/s", "per_visitor": "100000/s"}
    return json.dumps(document)


async def answers(http: httpx.AsyncClient, tried: list[tuple[str, Attempt]]) -> list[int]:
    """Try them all, a few at a time; gives the answers in their order."""
    told, waiting = [0] * len(tried), iter(enumerate(tried))

    async def some() -> None:
        for n, (path, attempt) in waiting:
            url = f"{path}?{attempt.query}" if attempt.query else path
            answer = await http.post(url, content=attempt.body, headers=attempt.headers)
            told[n] = answer.status_code

    await asyncio.gather(*(some() for _ in range(8)))
    return told


async def left(ingest: Ingest) -> dict[str, Any]:
    """Count what is kept anywhere: messages ever by stream, rows by table."""
    nc = await ingest.world.as_admin()
    try:
        streams = await nc.jetstream().streams_info()
    finally:
        await nc.close()
    kept = {str(each.config.name): each.state.last_seq for each in streams}
    tables = await ingest.world.sql(
        "ingest",
        "SELECT relname FROM pg_class"
        " WHERE relnamespace = 'ingest'::regnamespace AND relkind IN ('r', 'p')",
    )
    for (table,) in tables:
        ((count,),) = await ingest.world.sql("ingest", f"SELECT count(*) FROM {table}")
        kept[table] = count
    return kept


async def test_nobody_gets_in_who_does_not_belong(
    ingest: Ingest, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    tried = [(each, attempt) for each in doors() for attempt in each.attempts()]
    named = [each for each in doors() if each.elsewhere]
    tried += [(replace(each, path=each.elsewhere), each.right(NEW)) for each in named]
    before = await left(ingest)

    async with served(ingest.apps[0]) as http:
        told = await answers(http, [(each.path, attempt) for each, attempt in tried])
        let_in = [
            (each.way.name, attempt.how, answer)
            for (each, attempt), answer in zip(tried, told, strict=True)
            if answer != 401
        ]
        assert let_in == []
        assert await left(ingest) == before
        right = [(each.path, each.right(which)) for each in doors() for which in (OLD, NEW)]
        opened = await answers(http, right)

    assert set(opened) == {200, 202}
    ledger = await ingest.ledger()
    assert (ledger["accepted"], ledger["balanced"]) == (len(right), True)
    logging.getLogger("ingest").debug("so far the log was read")
    ours = [each for each in caplog.records if not each.name.startswith(("httpx", "httpcore"))]
    said = "".join([*(each.getMessage() for each in ours), *capfd.readouterr()])
    assert "so far the log was read" in said
    assert CANARY not in said
    secrets = [each.way.secret(which) for each in doors() for which in (OLD, NEW, GONE)]
    assert [secret for secret in secrets if secret in said] == []
