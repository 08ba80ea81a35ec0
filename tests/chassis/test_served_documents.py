"""The OpenAPI and AsyncAPI documents are built once, however often they are requested."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from chassis import app as assembly
from chassis.messaging.reader import Reader
from chassis.settings import Settings
from chassis.web.asyncapi import describe_service

DOCS = Path(__file__).parents[2] / "docs"
SERVICES = ("ingest", "routing", "tickets", "sla", "notify")


async def responses(app: FastAPI, path: str, count: int) -> list[bytes]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        found = [await client.get(path) for _ in range(count)]
    assert {(each.status_code, each.headers["content-type"]) for each in found} == {
        (200, "application/json")
    }
    return [each.content for each in found]


async def ignore(*_: Any) -> None:
    """Apply nothing."""


async def test_asyncapi_is_built_once_per_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def describe(name: str, *args: Any, **more: Any) -> dict[str, Any]:
        calls.append(name)
        return describe_service(name, *args, **more)

    monkeypatch.setattr(assembly, "describe_service", describe)
    monkeypatch.delitem(sys.modules, "sla", raising=False)  # its docstring would be described, too
    app = assembly.build("sla", Settings())
    before = await responses(app, "/asyncapi", 3)
    assert calls == ["sla"]

    readers = [Reader("TICKETS", ignore)]
    app.state.service.readers = readers
    after = await responses(app, "/asyncapi", 3)

    assert calls == ["sla", "sla"]
    assert set(before) == {encoded(describe_service("sla", []))}
    assert set(after) == {encoded(describe_service("sla", readers))}
    assert before[0] != after[0]


def encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


async def test_openapi_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    app = assembly.build("sla", Settings())
    calls: list[int] = []
    build = app.openapi

    def openapi() -> dict[str, Any]:
        calls.append(1)
        return build()

    monkeypatch.setattr(app, "openapi", openapi)
    found = await responses(app, "/openapi.json", 3)

    assert calls == [1]
    assert set(found) == {encoded(build())}


@pytest.mark.parametrize("service", SERVICES)
async def test_served_openapi_is_the_committed_one(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INBOUND_KEY", "0123456789abcdef0123456789abcdef")
    app = importlib.import_module(f"{service}.app").app
    (body,) = await responses(app, "/openapi.json", 1)

    assert json.loads(body) == json.loads((DOCS / "openapi" / f"{service}.json").read_text("utf-8"))
