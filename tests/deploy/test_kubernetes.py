"""The manifests: every service the same way, told what it understands, given what is its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from service_settings import settings_class

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy/k8s"
SERVICES = ("ingest", "routing", "tickets", "sla", "notify")


def documents(name: str) -> list[dict[str, Any]]:
    return list(YAML(typ="safe", pure=True).load_all((MANIFESTS / name).read_text()))


def test_everything_that_is_named_is_there() -> None:
    (kustomization,) = documents("kustomization.yaml")
    named = set(kustomization["resources"]) | {"keda.yaml", "kustomization.yaml"}

    assert named == {path.name for path in MANIFESTS.glob("*.yaml")}


@pytest.mark.parametrize("service", SERVICES)
def test_deployment_has_probes_drain_and_known_settings(service: str) -> None:
    deployment, address, budget = documents(f"{service}.yaml")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    fields = settings_class(service).model_fields
    (addresses,) = documents("addresses.yaml")
    told = {*addresses["data"], *(each["name"] for each in container.get("env", []))}

    assert told <= {name.upper() for name in fields} | {"DATABASE_URL"}
    assert container["args"] == ["serve", service, "--data", "/run/trunkline"]
    ready = "/health/door" if container["name"] == "ingest" else "/health/ready"
    assert container["readinessProbe"]["httpGet"]["path"] == ready
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert pod["terminationGracePeriodSeconds"] >= 5 + 10 + 5
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        address["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
    ):
        assert selector == labels
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_secrets_are_mounted_only_where_they_are_used() -> None:
    script = (MANIFESTS / "secrets.sh").read_text()
    brought = {*SERVICES, *re.findall(r"^secret ([a-z-]+)", script, re.MULTILINE)}
    settled = {"addresses", *re.findall(r"^config ([a-z-]+)", script, re.MULTILINE)}
    volumes = [
        volume
        for name in (*SERVICES, "provision")
        for volume in documents(f"{name}.yaml")[0]["spec"]["template"]["spec"]["volumes"]
    ]

    assert {each["secret"]["secretName"] for each in volumes if "secret" in each} == brought
    used = {each["configMap"]["name"] for each in volumes if "configMap" in each}
    assert used | {"addresses"} == settled
