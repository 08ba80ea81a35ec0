"""An integrator's own channel, from its two doors to the signed reply in its hands."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets as chance
import time
from typing import TYPE_CHECKING, Any

import nats.errors
import pytest
from desk import soon
from standardwebhooks import Webhook

from chassis.auth.standard_webhooks import sign
from trunkline.instance import EXAMPLE
from trunkline.provision import connect_as

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from desk import Desk

pytestmark = pytest.mark.timeout(90)


def message(contact: str, text: str = "Where is my order?", **more: Any) -> dict[str, Any]:
    id = f"m-{contact}-{chance.token_hex(4)}"
    return {"id": id, "text": text, "contact": {"id": contact, "name": "Iryna"}, **more}


def post(desk: Desk, body: Any, secret: str | None = None, late: int = 0) -> httpx.Response:
    """Deliver over HTTP, signed by the reference library's rules."""
    data = json.dumps(body).encode()
    headers = sign(
        [secret or desk.secrets["CUSTOM_ACME_SECRET"]], body["id"], int(time.time()) + late, data
    )
    return desk.http.post(
        desk.url("ingest", "/channels/custom/acme"), content=data, headers=headers
    )


def ask(desk: Desk, body: Any, who: str = "acme") -> dict[str, Any]:
    """Deliver over NATS as an integrator."""

    async def asking() -> bytes:
        nc = await connect_as(who, desk.status["nats"]["url"], desk.data / "creds")
        try:
            data = json.dumps(body).encode()
            return bytes((await nc.request(f"channels.custom.{who}", data, timeout=5)).data)
        finally:
            await nc.close()

    told: dict[str, Any] = json.loads(asyncio.run(asking()))
    return told


def answered(desk: Desk, request_id: str, to: str, text: str) -> dict[str, Any]:
    """Answer as whoever got it; gives what arrived at the integrator's."""
    assignee = soon(lambda: desk.request(request_id)["assignee"])
    path = f"/v1/requests/{request_id}/reply"
    reply = desk.tell("tickets", path, {"text": text}, who=str(assignee))
    assert reply.status_code < 300, reply.text

    def there() -> dict[str, Any]:
        answer = desk.http.get(desk.url("sink", f"/sent?channel=custom&to={to}"))
        items: list[dict[str, Any]] = answer.json()["items"]
        return items[0]

    return soon(there)


@pytest.mark.parametrize("way", ["http", "nats"])
def test_opened_assigned_answered(desk: Desk, way: str) -> None:
    desk.online("anna", "bohdan", "olena")
    body = message(f"c-{way}")
    told = post(desk, body).json() if way == "http" else ask(desk, body)
    outcome = desk.settled(told["inbound_id"])
    assert outcome["outcome"] == "opened"
    item = answered(desk, outcome["request_id"], f"c-{way}", "On its way.")

    Webhook(desk.secrets["CUSTOM_ACME_SECRET"]).verify(item["body"], item["headers"])
    said = json.loads(item["body"])
    assert said["text"] == item["text"] == "On its way."
    assert (said["conversation"], said["contact"]) == (f"c-{way}", {"id": f"c-{way}"})
    assert said["request_id"] == outcome["request_id"]
    assert item["headers"]["webhook-id"] == said["id"]

    again = ask(desk, body) if way == "http" else post(desk, body).json()
    duplicate = desk.settled(again["inbound_id"])
    assert (duplicate["outcome"], duplicate["request_id"]) == ("duplicate", outcome["request_id"])
    path = f"/v1/requests/{outcome['request_id']}/close"
    closed = desk.tell("tickets", path, {"resolution": "done"}, role="supervisor", who="boss")
    assert closed.status_code < 300, closed.text


def test_who_cannot_be_verified_leaves_no_trace(desk: Desk) -> None:
    before = desk.ask("ingest", "/v1/ledger")["accepted"]
    foreign = "whsec_" + base64.b64encode(bytes(32)).decode()
    refused = [
        post(desk, message("c-no"), foreign),
        post(desk, message("c-no"), late=-301),
        post(desk, message("c-no"), late=302),
        desk.http.post(desk.url("ingest", "/channels/custom/acme"), json=message("c-no")),
    ]

    assert [answer.status_code for answer in refused] == [401] * 4
    assert desk.ask("ingest", "/v1/ledger")["accepted"] == before


def test_integrator_is_added_and_secret_replaced_at_runtime(desk: Desk, tmp_path: Path) -> None:
    new, beta = ("whsec_" + base64.b64encode(chance.token_bytes(32)).decode() for _ in "12")
    for name, secret in (("new", new), ("beta", beta)):
        (tmp_path / name).write_text(secret)
    text = EXAMPLE.read_text().replace(
        "custom:    {acme: {secret: env:CUSTOM_ACME_SECRET,",
        f"custom:    {{beta: {{secret: 'file:{tmp_path}/beta', url: sink}}, "
        f"acme: {{secret: ['file:{tmp_path}/new', env:CUSTOM_ACME_SECRET],",
    )
    (tmp_path / "workspace.yaml").write_text(text)
    with pytest.raises(FileNotFoundError):
        ask(desk, message("c-beta"), "beta")
    told = desk.run("apply", str(tmp_path / "workspace.yaml")).stdout
    assert "beta may connect to NATS with" in told
    assert desk.run("provision").stdout == "nothing to change\n"

    def let_in() -> dict[str, Any]:
        try:
            return ask(desk, message("c-beta"), "beta")
        except nats.errors.Error as why:
            raise AssertionError from why

    outcome = desk.settled(soon(lambda: let_in()["inbound_id"]))
    assert outcome["outcome"] == "opened"
    desk.online("anna", "bohdan", "olena")
    item = answered(desk, outcome["request_id"], "c-beta", "Welcome.")
    Webhook(beta).verify(item["body"], item["headers"])

    for secret in (new, None):
        accepted = post(desk, message("c-both"), secret)
        assert accepted.status_code == 202, accepted.text
    both = desk.settled(accepted.json()["inbound_id"])["request_id"]
    item = answered(desk, both, "c-both", "Either is good.")
    for secret in (new, desk.secrets["CUSTOM_ACME_SECRET"]):
        Webhook(secret).verify(item["body"], item["headers"])

    audit = desk.run("audit", check=False)
    assert audit.returncode == 0, audit.stdout + audit.stderr
