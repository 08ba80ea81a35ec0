"""Every way into an instance of the example workspace, where it is, and how it is opened."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING
from uuid import UUID

from knocking import door
from ruamel.yaml import YAML
from tampering import BODIES, CANARY, NEW, OLD, PLATFORMS, Attempt, Way, pairs, scheme_of, tampered
from world import EXAMPLE

from chassis.auth.dependencies import jwks, new_key, sign
from ingest.gateway import web_sessions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from world import World

SHOP = "https://shop.example.test"
MAIL = f"From: a@example.test\r\nSubject: {CANARY}\r\n\r\n{CANARY}\r\n"
SAID = {"id": "1", "text": CANARY, "contact": {"id": "7"}}
PAGE = {"text": f"Hello, {CANARY}"}


@dataclass(frozen=True)
class Entrance:
    """A way in, where it is, and what would be taken there."""

    way: Way
    path: str
    good: bytes
    elsewhere: str = ""
    """The same of an account that is not declared, where there are accounts."""

    def right(self, which: str) -> Attempt:
        """Show a secret as one should."""
        return Attempt(which, pairs(self.way.shown(which, self.good, time.time())), self.good)

    def attempts(self) -> Iterator[Attempt]:
        """Give everything that is tried here; each live secret is shown with half of the bodies."""
        now = time.time()
        for body, which in zip(BODIES.values(), (OLD, NEW, NEW, OLD), strict=True):
            yield from tampered(self.way, which, body, now)


@cache
def key(which: str) -> str:
    """Give a key of whoever issues tokens to programs."""
    return new_key()[0]


def _session(secret: str, body: bytes, now: float) -> dict[str, bytes]:
    at = datetime.fromtimestamp(now, UTC)
    mine = web_sessions.new_session("main", SHOP, str(UUID(int=1)), str(UUID(int=2)), at)
    token = web_sessions.sign(mine, secret)
    return {"origin": SHOP.encode(), "authorization": b"Bearer " + token.encode()}


def _program(secret: str, body: bytes, now: float) -> dict[str, bytes]:
    return {"authorization": b"Bearer " + sign(secret, "shop", ["integrator"]).encode()}


def _token(secret: str, body: bytes, now: float) -> dict[str, bytes]:
    return {"x-form-token": secret.encode()}


def entrances() -> list[Entrance]:
    """Give them all: the platforms', those of pages, and that of programs."""
    found = []
    for way in PLATFORMS:
        scheme = scheme_of(way)
        place = f"{{{scheme.account_parameter}}}"
        path = scheme.path.replace(place, "acme" if scheme.channel == "custom" else "main")
        bodies = {"email": MAIL.encode(), "custom": json.dumps(SAID).encode()}
        good = bodies.get(way.name) or door(way.name).case.bytes()
        found.append(Entrance(way, path, good, scheme.path.replace(place, "nowhere")))
    pages = (Way("form", _token, query="token"), Way("widget", _session))
    for way in pages:
        path = f"/channels/{way.name}"
        page = json.dumps(PAGE).encode()
        found.append(Entrance(way, f"{path}/main", page, f"{path}/nowhere"))
    submission = json.dumps({**PAGE, "contact": {}}).encode()
    return [*found, Entrance(Way("api", _program, secret=key), "/v1/requests", submission)]


def opened(world: World) -> str:
    """Give every account two live secrets, and the issuer of tokens two keys; the workspace so."""
    document = YAML(typ="safe", pure=True).load(EXAMPLE.read_text())
    for each in entrances():
        way = each.way
        if way.name == "api":
            world.jwks.write_text(jwks(key(OLD), key(NEW)))
            world.key = key(NEW)
            continue
        names = {f"{way.name}_{which}".upper().replace("-", "_"): which for which in (OLD, NEW)}
        world.environment |= {name: way.secret(which) for name, which in names.items()}
        scheme = scheme_of(way) if way in PLATFORMS else None
        channel, place = (scheme.channel, scheme.account_field) if scheme else (way.name, "secret")
        account = document["channels"][channel]["acme" if channel == "custom" else "main"]
        account[place] = [f"env:{name}" for name in names]
    document["limits"] = {"per_account": "100000/s", "per_visitor": "100000/s"}
    document["channels"]["email"]["main"]["per_sender"] = "100000/min"
    return json.dumps(document)
