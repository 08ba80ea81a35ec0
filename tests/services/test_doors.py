"""The endpoints of platforms on real servers: their secrets, and Meta's subscriptions.

Rules common to all endpoints are in test_every_door.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from knocking import DOORS, GONE, HANDSHAKES, NEW, OLD, environment, rotating

from ingest.gateway.endpoints import ENDPOINTS

if TYPE_CHECKING:
    import httpx
    from taking_in import Ingest
    from world import World


@pytest.fixture
def workspace(world: World) -> str:
    """Every secret has two live versions."""
    world.environment |= environment()
    return rotating()


def test_endpoints_of_platforms_are_all_covered() -> None:
    assert {each.name for each in ENDPOINTS} - {"custom", "email"} == {door.name for door in DOORS}


async def test_delivery_with_each_secret_in_force_opens_a_request(
    ingest: Ingest, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for door in DOORS:
        before = await ingest.stored()
        other = next(each for each in DOORS if each.variable != door.variable)
        unknown = [
            await door.knock(ingest.http, secret=door.secret(GONE)),
            await door.knock(ingest.http, secret=other.secret(NEW)),
            await door.knock(ingest.http, secret=""),
            await ingest.http.post(door.path, content=door.case.bytes()),
            await door.knock(ingest.http, path=door.path.replace("main", "x").replace("acme", "x")),
        ]
        assert [answer.status_code for answer in unknown] == [401] * 5, door.name
        assert await ingest.stored() == before

        first = await ingest.outcome(await door.knock(ingest.http, secret=door.secret(OLD)))
        again = await ingest.outcome(await door.knock(ingest.http, secret=door.secret(NEW)))
        assert (first["outcome"], first["threaded_by"]) == ("opened", "new"), door.name
        assert (again["outcome"], again["request_id"]) == ("duplicate", first["request_id"])
        opened = (await ingest.said("request_opened"))[-1]
        (item,) = door.case.told["items"]
        assert opened["message"]["text"] == item["text"]
        assert opened["conversation"] == item["conversation"]
        assert opened["contact"]["address"] == item["person"]["address"]
        assert opened["contact"]["name"] == item["person"].get("name")

    told = caplog.text + "".join(capfd.readouterr())
    assert not [door.name for door in DOORS if door.case.told["items"][0]["text"] in told]
    assert (await ingest.ledger())["balanced"]


async def test_account_without_a_secret_accepts_nothing(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in environment():
        monkeypatch.setenv(name, "")
    for secret in ("", None):
        answers = [await door.knock(ingest.http, secret=secret) for door in DOORS]
        assert [answer.status_code for answer in answers] == [401] * len(DOORS)
    for name in environment():
        monkeypatch.delenv(name)
    answers = [await door.knock(ingest.http) for door in DOORS]
    assert [answer.status_code for answer in answers] == [401] * len(DOORS)
    asked = [await ask(ingest, name, **{"hub.verify_token": ""}) for name in HANDSHAKES]
    assert [answer.status_code for answer in asked] == [403] * len(HANDSHAKES)
    assert await ingest.stored() == 0


async def ask(ingest: Ingest, channel: str, path: str = "", **other: Any) -> httpx.Response:
    """Verify a subscription as Meta does; `other` replaces parameters."""
    asked = {
        "hub.mode": "subscribe",
        "hub.verify_token": f"{channel}_main_verify-{NEW}",
        "hub.challenge": "1158201444",
    } | other
    known = {name: value for name, value in asked.items() if value is not None}
    return await ingest.http.get(path or f"/channels/{channel}/main", params=known)


async def test_subscription_with_the_verify_token_gets_the_challenge(ingest: Ingest) -> None:
    for channel in HANDSHAKES:
        for age in (NEW, OLD):
            good = await ask(
                ingest, channel, **{"hub.verify_token": f"{channel}_main_verify-{age}"}
            )
            assert (good.status_code, good.text) == (200, "1158201444")
        for challenge in ("<script>alert(1)</script>", "x" * 10_240, "Так"):
            odd = await ask(ingest, channel, **{"hub.challenge": challenge})
            assert (odd.status_code, odd.text) == (200, challenge)
            assert odd.headers["content-type"].startswith("text/plain")
            assert odd.headers["x-content-type-options"] == "nosniff"
        token = f"{channel}_main_verify-{NEW}"
        wrong: list[dict[str, Any]] = [
            {"hub.mode": "unsubscribe"}, {"hub.mode": None}, {"hub.mode": ["subscribe"] * 2},
            {"hub.verify_token": "guessed"}, {"hub.verify_token": ""}, {"hub.verify_token": None},
            {"hub.verify_token": token[:-1]}, {"hub.verify_token": token.upper()},
            {"hub.verify_token": [token, "guessed"]}, {"hub.verify_token": "секрет"},
            {"hub.challenge": None}, {"hub.challenge": ""}, {"hub.challenge": ["1", "2"]},
            {"path": f"/channels/{channel}/nobody"},
        ]  # fmt: skip
        for other in wrong:
            refused = await ask(ingest, channel, **other)
            assert refused.status_code == 403, other
            assert "1158201444" not in refused.text
    others = [door for door in DOORS if door.name not in HANDSHAKES]
    answers = [await ingest.http.get(door.path) for door in others]
    assert [answer.status_code for answer in answers] == [405] * len(others)
    assert await ingest.stored() == 0
