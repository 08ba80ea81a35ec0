"""`trunkline tail` at a running desk: what it shows, what it refuses, what it outlives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from desk import Desk, running_desk, soon
from typer.testing import CliRunner

from chassis.messaging.message import StreamMessage
from trunkline.cli import commands
from trunkline.facts import StreamFact, summary
from trunkline.filters import FactFilter
from trunkline.paths import CannotStart

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(90)  # one instance is started, on machines that may be busy


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with running_desk(tmp_path_factory.mktemp("tail") / "data") as desk:
        desk.online("anna")
        yield desk


def life(desk: Desk, number: int) -> str:
    """Let a request be opened, assigned and closed; gives its id."""
    inbound = desk.telegram(number, number, f"question {number}").json()["inbound_id"]
    request_id: str = desk.settled(inbound)["request_id"]
    soon(lambda: desk.request(request_id)["assignee"] == "anna")
    assert desk.tell("tickets", f"/v1/requests/{request_id}/close", {}).status_code < 300
    return request_id


@contextmanager
def tailing(desk: Desk, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A `trunkline tail` that already listens: it has shown the first fact of a life."""
    command = [sys.executable, "-m", "trunkline", "tail", "--data", str(desk.data), *words]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def read_until_closed(child: subprocess.Popen[str], request_id: str) -> list[str]:
    """Read facts until this request is closed."""
    lines: list[str] = []
    while not lines or request_id not in lines[-1] or names(lines)[-1] != "closed":
        assert child.stdout is not None
        lines.append(child.stdout.readline())
    return lines


def names(lines: list[str]) -> list[str]:
    return [json.loads(line)["type"].rpartition(".")[2] for line in lines]


def test_the_past_is_shown_in_order_and_as_it_travels(desk: Desk) -> None:
    request_id = life(desk, 1)
    log = desk.ask("tickets", f"/v1/requests/{request_id}/log")["items"]
    count = str(len(log))

    told = desk.run("tail", "--since", "all", "--json", "--request", request_id, "--count", count)
    shown = [json.loads(line) for line in told.stdout.splitlines()]
    assert [fact["sequence"] for fact in shown] == [*range(1, len(log) + 1)]
    assert {fact["subject"] for fact in shown} == {request_id}
    assert shown[0]["specversion"] == "1.0"

    readable = desk.run("tail", "--since", "all", "--request", request_id[:8], "--count", "1")
    place, time, name, short, number, *_ = readable.stdout.split()
    assert (name, short, number) == ("opened", request_id[:8], "#1")
    assert time.endswith("Z")
    assert "“question 1”" in readable.stdout
    again = desk.run("tail", "--since", place, "--count", "1").stdout
    assert again == readable.stdout


def test_tail_merges_chosen_streams_by_time(desk: Desk) -> None:
    life(desk, 2)
    filters = ["--type", "opened", "--type", "target_s*", "--stream", "tickets", "--stream", "SLA"]

    lines = desk.run("tail", "--since", "all", "--json", *filters, "--count", "3").stdout
    shown = [json.loads(line) for line in lines.splitlines()]
    assert {fact["source"] for fact in shown} == {"trunkline/tickets", "trunkline/sla"}
    times = [datetime.fromisoformat(fact["time"]) for fact in shown]
    assert times == sorted(times)
    assert {*names(lines.splitlines())} == {"opened", "target_set"}


def test_tail_continues_after_nats_comes_back(desk: Desk) -> None:
    first = life(desk, 3)
    with tailing(desk, "--since", "all", "--json", "--type", "opened", "--type", "closed") as child:
        shown = []
        while (
            not shown or json.loads(shown[-1])["subject"] != first or names(shown)[-1] != "closed"
        ):
            shown.append(child.stdout.readline())
        before = desk.status["nats"]["pid"]
        os.kill(before, signal.SIGKILL)
        soon(lambda: desk.status["nats"]["pid"] not in {None, before}, within=20)
        soon(lambda: desk.telegram(4, 4, "again").status_code == 200, within=20)
        second = life(desk, 5)
        shown += read_until_closed(child, second)
        child.send_signal(signal.SIGINT)
        rest, complaint = child.communicate(timeout=10)

    ids = [json.loads(line)["id"] for line in shown]
    assert len(ids) == len(set(ids))
    assert (rest, child.returncode) == ("", 0)
    assert "Traceback" not in complaint
    past = desk.run(
        "tail", "--since", "all", "--json", "--type", "opened", "--type", "closed",
        "--count", str(len(shown)),
    ).stdout.splitlines()  # fmt: skip
    assert past == [line.rstrip("\n") for line in shown]


def test_it_ends_when_nobody_reads_any_more(desk: Desk) -> None:
    life(desk, 6)
    with tailing(desk, "--since", "all") as child:
        assert child.stdout.readline()
        child.stdout.close()
        child.stdout = None
        _, complaint = child.communicate(timeout=10)

    assert (child.returncode, complaint) == (0, "")


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("--stream ORDERS", r"^no stream is called 'ORDERS': it is one of INGEST, ROUTING, .*$"),
        ("--type solved", r"^no fact of TICKETS is called 'solved': .*, closed, .*$"),
        ("--type opened --stream TICKETS --stream SLA", r"^SLA has no fact called opened$"),
        (
            "--since yesterday",
            r"^--since yesterday: allowed are all, now and a sequence of the stream$",
        ),
        ("--request #12", r"^--request #12: not an id or the first digits of one$"),
        ("", r"^no instance was ever started in .*$"),
    ],
)
def test_a_refusal_says_what_is_allowed(words: str, refusal: str, tmp_path: Path) -> None:
    said = CliRunner().invoke(commands, ["tail", *words.split(), f"--data={tmp_path}"])

    assert isinstance(said.exception, CannotStart)
    with pytest.raises(CannotStart, match=refusal):
        raise said.exception


def test_only_what_is_wanted_is_asked_of_the_server() -> None:
    request = "0" * 36
    wanted = FactFilter.parse(["TICKETS"], ["trunkline.tickets.v1.closed"], [request], "all")
    several = FactFilter.parse(["TICKETS"], ["opened", "closed"], [], "now")

    assert wanted.subject("TICKETS") == f"trunkline.tickets.v1.closed.*.{request}"
    assert FactFilter.parse([], [], [], "now").subject("TICKETS") == "trunkline.tickets.*.*.*.*"
    assert several.subject("TICKETS") == "trunkline.tickets.*.*.*.*"
    facts = [
        StreamFact.of("TICKETS", StreamMessage(f"trunkline.tickets.v1.{name}.03.k", b"{}", 1, 0, 7))
        for name in ("opened", "paused", "closed")
    ]
    assert [several.matches(fact) for fact in facts] == [True, False, True]


def test_tail_line_has_no_contact_and_no_control_codes() -> None:
    written = {"text": "\x1b[2J pay\u202e me " + "x" * 99, "html": "<b>"}
    data = {"channel": "telegram", "contact": {"name": "Iryna"}, "message": written}
    line = summary(data | {"conversation": "4242", "from": "new", "to": "open", "by": "anna"})

    assert line.startswith("new → open “[2J pay me xxx")
    assert line.endswith("…” channel=telegram by=anna")
    assert len(line) < 110


def test_what_is_unreadable_is_still_seen() -> None:
    item = StreamMessage("trunkline.tickets.v9.dreamt.03.k", b"{", 1, 0, 7)
    seen = StreamFact.of("TICKETS", item)

    assert (seen.name, seen.key, seen.stream_sequence) == ("dreamt", "k", 7)
    assert seen.time == datetime(1970, 1, 1, tzinfo=UTC)
