"""Others are told too: signed webhooks in order, and watchers of every change but their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from desk import soon
from standardwebhooks import Webhook

from trunkline_contracts import read

if TYPE_CHECKING:
    from desk import Desk

    from trunkline_contracts import Fact


def arrived(desk: Desk, request_id: str) -> list[Fact]:
    """What the audit webhook got about a request; every signature is checked."""
    items: list[dict[str, Any]] = desk.http.get(
        desk.url("sink", "/sent?channel=webhook&to=audit")
    ).json()["items"]
    mine = [item for item in items if json.loads(item["body"])["subject"] == request_id]
    for item in mine:
        Webhook(desk.secrets["WEBHOOK_AUDIT_SECRET"]).verify(item["body"], item["headers"])
    return [read(item["body"].encode()) for item in mine]


def bell(desk: Desk, who: str, request_id: str) -> list[str]:
    items = desk.ask("notify", f"/v1/operators/{who}/notifications", role="operator", who=who)
    return [n["kind"] for n in items["items"] if n["request_id"] == request_id][::-1]


def test_a_request_opened_and_closed_arrives_signed_and_in_order(desk: Desk) -> None:
    desk.online("anna")
    inbound = desk.telegram(8801, 881, "Is anybody there?").json()["inbound_id"]
    request_id = str(desk.settled(inbound)["request_id"])
    soon(lambda: desk.request(request_id)["assignee"])
    closed = desk.tell(
        "tickets", f"/v1/requests/{request_id}/close", {"resolution": "yes"}, role="supervisor"
    )
    assert closed.status_code < 300, closed.text

    def ends() -> bool:
        return arrived(desk, request_id)[-1].type == "trunkline.tickets.v1.closed"

    soon(ends)
    facts = arrived(desk, request_id)
    assert facts[0].type == "trunkline.tickets.v1.opened"
    assert [fact.sequence for fact in facts] == list(range(1, len(facts) + 1))

    def settled() -> bool:
        told = desk.ask("notify", f"/v1/deliveries?request_id={request_id}")["items"]
        return {d["state"] for d in told if d["what"] == "webhook"} == {"sent"}

    soon(settled)
    [audit] = desk.ask("notify", "/v1/webhooks", role="administrator")["items"]
    assert (audit["id"], audit["state"], audit["ordered"]) == ("audit", "active", True)


def test_a_watcher_is_told_of_every_change_but_their_own(desk: Desk) -> None:
    desk.online("anna")
    inbound = desk.telegram(8802, 882, "Please look at it").json()["inbound_id"]
    request_id = str(desk.settled(inbound)["request_id"])
    soon(lambda: desk.request(request_id)["assignee"])
    assignee = str(desk.request(request_id)["assignee"])
    watcher = next(who for who in ("bohdan", "anna") if who != assignee)
    path = f"/v1/requests/{request_id}"

    def tell(what: str, body: dict[str, Any], who: str) -> None:
        role = "supervisor" if who == "boss" else "operator"
        answer = desk.tell("tickets", f"{path}/{what}", body, role=role, who=who)
        assert answer.status_code < 300, answer.text

    tell("watchers", {"watcher": watcher}, "boss")
    tell("note", {"text": "mine"}, watcher)
    tell("title", {"title": "Look"}, "boss")
    tell("reply", {"text": "I do"}, assignee)
    tell("close", {"resolution": "seen"}, assignee)

    def heard() -> bool:
        kinds = bell(desk, watcher, request_id)
        assert kinds == ["watching", "title_changed", "reply_sent", "closed"]
        return True

    soon(heard)
    theirs = bell(desk, assignee, request_id)
    assert theirs == ["assigned", "note_added", "title_changed"]
