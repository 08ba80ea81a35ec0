"""The services' documents: whole, true to what they run on, and readable by others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fastapi.openapi.models import OpenAPI
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema

from trunkline_contracts import BY_NAME

ROOT = Path(__file__).parents[2]
SERVICES = ("ingest", "routing", "tickets", "sla", "notify")
ALWAYS_OPEN = {f"operations_{name}" for name in ("live", "ready", "measured", "asyncapi")}
HEARS = {
    "ingest": {"tickets"},
    "routing": {"tickets"},
    "tickets": {"ingest", "routing", "sla", "notify"},
    "sla": {"tickets"},
    "notify": {"tickets", "routing", "sla"},
}


def document(kind: str, service: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((ROOT / "docs" / kind / f"{service}.json").read_text())
    return told


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(to := node.get("$ref"), str):
            yield to
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from references(each)


def resolve(told: dict[str, Any], to: str) -> Any:
    """Follow a reference within a document."""
    found: Any = told
    for step in to.removeprefix("#/").split("/"):
        found = found[step]
    return found


def facts(told: dict[str, Any], action: str) -> set[str]:
    """The facts a service says or hears."""
    names = [name.partition(".") for name in told["operations"]]
    return {fact for what, _, fact in names if what == action and fact.startswith("trunkline.")}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("kind", ["asyncapi", "openapi"])
def test_every_reference_leads_somewhere(kind: str, service: str) -> None:
    told = document(kind, service)

    for to in references(told):
        assert resolve(told, to), to


@pytest.mark.parametrize("service", SERVICES)
def test_an_asyncapi_document_names_what_is_said_and_heard(service: str) -> None:
    told = document("asyncapi", service)
    read = ApplicationSchema.model_validate(told)

    assert read.asyncapi == "3.0.0"
    assert facts(told, "send") == {name for name in BY_NAME if name.split(".")[1] == service}
    assert {name.split(".")[1] for name in facts(told, "receive")} == HEARS[service]
    for name in facts(told, "send") | facts(told, "receive"):
        channel = told["channels"][name]
        assert channel["address"] == f"{name}.{{slot}}.{{{BY_NAME[name].key}}}"
        assert channel["x-stream"] == name.split(".")[1].upper()
        assert set(channel["parameters"]) == {"slot", BY_NAME[name].key}


def test_every_fact_that_is_heard_has_the_schema_its_owner_says() -> None:
    told = {service: document("asyncapi", service) for service in SERVICES}
    for service in SERVICES:
        for name in facts(told[service], "receive"):
            owner = told[name.split(".")[1]]
            schemas = told[service]["components"]["schemas"]
            assert schemas[name] == owner["components"]["schemas"][name]


@pytest.mark.parametrize("letter", sorted((ROOT / "libs/contracts/letters").glob("*.json")))
def test_real_messages_fit_what_the_documents_say(letter: Path) -> None:
    sent = json.loads(letter.read_text())
    told = document("asyncapi", sent["type"].split(".")[1])
    payload = resolve(told, f"#/components/messages/{sent['type']}/payload")

    jsonschema.validate(sent, {**payload, "components": told["components"]})


@pytest.mark.parametrize("service", SERVICES)
def test_an_openapi_document_says_who_may_ask_and_how_refusals_look(service: str) -> None:
    told = document("openapi", service)
    OpenAPI.model_validate(told)
    operations = [op for path in told["paths"].values() for op in path.values()]
    open_to_all = {op["operationId"] for op in operations if "security" not in op}

    assert told["info"]["description"]
    assert told["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert len({op["operationId"] for op in operations}) == len(operations)
    assert open_to_all >= ALWAYS_OPEN
    for op in operations:
        assert op["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
        refusals = [r for status, r in op["responses"].items() if status[0] in "45"]
        assert all("application/problem+json" in r["content"] for r in refusals)
    if service == "ingest":
        assert open_to_all >= {"door_telegram", "door_custom"}
        assert "requestBody" in told["paths"]["/channels/custom/{account}"]["post"]
    else:
        assert open_to_all == ALWAYS_OPEN
