"""The demo: a whole day in seconds, on an instance of its own, and nothing left behind."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from desk import soon

from trunkline.demo.day import CHANNELS, plan, workspace
from trunkline.instance import NATS, POSTGRES, SERVICE_PORTS, read_state
from trunkline_workspace.reading import load

if TYPE_CHECKING:
    from pathlib import Path

BOXED = re.compile(r"^│ (\w+)\s+│\s+(\d+) │", re.MULTILINE)


@pytest.mark.timeout(120)  # a whole instance is started, on machines that may be busy
def test_a_short_day_ends_closed_and_balanced_and_leaves_nothing(tmp_path: Path) -> None:
    elsewhere = {"NATS_URL": "nats://nowhere.test:1", "DATABASE_URL": "postgresql://nowhere.test"}
    day = subprocess.run(
        [sys.executable, "-m", "trunkline", "demo", "--seconds", "10", "--seed", "3"],
        env={**os.environ, **elsewhere, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip

    assert day.returncode == 0, day.stdout + day.stderr
    assert day.stderr == ""
    assert day.stdout.rstrip().endswith("everything is closed, and the ledger balances")
    requests = dict(BOXED.findall(day.stdout))
    assert {*requests} == {*CHANNELS, "all"}
    assert all(int(number) > 0 for number in requests.values())
    assert len(re.findall(r" target_breached ", day.stdout)) == 1
    assert "1 target breached" in day.stdout
    assert "delivered, 0 not" in day.stdout
    assert re.search(r" operator_presence_changed +olena +online → away ", day.stdout)
    assert "\x1b" not in day.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
def test_told_to_stop_while_it_opens_it_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trunkline", "demo", "--seconds", "60"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as day:
        told = soon(lambda: [*tmp_path.glob("trunkline-demo-*/run.json")], within=60)
        base = read_state(told[0].parent)["base"]
        day.terminate()
        day.communicate()

    assert day.returncode == 130
    assert list(tmp_path.iterdir()) == []
    for offset in (SERVICE_PORTS["ingest"], NATS, POSTGRES):
        with socket.socket() as nobody:
            assert nobody.connect_ex(("127.0.0.1", base + offset)) == errno.ECONNREFUSED


def test_a_seed_is_a_day() -> None:
    assert plan(45, 1) == plan(45, 1)
    assert plan(45, 1) != plan(45, 2)


@pytest.mark.parametrize("seed", range(20))
def test_demo_day_has_all_channels_and_one_breach(seed: int) -> None:
    day = plan(8, seed)
    contracts = [customer for customer in day.customers if customer.topic == "contracts"]
    away = next(operator for operator in day.operators if operator.leaves_at is not None)
    policies = load(workspace(day)).sla
    policy = next((p for p in policies if p.match.get("topic") == "contracts"), None)

    assert {customer.channel for customer in day.customers} == {*CHANNELS}
    assert len(contracts) == 1
    assert away.leaves_at is not None
    assert away.returns_at is not None
    assert policy is not None
    asked = contracts[0].messages[0][0]
    assert away.leaves_at < asked
    assert asked + policy.targets["FRT"].total_seconds() < away.returns_at
