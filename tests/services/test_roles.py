"""Every address of the five services, tried with every role, does what the roles table says."""

from __future__ import annotations

import importlib
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from granting import OTHERS, PUBLIC, ROLES, ROWS, SERVICES, STRANGER, Row
from ruamel.yaml import YAML
from service_settings import settings_class
from world import EXAMPLE

from chassis.testing import eventually, running

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    import httpx
    from fastapi import FastAPI
    from world import World

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass
class Shop:
    """All five services, one request that anna holds and one that waits for finance."""

    world: World
    apps: dict[str, FastAPI]
    http: dict[str, httpx.AsyncClient]
    names: dict[str, str]
    """What the places of addresses stand for."""

    async def ask(self, row: Row, role: str | None, subject: str) -> httpx.Response:
        """Send a row's request as somebody; without a role, with no token."""
        operator = row.owner(role or "") if row.owner(role or "") in self.members else "anna"
        names = {**self.names, "operator": operator, "watcher": subject}
        if row.waits:
            names["request_id"] = self.names["waiting"]
        names["contact"] = f"{role}@banned.test"
        return await self.http[row.service].request(
            row.method,
            (row.path + row.query).format(**names),
            headers={} if role is None else self.world.token(role, subject=subject),
            json=row.body,
        )

    members = frozenset({"anna", "bohdan", "olena", STRANGER})

    def has(self, row: Row, answer: httpx.Response) -> bool:
        """Return whether the thing asked for was reached; refuses to judge a wrong request."""
        assert answer.status_code not in (400, 405, 415, 422), (row.name, answer.text)
        assert answer.status_code < 500, (row.name, answer.text)
        if answer.status_code == 404:
            return row.missing
        if row.listed and answer.status_code == 200:
            return f'"{row.listed.format(**self.names)}"' in answer.text
        return answer.status_code not in (401, 403)

    async def found(self, row: Row, role: str) -> str:
        """Return which grant a role really has."""
        stranger = await self.ask(row, role, row.stranger(role))
        if self.has(row, stranger):
            return "all"
        refused = (403, *row.absent, *((200,) if row.listed else ()))
        assert stranger.status_code in refused, (row.name, role, stranger.text)
        owner = await self.ask(row, role, row.owner(role))
        return "own" if self.has(row, owner) else "-"

    async def differences(self, rows: Sequence[Row]) -> dict[tuple[str, str], str]:
        """Return, by row and role, the grants that are not what the table says."""
        wrong = {}
        for row in rows:
            assert (await self.ask(row, None, "nobody")).status_code == 401, row.name
            for role, grant in zip(ROLES, row.grants, strict=True):
                found = await self.found(row, role)
                if found != grant:
                    wrong[row.name, role] = found
        return wrong


def with_a_stranger() -> str:
    """Return the example workspace with one more group, of nobody else's."""
    document = YAML(typ="safe", pure=True).load(EXAMPLE.read_text())
    document["operators"][STRANGER] = {"email": "zoe@example.test", "limit": 1}
    document["groups"]["elsewhere"] = {"operators": [STRANGER], "calendar": "always"}
    return json.dumps(document)


@pytest.fixture
async def shop(world: World) -> AsyncGenerator[Shop]:
    await world.apply(with_a_stranger())
    async with AsyncExitStack() as stack:
        apps, http = {}, {}
        for name in SERVICES:
            settings = world.settings(name, settings_class(name))
            apps[name] = importlib.import_module(f"{name}.app").make(settings)
            http[name] = await stack.enter_async_context(running(apps[name]))
        made = Shop(world, apps, http, {"id": "audit", "parked_id": "1", "name": "x"})
        await furnish(made)
        yield made


async def furnish(shop: Shop) -> None:
    """Have a request held by anna, one that waits, and a ban for each role."""
    admin = shop.world.token("administrator", subject="administrator")

    async def status(path: str, service: str) -> bool:
        return (await shop.http[service].get(path, headers=admin)).status_code == 200

    async def online() -> bool:
        answer = await shop.http["routing"].put(
            "/v1/operators/anna/presence", json={"status": "online"}, headers=admin
        )
        return answer.status_code == 200

    await eventually(online)
    for name, topic in (("request_id", "general"), ("waiting", "billing")):
        body = {"text": "hi", "topic": topic, "contact": {"id": name}}
        token = shop.world.token("integrator", subject="acme")

        async def accepted(body: Any = body, token: Any = token) -> httpx.Response | None:
            answer = await shop.http["ingest"].post("/v1/requests", json=body, headers=token)
            return answer if answer.status_code == 202 else None

        answer = await eventually(accepted)
        assert answer is not None
        inbound_id = answer.json()["inbound_id"]

        async def opened(inbound_id: str = inbound_id) -> str | None:
            path = f"/v1/inbound/{inbound_id}"
            told = (await shop.http["ingest"].get(path, headers=admin)).json()
            return str(told["request_id"]) if told["request_id"] else None

        shop.names[name] = str(await eventually(opened))
        shop.names.setdefault("inbound_id", inbound_id)

    async def held() -> bool:
        path = f"/v1/requests/{shop.names['request_id']}"
        told = (await shop.http["tickets"].get(path, headers=admin)).json()
        bell = await shop.http["notify"].get("/v1/operators/anna/notifications", headers=admin)
        return bool(told.get("assignee") == "anna" and bell.json()["items"])

    await eventually(held)
    await eventually(lambda: status(f"/v1/requests/{shop.names['request_id']}/clocks", "sla"))
    await eventually(lambda: status(f"/v1/queue/{shop.names['waiting']}", "routing"))
    for role in ROLES:
        path = f"/v1/bans/{role}@banned.test"
        await shop.http["ingest"].put(path, json={}, headers=admin)


async def test_every_address_grants_what_the_table_says(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = {(row.service, row.method, row.path) for row in ROWS} | set(OTHERS)
    there: set[tuple[str, str, str]] = set()
    for service, app in shop.apps.items():
        for path, operations in app.openapi()["paths"].items():
            there |= {(service, each.upper(), path) for each in operations if each in METHODS}
    assert there == declared
    bell = [row for row in ROWS if row.path.endswith("/notifications")]
    with monkeypatch.context() as patched:  # the control: one grant is widened
        patched.setattr("notify.api.routes.require_own_bell", lambda *_: None)
        widened = await shop.differences(bell)
    assert widened == {(bell[0].name, role): "all" for role in ("operator", "light_agent")}

    assert await shop.differences(ROWS) == {}
    for (service, method, path), kind in OTHERS.items():
        await check_without_roles(shop, Row(service, method, path, ()), kind)


async def check_without_roles(shop: Shop, row: Row, kind: str) -> None:
    """Assert that an address where roles say nothing answers everybody, or no token."""
    path = row.path.format(account="main", bot_id="main")
    asked = replace(row, path=path, body={"text": "hi"} if row.method == "POST" else None)
    if kind == PUBLIC:  # the example has no form, and a replica may not be ready yet
        assert (await shop.ask(asked, None, "nobody")).status_code in (200, 404, 503), row.name
        return
    for role in ROLES:
        answer = await shop.ask(asked, role, "acme")
        assert answer.status_code in (401, 403), (row.name, role, answer.text)
