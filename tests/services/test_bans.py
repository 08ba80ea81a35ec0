"""Bans on real servers, and the ledger and what is parked by account."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nats.js.api import StreamConfig
from taking_in import Ingest, update

from chassis.testing import eventually
from ingest.channels import registry


async def outcomes(ingest: Ingest, *bodies: dict[str, Any]) -> list[tuple[str, str | None]]:
    told = [await ingest.outcome(await ingest.post(body)) for body in bodies]
    return [(each["outcome"], each["reason"]) for each in told]


async def ban(ingest: Ingest, whom: str, replica: int = 0, **more: Any) -> int:
    answer = await ingest.replicas[replica].put(f"/v1/bans/{whom}", headers=ingest.boss, **more)
    return answer.status_code


@pytest.mark.parametrize("by", ["contact", "7", "telegram:7"])
async def test_the_banned_are_rejected_and_nothing_is_lost(ingest: Ingest, by: str) -> None:
    await ingest.outcome(await ingest.post(update(1)))
    (opened,) = await ingest.said("request_opened")
    whom = opened["contact"]["id"] if by == "contact" else by

    assert await ban(ingest, whom, json={"reason": "spam"}) == 201
    assert await outcomes(ingest, update(2), update(2), update(3, chat=8)) == [
        ("rejected", "banned"), ("duplicate", None), ("opened", None),
    ]  # fmt: skip
    assert await ban(ingest, whom) == 200

    lifted = await ingest.http.delete(f"/v1/bans/{whom}", headers=ingest.boss)
    assert lifted.status_code == 204
    assert await outcomes(ingest, update(4)) == [("appended", None)]
    assert len(await ingest.said("message_rejected")) == 1
    ledger = await ingest.ledger()
    assert (ledger["outcomes"]["rejected"], ledger["balanced"]) == (1, True)


async def test_a_ban_holds_at_once_whoever_set_it(ingest: Ingest) -> None:
    """The replica that takes in knows of it with the next batch, whichever it is."""
    await ingest.start()

    for n in range(1, 6):
        assert await ban(ingest, str(n), replica=n % 2) == 201
        assert await outcomes(ingest, update(n, chat=n)) == [("rejected", "banned")]


async def test_from_a_banned_network_nothing_is_taken(ingest: Ingest) -> None:
    await ingest.start()
    assert (await ingest.post(update(1))).status_code == 200
    before = await ingest.stored()

    assert await ban(ingest, "127.0.0.0/8") == 201

    answer = await ingest.post(update(2))
    assert (answer.status_code, answer.json()["type"]) == (403, "banned")
    assert (await ingest.post(b"unread", None)).status_code == 403
    assert (await ingest.submit({"text": "x", "contact": {}})).status_code == 403
    assert await ingest.stored() == before

    async def everywhere() -> bool:
        return (await ingest.post(update(3), replica=1)).status_code == 403

    await eventually(everywhere)
    after = await ingest.stored()
    for replica in (0, 1):
        assert (await ingest.post(update(4), replica=replica)).status_code == 403
    assert await ingest.stored() == after

    shown = await ingest.http.get("/v1/bans/127.0.0.9/8", headers=ingest.boss)
    assert (shown.json()["what"], shown.json()["contact"]) == ("network", "127.0.0.0/8")
    gone = await ingest.http.delete("/v1/bans/127.0.0.0%2F8", headers=ingest.boss)
    assert gone.status_code == 204
    assert (await ingest.post(update(5))).status_code == 200


async def test_a_network_is_banned_and_lifted_however_it_is_written(ingest: Ingest) -> None:
    assert await ban(ingest, "::ffff:127.0.0.0/104") == 201
    assert (await ingest.post(update(1))).status_code == 403
    assert await ban(ingest, "127.0.0.1/8") == 200
    shown = await ingest.http.get("/v1/bans/::FFFF:127.0.0.9%2F104", headers=ingest.boss)
    assert (shown.json()["what"], shown.json()["contact"]) == ("network", "127.0.0.0/8")

    gone = await ingest.http.delete("/v1/bans/::ffff:127.0.0.0/104", headers=ingest.boss)
    assert gone.status_code == 204
    assert (await ingest.post(update(2))).status_code == 200


async def test_ban_stored_in_another_form_holds_and_is_lifted(ingest: Ingest) -> None:
    await ingest.world.sql(
        "ingest",
        "INSERT INTO ban VALUES ('::ffff:7f00:0/104', 'network', NULL, 'tester', now())",
    )
    await ingest.world.sql("ingest", "UPDATE ban_version SET version = version + 1")

    async def holds() -> bool:
        return (await ingest.post(update(1))).status_code == 403

    await eventually(holds)
    [listed] = (await ingest.http.get("/v1/bans", headers=ingest.boss)).json()["items"]
    shown = await ingest.http.get(f"/v1/bans/{listed['contact']}", headers=ingest.boss)
    assert shown.json() == listed
    gone = await ingest.http.delete(f"/v1/bans/{listed['contact']}", headers=ingest.boss)
    assert gone.status_code == 204
    assert (await ingest.post(update(2))).status_code == 200


async def test_bans_are_listed(ingest: Ingest) -> None:
    for whom in ("b@x.test", "a@x.test", "10.0.0.0/8"):
        await ban(ingest, whom, json={"reason": "spam"})

    async def page(**asked: Any) -> dict[str, Any]:
        answer = await ingest.http.get("/v1/bans", headers=ingest.boss, params=asked)
        found: dict[str, Any] = answer.json()
        return found

    first = await page(limit=2)
    rest = await page(limit=2, cursor=first["next"])
    assert [each["contact"] for each in (*first["items"], *rest["items"])] == [
        "10.0.0.0/8", "a@x.test", "b@x.test",
    ]  # fmt: skip
    assert rest["next"] is None
    told = {key: first["items"][1][key] for key in ("what", "reason", "by")}
    assert told == {"what": "address", "reason": "spam", "by": "tester"}
    one = await ingest.http.get("/v1/bans/A@X.test", headers=ingest.boss)
    assert one.json() == first["items"][1]


async def test_who_may_ban_and_what(ingest: Ingest) -> None:
    for role, status in (
        ("administrator", 404), ("supervisor", 404), ("operator", 403), ("light_agent", 403),
        ("integrator", 403), ("analyst", 403),
    ):  # fmt: skip
        token = ingest.world.token(role)
        for method in ("GET", "DELETE"):
            answer = await ingest.http.request(method, "/v1/bans/nobody", headers=token)
            assert answer.status_code == status
        listed = await ingest.http.get("/v1/bans", headers=token)
        assert (listed.status_code == 200) is (status == 404)
    assert (await ingest.http.put("/v1/bans/x")).status_code == 401
    assert await ban(ingest, "x" * 300) == 422
    assert await ban(ingest, "a%00b") == 422
    assert await ban(ingest, "x", json={"reason": "y" * 501}) == 422


async def test_the_ledger_and_what_is_parked_by_account(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = registry.PARSERS["telegram"]

    def failing(raw: Any) -> Any:
        if b"bad" in raw.body:
            raise ZeroDivisionError
        return true(raw)

    monkeypatch.setattr(registry, "PARSERS", {**registry.PARSERS, "telegram": failing})
    await ingest.outcome(await ingest.post(update(1)))
    await ingest.outcome(await ingest.post(update(2, text="bad")))
    await ingest.outcome(await ingest.submit({"text": "x", "contact": {}}))

    async def of(path: str, **asked: str) -> dict[str, Any]:
        answer = await ingest.http.get(path, headers=ingest.boss, params=asked)
        found: dict[str, Any] = answer.json()
        return found

    for asked, accepted in (
        ({"account": "main"}, 2), ({"account": "shop"}, 1), ({"channel": "telegram"}, 2),
        ({"channel": "api", "account": "shop"}, 1), ({"channel": "api", "account": "main"}, 0),
    ):  # fmt: skip
        told = await of("/v1/ledger", **asked)
        assert told["accepted"] == sum(each["accepted"] for each in told["accounts"]) == accepted
    assert (await of("/v1/ledger", account="main"))["outcomes"]["parked"] == 1
    for asked, parked in (
        ({"account": "main"}, 1), ({"account": "shop"}, 0), ({}, 1), ({"channel": "telegram"}, 1),
        ({"channel": "viber", "account": "main"}, 0), ({"account": "odd name. *"}, 0),
    ):  # fmt: skip
        assert len((await of("/v1/parked", **asked))["items"]) == parked


async def test_redelivery_after_broker_window_is_a_duplicate(ingest: Ingest) -> None:
    """The broker forgets what it was given after a while, the database never."""
    first = await ingest.outcome(await ingest.post(update(1)))
    nc = await ingest.world.as_admin()
    try:
        js = nc.jetstream()
        config: StreamConfig = (await js.stream_info("INBOUND")).config
        config.duplicate_window = 0.1
        await js.update_stream(config)
        stored = await js.get_msg("INBOUND", 1)

        async def forgotten() -> bool:
            ack = await js.publish(stored.subject or "", stored.data or b"", headers=stored.headers)
            return not ack.duplicate

        await eventually(forgotten)  # what the broker was given is given again, and taken
        await asyncio.gather(*(forgotten() for _ in range(5)))
    finally:
        await nc.close()

    again = await ingest.outcome(await ingest.post(update(1)))
    ledger = await ingest.ledger()
    assert (again["outcome"], again["request_id"]) == ("duplicate", first["request_id"])
    assert len(await ingest.said("request_opened")) == 1
    assert (ledger["outcomes"]["opened"], ledger["outcomes"]["duplicate"]) == (
        1, ledger["accepted"] - 1,
    )  # fmt: skip
    assert ledger["accepted"] == ledger["taken_in"] >= 3
    assert ledger["balanced"]
