"""`trunkline up`: one command, whatever dies comes back, and a lost NATS store is no loss."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from desk import Desk, free_base, running_desk, soon

from trunkline import paths
from trunkline.instance import EXAMPLE
from trunkline.servers import Nats

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICES = ["ingest", "routing", "tickets", "sla", "notify"]

TELEGRAM_TOKEN = "1234567890:from-the-environment-of-up"

pytestmark = pytest.mark.timeout(120)  # whole instances are started, on machines that may be busy


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Desk]:
    """An instance of the test's own, in a folder that only its owner may enter."""
    tmp_path.chmod(0o700)
    known = {"TELEGRAM_MAIN_TOKEN": TELEGRAM_TOKEN}
    with running_desk(tmp_path / "data", "--replicas", "routing=2", **known) as desk:
        yield desk


def processes(told: dict[str, Any]) -> dict[str, int]:
    """Every process by its name."""
    rest = {name: told[name]["pid"] for name in ("nats", "postgres", "sink")}
    return {service["name"]: service["pid"] for service in told["services"]} | rest


def knows_secrets(pid: int, desk: Desk) -> bool:
    """Return whether a process was started with any of the instance's secrets."""
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    return any(secret.encode() in environment for secret in desk.secrets.values())


def all_ready(desk: Desk) -> dict[str, Any]:
    """What runs, once all of it is ready."""
    told: dict[str, Any] = desk.status
    assert {service["state"] for service in told["services"]} == {"ready"}
    return told


def test_whatever_is_killed_comes_back(own: Desk) -> None:
    first = own.status
    before = processes(first)
    assert set(before) == {*SERVICES, "routing-2", "nats", "postgres", "sink"}
    assert set(first["sink"]) == {"pid", "url", "smtp"}
    for pid in before.values():
        os.kill(pid, 0)
    assert own.secrets["TELEGRAM_MAIN_TOKEN"] == TELEGRAM_TOKEN
    handed = {name for name, pid in before.items() if knows_secrets(pid, own)}
    assert handed == {"ingest", "notify"}
    password = (own.data / "creds" / "postgres.pg").read_text()
    assert password not in own.run("status", "--json").stdout + own.run("status").stdout
    assert password not in (own.data / "run.json").read_text()
    for name in ("sla", "sink", "nats", "postgres"):
        os.kill(before[name], signal.SIGKILL)

    def back() -> dict[str, int]:
        after = processes(all_ready(own))
        assert all(after[name] != before[name] for name in ("sla", "sink", "nats", "postgres"))
        return after

    after = soon(back, within=40)
    soon(lambda: own.online("anna") or True)  # connections that broke are noticed when used
    request_id = own.settled(own.telegram(1, 1, "still there?").json()["inbound_id"])["request_id"]
    soon(lambda: own.request(request_id)["assignee"] == "anna")

    assert {after[name] for name in ("ingest", "tickets")} <= set(before.values())
    assert own.run("audit").returncode == 0
    assert stat.S_IMODE((own.data / "secrets.env").stat().st_mode) == 0o600


def test_a_lost_store_is_rebuilt_and_the_story_goes_on(own: Desk) -> None:
    own.online("anna")
    first = own.settled(own.telegram(1, 1, "before").json()["inbound_id"])["request_id"]
    soon(lambda: own.request(first)["assignee"] == "anna")
    log = own.ask("tickets", f"/v1/requests/{first}/log")["items"]
    assert own.run("audit").returncode == 0
    own.run("down")
    subprocess.run(["rm", "-rf", own.data / "nats"], check=True)
    own.up()

    second = own.settled(own.telegram(2, 2, "after").json()["inbound_id"])["request_id"]
    soon(lambda: own.request(second)["assignee"] == "anna")
    assert own.ask("tickets", f"/v1/requests/{first}/log")["items"] == log
    assert "version 1 stays in force" in own.run("apply", str(EXAMPLE)).stdout
    assert own.settled(own.telegram(1, 1, "before").json()["inbound_id"])["outcome"] == "duplicate"
    assert own.run("audit").returncode == 0


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data", free_base())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", desk.base + 22))
        taken.listen()
        told = desk.run("up", "--detach", "--port-base", str(desk.base), check=False)

    assert told.returncode == 1
    assert told.stderr.startswith(f"trunkline: port {desk.base + 22} for nats-server is not free")
    assert str(desk.data / "logs" / "up.log") in told.stderr
    assert told.stderr.count("\n") == 1
    for home in ("nats", "postgres"):
        paths.remove(desk.data / home)


def test_a_server_that_may_lose_what_it_acknowledged_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "unsafe.conf"
    config.write_text("jetstream: enabled")
    with Nats(config, tmp_path / "unsafe") as unsafe:
        real = {"NATS_URL": unsafe.url, "NATS_MONITOR_URL": unsafe.monitor_url}
        desk = Desk(tmp_path / "data", free_base(), real)
        told = desk.run("up", "--detach", "--port-base", str(desk.base), check=False)

    assert told.returncode == 1
    assert (
        "NATS acknowledges before fsync: set `jetstream { sync_interval: always }`" in told.stderr
    )
    for home in (tmp_path / "unsafe", desk.data / "postgres"):
        paths.remove(home)
