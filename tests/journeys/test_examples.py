"""What others are shown is run: each example as a program of its own, against a running desk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
from desk import soon

from chassis.auth.standard_webhooks import sign
from trunkline.child import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from desk import Desk

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "libs/contracts/examples"
EXAMPLE = ROOT / "libs/trunkline/trunkline/workspace.example.yaml"
LETTER = ROOT / "libs/contracts/letters/trunkline.tickets.v1.closed.json"


def environment(desk: Desk) -> dict[str, str]:
    """What an integrator and an internal service are given."""
    return {
        **os.environ,
        **desk.secrets,
        "INGEST": desk.url("ingest", ""),
        "NATS_URL": f"nats://127.0.0.1:{desk.base + 22}",
        "CRM_SEED": str(desk.data / "creds/crm.nk"),
        "ACME_SEED": str(desk.data / "creds/acme.nk"),
    }


def run(name: str, desk: Desk) -> str:
    """Run an example to its end; gives what it prints."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        text=True, capture_output=True, env=environment(desk), timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def listening(name: str, desk: Desk, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Run an example that never ends."""
    program = [sys.executable, EXAMPLES / name]
    with subprocess.Popen(
        program, text=True, stdout=subprocess.PIPE, env=environment(desk) | more
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def hear(process: subprocess.Popen[str], *words: str) -> str:
    """Wait for the line with all of these words."""
    assert process.stdout is not None
    for line in process.stdout:
        if all(word in line for word in words):
            return line
    raise AssertionError(f"it ended without saying {words}")


def test_a_channel_of_ones_own_over_http(desk: Desk) -> None:
    first = desk.settled(run("publish_http.py", desk))
    again = desk.settled(run("publish_http.py", desk))

    assert (first["outcome"], again["outcome"]) == ("opened", "duplicate")
    request = soon(lambda: desk.request(first["request_id"]))
    assert (request["channel"], request["contact"]["name"]) == ("custom", "Iryna")


def test_a_channel_of_ones_own_over_nats(desk: Desk) -> None:
    first = desk.settled(run("publish_nats.py", desk))
    again = desk.settled(run("publish_nats.py", desk))

    assert (first["outcome"], again["outcome"]) == ("opened", "duplicate")
    assert again["request_id"] == first["request_id"]


def test_a_service_hears_what_happens_to_requests(desk: Desk) -> None:
    desk.online("anna")
    inbound = desk.telegram(8001, 8801, "Hello").json()["inbound_id"]
    request_id = desk.settled(inbound)["request_id"]
    soon(lambda: desk.request(request_id)["assignee"])
    with listening("subscribe.py", desk) as crm:
        hear(crm, "opened", request_id)
        close = {"resolution": "told"}
        answer = desk.tell("tickets", f"/v1/requests/{request_id}/close", close, role="supervisor")
        assert answer.status_code == 200, answer.text
        assert "told" in hear(crm, "closed", request_id)


def test_a_webhook_brings_what_happens_to_requests(desk: Desk, tmp_path: Path) -> None:
    port, declared = free_port(), "webhooks:\n"
    own = (
        f"  own: {{url: 'http://127.0.0.1:{port}/', secret: env:WEBHOOK_AUDIT_SECRET,"
        " events: ['trunkline.tickets.v1.*']}"
    )
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(EXAMPLE.read_text().replace(declared, f"{declared}{own}\n"))
    desk.run("apply", str(workspace))
    with listening("receive_webhook.py", desk, PORT=str(port)) as receiver:
        inbound = desk.telegram(8101, 8802, "Hello").json()["inbound_id"]
        request_id = desk.settled(inbound)["request_id"]
        assert "trunkline.tickets.v1.opened" in hear(receiver, request_id)
    desk.run("apply", str(EXAMPLE))


def test_a_webhook_is_believed_when_its_signature_is_right(desk: Desk) -> None:
    port, body = free_port(), LETTER.read_bytes()
    url, secret = f"http://127.0.0.1:{port}/", desk.secrets["WEBHOOK_AUDIT_SECRET"]
    signed = sign([secret], str(uuid4()), int(time.time()), body)
    with listening("receive_webhook.py", desk, PORT=str(port)) as receiver:
        soon(lambda: httpx.post(url, content=body, headers=signed).status_code == 204)
        assert "trunkline.tickets.v1.closed" in hear(receiver, "closed")
        assert httpx.post(url, content=body + b" ", headers=signed).status_code == 401
        assert httpx.post(url, content=body).status_code == 401
