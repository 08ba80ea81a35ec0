"""What is measured is explained, what is alarmed on is measured, and every rule is tried out."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from chassis.observability.metrics import REGISTRY

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/observability"
PAGE = (ROOT / "docs/operations.md").read_text()
ROW = re.compile(r"^\| `(trunkline_\w+)` \|([^|]*)\|[^|]+\|[^|]*\|$", re.MULTILINE)
KINDS = {"counter": "_total"}


def measured() -> dict[str, tuple[str, ...]]:
    """Every metric of ours by its name on the page, with its labels beyond `service`."""
    for service in ("ingest", "routing", "tickets", "sla", "notify"):
        importlib.import_module(f"{service}.app")
    found = {}
    for collector in REGISTRY._collector_to_names:
        for family in collector.describe() if hasattr(collector, "describe") else ():
            if family.name.startswith("trunkline_"):
                labels = collector._labelnames  # type: ignore[attr-defined]
                assert labels[0] == "service"
                found[family.name + KINDS.get(family.type, "")] = labels[1:]
    return found


def alerts() -> dict[str, str]:
    """Every rule's expression, by its name."""
    (group,) = YAML(typ="safe", pure=True).load((RULES / "rules.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def test_the_page_explains_every_metric_and_no_other() -> None:
    told = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in ROW.findall(PAGE)}

    assert told == measured()


def test_rules_are_documented_and_use_known_metrics() -> None:
    known = set(measured()) | {"up", "process_open_fds", "process_max_fds"}
    for name, expression in alerts().items():
        assert f"`{name.removeprefix('Trunkline')}`" in PAGE
        used = set(re.findall(r"\b(?:trunkline_\w+|process_\w+|up)\b", expression))
        assert used
        assert {each.removesuffix("_bucket") for each in used} <= known


def test_every_rule_is_tried_on_bad_figures_and_on_good_ones() -> None:
    tried = YAML(typ="safe", pure=True).load((RULES / "rules_test.yaml").read_text())["tests"]
    names = {test["name"] for test in tried}

    assert names == {f"{alert} {how}" for alert in alerts() for how in ("fires", "stays quiet")}


@pytest.mark.timeout(180)  # the first time, promtool is fetched
def test_the_rules_fire_when_they_should_and_stay_quiet_when_not() -> None:
    found = subprocess.run(
        [ROOT / ".ci/promtool"], text=True, capture_output=True, timeout=170, check=False
    )
    assert found.returncode == 0, f"promtool is not to be had; PROMTOOL names it: {found.stderr}"
    promtool = found.stdout.splitlines()[-1]
    for words in (("check", "rules", "rules.yaml"), ("test", "rules", "rules_test.yaml")):
        said = subprocess.run(
            [promtool, *words], cwd=RULES, text=True, capture_output=True, timeout=60, check=False
        )
        assert said.returncode == 0, said.stdout + said.stderr
