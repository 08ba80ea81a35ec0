"""READERS: what is provisioned and what services are told are one number."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from trunkline import instance
from trunkline.instance import Instance
from trunkline.places import CannotStart
from trunkline.provision import plan

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    monkeypatch.delenv("READERS", raising=False)
    return Instance(tmp_path)


def test_readers_are_what_the_environment_says(
    here: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here.data / "run.json").write_text(json.dumps({"readers": "2"}))
    remembered = here.plan.groups("sla")
    monkeypatch.setenv("READERS", "8")

    assert (remembered, here.plan.groups("sla")) == ([2], [8])
    assert {len(each.slots) for each in here.plan.consumers()} == {2}


def test_readers_of_one_service_are_what_the_file_says(
    here: Instance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(instance, "service_dsn", lambda *_: "postgresql://")
    file = tmp_path / "provision.yaml"
    text = instance.PLAN.read_text().replace("readers: {}", "readers: {sla: [2, 4]}")
    file.write_text(text)
    monkeypatch.setattr(instance, "PLAN", file)

    assert plan.read_plan(file).groups("sla") == [2, 4]
    assert (here.plan.groups("sla"), here.plan.groups("notify")) == ([2, 4], [1])
    assert here.environment("sla")["READERS"] == "4"
    assert here.environment("notify")["READERS"] == "1"
    monkeypatch.setenv("READERS", "2")
    assert here.environment("sla")["READERS"] == here.environment("notify")["READERS"] == "2"
    monkeypatch.setenv("READERS", "8")
    assert here.environment("sla")["READERS"] == "4"


def test_readers_that_split_nothing_evenly_are_refused(
    here: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READERS", "3")

    with pytest.raises(CannotStart, match="READERS must be one of 1, 2, 4, 8, 16, not 3"):
        here.plan  # noqa: B018  made when it is asked for
