"""Whatever the documents allow or forbid is answered as they say, and what is accepted is kept.

A few requests per address in `make test`, hundreds in `make soak`.
"""

from __future__ import annotations

import importlib
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pytest
from entrances import SHOP, entrances, opened
from fuzzing import FEW, MANY, try_out
from service_settings import settings_class
from tampering import NEW

from chassis.testing import eventually, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx
    from requests import PreparedRequest
    from taking_in import Ingest
    from world import World

OTHERS = ("routing", "tickets", "sla", "notify")


@dataclass(frozen=True)
class Size:
    """How much is tried: of strangers, and of those who are known to ingest and to the others."""

    strangers: dict[str, Any]
    ingest: dict[str, Any]
    others: dict[str, Any]
    least: tuple[int, int]


EVERYTHING = {"phases": ("examples", "coverage", "fuzzing", "stateful"), "examples": 200}
SIZES = [
    pytest.param(
        Size(
            strangers={"phases": ("fuzzing",), "examples": 2},
            ingest={"phases": ("coverage",), "modes": "negative"},
            others={"phases": ("coverage",), "modes": "positive"},
            least=FEW,
        ),
        id="few",
    ),
    pytest.param(Size(EVERYTHING, EVERYTHING, EVERYTHING, MANY), id="many", marks=pytest.mark.soak),
]
SHOWN = ("positive_data_acceptance", "missing_required_header")
"""What does not hold for who is known: the workspace forbids more than a document can, and what
opens a door is added to every request."""


@pytest.fixture
def workspace(world: World) -> str:
    """Every account has its secrets."""
    return opened(world)


def showing(world: World) -> Callable[[PreparedRequest], PreparedRequest]:
    """Show what each door asks for; elsewhere an administrator's token."""
    doors = {each.path: each.way for each in entrances()}

    def show(request: PreparedRequest) -> PreparedRequest:
        path = urlsplit(str(request.url)).path
        way = doors.get(path)
        body = request.body or b""
        body = body if isinstance(body, bytes) else str(body).encode()
        if path.endswith("/session"):
            request.headers["Origin"] = SHOP
        elif way is None:
            request.headers.update(world.token("administrator"))
        else:
            if way.query:  # shown in both places, it is shown in none
                asked = urlsplit(str(request.url))
                kept = [each for each in parse_qsl(asked.query) if each[0] != way.query]
                request.url = urlunsplit(asked._replace(query=urlencode(kept)))
            shown = way.shown(NEW, body, time.time())
            request.headers.update({name: value.decode() for name, value in shown.items()})
        return request

    return show


@pytest.mark.parametrize("size", SIZES)
async def test_whatever_the_door_is_sent(ingest: Ingest, size: Size) -> None:
    app, doors = ingest.apps[0], ("/channels/", "/messengers_host/", "/v1/requests")
    before = await ingest.world.kept("ingest")

    strangers = await try_out(app, **size.strangers)

    assert strangers.wrong == {}
    assert min(strangers.statuses("POST PUT DELETE PATCH")) >= 400
    assert min(strangers.statuses(below="/v1/")) >= 400
    assert await ingest.world.kept("ingest") == before
    known = await try_out(app, showing(ingest.world), unasked=SHOWN, **size.ingest)
    assert known.wrong == {}
    accepted = sum(
        number
        for (method, path, status), number in known.answers.items()
        if method == "POST" and path.startswith(doors) and status in (200, 202)
    )
    assert accepted > 50
    ledger = await ingest.ledger()
    assert (ledger["accepted"], ledger["balanced"]) == (accepted, True)
    assert ledger["outcomes"]["parked"] == 0
    assert await ingest.stored() >= accepted
    assert strangers.cases + known.cases > size.least[0]


def ready(http: httpx.AsyncClient) -> Callable[[], Awaitable[bool]]:
    async def there() -> bool:
        return (await http.get("/health/ready")).status_code == 200

    return there


async def kept(world: World, name: str) -> dict[str, int]:
    """Count what a service keeps; which operators there are, it has from the workspace."""
    return {**await world.kept(name), "operators": 0}


@pytest.mark.parametrize("size", SIZES)
async def test_whatever_the_others_are_asked(world: World, size: Size) -> None:
    await world.apply()
    cases = 0
    async with AsyncExitStack() as stack:
        for name in OTHERS:
            kind = settings_class(name)
            app = importlib.import_module(f"{name}.app").make(world.settings(name, kind))
            await eventually(ready(await stack.enter_async_context(running(app))))
            before = await kept(world, name)
            strangers = await try_out(app, **size.strangers)
            assert strangers.wrong == {}, name
            assert min(strangers.statuses(below="/v1/")) >= 400, name
            assert await kept(world, name) == before
            known = await try_out(app, showing(world), unasked=SHOWN, **size.others)
            assert known.wrong == {}, name
            cases += strangers.cases + known.cases
    assert cases > size.least[1]
