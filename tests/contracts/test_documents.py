"""The OpenAPI and AsyncAPI documents are complete, and match the facts and sample messages."""

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
CONSUMED_SERVICES = {
    "ingest": {"tickets"},
    "routing": {"tickets"},
    "tickets": {"ingest", "routing", "sla", "notify"},
    "sla": {"tickets"},
    "notify": {"tickets", "routing", "sla"},
}


def document(kind: str, service: str) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((ROOT / "docs" / kind / f"{service}.json").read_text())
    return spec


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(to := node.get("$ref"), str):
            yield to
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from references(each)


def resolve(spec: dict[str, Any], to: str) -> Any:
    """Return the target of a reference within a document."""
    found: Any = spec
    for step in to.removeprefix("#/").split("/"):
        found = found[step]
    return found


def facts(spec: dict[str, Any], action: str) -> set[str]:
    """Return the facts a service sends or receives."""
    names = [name.partition(".") for name in spec["operations"]]
    return {fact for what, _, fact in names if what == action and fact.startswith("trunkline.")}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("kind", ["asyncapi", "openapi"])
def test_every_reference_resolves(kind: str, service: str) -> None:
    spec = document(kind, service)

    for to in references(spec):
        assert resolve(spec, to), to


@pytest.mark.parametrize("service", SERVICES)
def test_asyncapi_lists_published_and_consumed_facts(service: str) -> None:
    spec = document("asyncapi", service)
    read = ApplicationSchema.model_validate(spec)

    assert read.asyncapi == "3.0.0"
    assert facts(spec, "send") == {name for name in BY_NAME if name.split(".")[1] == service}
    assert {name.split(".")[1] for name in facts(spec, "receive")} == CONSUMED_SERVICES[service]
    for name in facts(spec, "send") | facts(spec, "receive"):
        channel = spec["channels"][name]
        assert channel["address"] == f"{name}.{{slot}}.{{{BY_NAME[name].key}}}"
        assert channel["x-stream"] == name.split(".")[1].upper()
        assert set(channel["parameters"]) == {"slot", BY_NAME[name].key}


def test_consumed_facts_have_the_publishers_schema() -> None:
    spec = {service: document("asyncapi", service) for service in SERVICES}
    for service in SERVICES:
        for name in facts(spec[service], "receive"):
            owner = spec[name.split(".")[1]]
            schemas = spec[service]["components"]["schemas"]
            assert schemas[name] == owner["components"]["schemas"][name]


@pytest.mark.parametrize("letter", sorted((ROOT / "libs/contracts/letters").glob("*.json")))
def test_sample_messages_match_asyncapi(letter: Path) -> None:
    sent = json.loads(letter.read_text())
    spec = document("asyncapi", sent["type"].split(".")[1])
    payload = resolve(spec, f"#/components/messages/{sent['type']}/payload")

    jsonschema.validate(sent, {**payload, "components": spec["components"]})


@pytest.mark.parametrize("service", SERVICES)
def test_openapi_has_security_and_problem_responses(service: str) -> None:
    spec = document("openapi", service)
    OpenAPI.model_validate(spec)
    operations = [op for path in spec["paths"].values() for op in path.values()]
    open_to_all = {op["operationId"] for op in operations if "security" not in op}

    assert spec["info"]["description"]
    assert spec["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert len({op["operationId"] for op in operations}) == len(operations)
    assert open_to_all >= ALWAYS_OPEN
    for op in operations:
        assert op["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
        refusals = [r for status, r in op["responses"].items() if status[0] in "45"]
        assert all("application/problem+json" in r["content"] for r in refusals)
    if service == "ingest":
        assert open_to_all >= {"door_telegram", "door_custom"}
        assert "requestBody" in spec["paths"]["/channels/custom/{account}"]["post"]
    else:
        assert open_to_all == ALWAYS_OPEN
