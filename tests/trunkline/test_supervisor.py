"""Whatever dies is started again, everything is stopped in order, and refusals are one line."""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trunkline.paths import CannotStart
from trunkline.supervisor import Program, Stopped, Supervisor, stoppable

SINK = [sys.executable, "-m", "trunkline.sink"]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(said: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(said.append, lambda: None)
    yield supervisor
    supervisor.stop()


def until(done: Callable[[], bool], supervisor: Supervisor) -> None:
    end = time.monotonic() + 15
    while not done():
        assert time.monotonic() < end
        supervisor.check_children()
        time.sleep(0.02)


def test_a_killed_child_comes_back_on_its_port(
    supervisor: Supervisor, said: list[str], tmp_path: Path
) -> None:
    sink = Program("sink", SINK, tmp_path / "sink.log", environment=os.environ)
    supervisor.start(sink)
    supervisor.wait_ready(15)
    before, url = sink.pid, sink.url
    os.kill(before, signal.SIGKILL)
    until(lambda: sink.pid != before and sink.ready(), supervisor)
    supervisor.stop()

    assert said == ["sink exited with -9", "sink was restarted"]
    assert sink.url == url
    assert sink.returncode in {0, -signal.SIGTERM}


class Ailing(Program):
    """Serves, and complains."""

    complaint_ = "its /healthz says 503"

    def health_problem(self) -> str | None:
        return self.complaint_ or None


def test_a_child_that_complains_for_long_is_started_again(
    supervisor: Supervisor, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline.supervisor.HEALTH_INTERVAL_S", 0.05)
    monkeypatch.setattr("trunkline.supervisor.UNHEALTHY_TIMEOUT_S", 0.3)
    sink = Ailing("sink", SINK, tmp_path / "sink.log", environment=os.environ)
    supervisor.start(sink)
    before = sink.pid
    supervisor.check_children()
    assert sink.pid == before  # not for one complaint
    until(lambda: sink.pid != before, supervisor)
    sink.complaint_ = ""
    until(sink.ready, supervisor)

    assert said[0] == "sink was stopped and will be restarted: its /healthz says 503"
    assert said[-1] == "sink was restarted"


REFUSES = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503)
        self.end_headers()
        failing = [{"name": name, "why": "of " + name} for name in os.environ["FAILING"].split()]
        self.wfile.write(json.dumps({"not_ready": failing}).encode())

HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""


def failing(tmp_path: Path, *names: str) -> Program:
    """Make a service whose checks of these names fail."""
    environment = {**os.environ, "FAILING": " ".join(names)}
    command = [sys.executable, "-c", REFUSES]
    return Program("sla", command, tmp_path / "sla.log", environment=environment)


def test_a_service_with_a_relay_alarm_counts_as_started(
    supervisor: Supervisor, said: list[str], tmp_path: Path
) -> None:
    sla = failing(tmp_path, "relay_alarm")
    supervisor.start(sla)
    supervisor.wait_ready(15)

    assert said == ["degraded: sla: of relay_alarm"]
    before = sla.pid
    supervisor.check_children()
    assert sla.pid == before


def test_a_service_with_another_complaint_is_not_started(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    sla = failing(tmp_path, "relay_alarm", "postgres")
    supervisor.start(sla)
    with pytest.raises(CannotStart, match="sla is not ready"):
        supervisor.wait_ready(1)
    assert sla.degraded_reason() is None


def test_a_full_disk_does_not_end_the_supervisor(tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    supervisor = Supervisor(full, lambda: None)
    sink = Program("sink", SINK, tmp_path / "sink.log", environment=os.environ)
    supervisor.start(sink)
    supervisor._changed = full  # it was started while there was room
    try:
        before = sink.pid
        os.kill(before, signal.SIGKILL)
        until(lambda: sink.pid != before and sink.ready(), supervisor)
    finally:
        supervisor.stop()


def test_a_hopeless_child_is_named_with_its_last_words(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    failing = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    supervisor.start(Program("tickets", failing, tmp_path / "tickets.log", environment=os.environ))
    with pytest.raises(CannotStart, match=r"^tickets is not ready \(no such thing\); see .*log$"):
        supervisor.wait_ready(15)


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys, time\n"
        "from trunkline.supervisor import Program\n"
        "child = Program('sleeper', ['sleep', '60'], pathlib.Path(sys.argv[1]))\n"
        "print(child.start().pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = Program(
        "parent",
        [sys.executable, "-c", script, str(tmp_path / "s.log")],
        tmp_path / "parent.log",
        environment=os.environ,
    )
    parent.start()
    end = time.monotonic() + 15
    while not (told := parent.log.read_text().strip()):
        assert time.monotonic() < end
        time.sleep(0.02)
    parent.kill()
    while (status := Path(f"/proc/{told}/status")).exists() and "Z (zombie)" not in (
        status.read_text()
    ):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_signal_stops_once() -> None:
    with pytest.raises(Stopped), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
