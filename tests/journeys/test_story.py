"""The story: a customer writes, somebody answers, everybody is told, nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from desk import Desk, running_desk, soon, update

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk of its own: who is there decides who is given what."""
    with running_desk(tmp_path_factory.mktemp("story") / "data") as desk:
        yield desk


def test_one_message_from_the_door_to_the_last_notification(desk: Desk) -> None:
    desk.online("anna")
    accepted = desk.telegram(5001, 777, "Where is my order?")
    assert accepted.status_code < 300
    inbound = accepted.json()["inbound_id"]

    outcome = desk.settled(inbound, within=1)
    assert outcome["outcome"] == "opened"
    request_id = outcome["request_id"]
    soon(lambda: desk.request(request_id)["assignee"] == "anna", within=1)

    reply = desk.tell("tickets", f"/v1/requests/{request_id}/reply", {"text": "On its way."})
    assert reply.status_code < 300, reply.text

    def sent() -> dict[str, Any]:
        url = desk.url("sink", "/sent?channel=telegram&to=777")
        items: list[dict[str, Any]] = desk.http.get(url).json()["items"]
        return items[0]

    assert soon(sent)["text"] == "On its way."
    soon(lambda: desk.clock(request_id, "FRT")["state"] == "met")
    messages = f"/v1/requests/{request_id}/messages"
    soon(lambda: desk.ask("tickets", messages)["items"][-1]["state"] == "sent")
    bell = desk.ask("notify", "/v1/operators/anna/notifications", role="operator", who="anna")[
        "items"
    ]
    assert any(n["kind"] == "assigned" and n["request_id"] == request_id for n in bell)

    again = desk.telegram(5001, 777, "Where is my order?").json()["inbound_id"]
    assert again != inbound
    before = desk.request(request_id)["version"]
    duplicate = desk.settled(again)
    assert duplicate["outcome"] == "duplicate"
    assert duplicate["request_id"] == request_id
    assert desk.request(request_id)["version"] == before

    closed = desk.tell("tickets", f"/v1/requests/{request_id}/close", {"resolution": "delivered"})
    assert closed.status_code < 300, closed.text
    soon(lambda: desk.clock(request_id, "TTR")["state"] == "met")
    assert desk.request(request_id)["status"] == "closed"

    later = desk.telegram(5002, 777, "One more thing").json()["inbound_id"]

    def opened() -> dict[str, Any] | None:
        """Return the outcome once it is corrected: the message may overtake the closing."""
        outcome = desk.settled(later)
        return outcome if outcome["outcome"] == "opened" else None

    more = soon(opened)
    assert more["request_id"] != request_id
    follow_up = soon(lambda: desk.request(more["request_id"]))
    assert follow_up["follow_up_of"] == request_id

    audit = desk.run("audit", check=False)
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_edits_and_reactions_are_seen_beside_their_messages(desk: Desk) -> None:
    """A customer corrects a message, answers ours, and puts a reaction on it."""
    desk.online("anna")
    request_id = desk.settled(desk.telegram(5101, 787, "Wher is it?").json()["inbound_id"])[
        "request_id"
    ]
    soon(lambda: desk.request(request_id)["assignee"] == "anna")
    told = desk.tell("tickets", f"/v1/requests/{request_id}/reply", {"text": "On its way."})
    assert told.status_code < 300, told.text

    def messages() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = desk.ask("tickets", f"/v1/requests/{request_id}/messages")[
            "items"
        ]
        return items

    soon(lambda: messages()[1]["state"] == "sent")
    ours = messages()[1]["platform_id"]
    said = update(5101, 787, "Where is it?")["message"]
    reaction = {
        "chat": said["chat"], "user": said["from"], "message_id": int(ours), "date": said["date"],
        "old_reaction": [], "new_reaction": [{"type": "emoji", "emoji": "👍"}],
    }  # fmt: skip
    answer = {**update(5103, 787, "Thanks")["message"], "reply_to_message": {"message_id": ours}}
    head = {"X-Telegram-Bot-Api-Secret-Token": desk.secrets["TELEGRAM_MAIN_SECRET"]}
    for body in (
        {"update_id": 5102, "edited_message": {**said, "edit_date": said["date"] + 5}},
        {"update_id": 5103, "message": answer},
        {"update_id": 5104, "message_reaction": reaction},
    ):
        accepted = desk.http.post(
            desk.url("ingest", "/channels/telegram/main"), json=body, headers=head
        )
        outcome = desk.settled(accepted.json()["inbound_id"])
        assert (outcome["outcome"], outcome["request_id"]) == (
            "appended" if "message" in body else "noted", request_id,
        )  # fmt: skip

    soon(lambda: messages()[1]["reactions"] and len(messages()) == 3)
    first, reply, last = messages()
    assert (first["text"], first["edited"], first["deleted"]) == ("Where is it?", True, False)
    assert [each["reaction"] for each in reply["reactions"]] == ["👍"]
    assert (last["text"], last["reply_to_id"]) == ("Thanks", reply["id"])


def test_a_wrong_secret_is_401_and_leaves_no_trace(desk: Desk) -> None:
    before = desk.ask("ingest", "/v1/ledger")
    assert desk.telegram(6001, 778, "let me in", secret="wrong").status_code == 401
    assert desk.http.post(desk.url("ingest", "/channels/telegram/main"), json={}).status_code == 401

    assert desk.ask("ingest", "/v1/ledger") == before
    assert desk.http.get(desk.url("sink", "/sent?channel=telegram&to=778")).json()["items"] == []


def test_the_http_api_opens_a_request_too(desk: Desk) -> None:
    desk.online("olena")
    body = {
        "text": "Invoice 17 is wrong",
        "contact": {"id": "c-1", "name": "Petro"},
        "topic": "billing",
    }
    answer = desk.tell("ingest", "/v1/requests", body, role="integrator", who="shop")
    assert answer.status_code < 300, answer.text
    outcome = soon(
        lambda: desk.ask("ingest", f"/v1/inbound/{answer.json()['inbound_id']}").get("request_id")
    )
    soon(lambda: desk.request(str(outcome))["assignee"] == "olena")
    told = desk.request(str(outcome))
    assert (told["channel"], told["topic"], told["group"]) == ("api", "billing", "finance")


def test_history_is_gap_free_and_every_fact_is_in_the_log(desk: Desk) -> None:
    inbound = desk.telegram(7001, 779, "hello").json()["inbound_id"]
    request_id = desk.settled(inbound)["request_id"]
    desk.settled(desk.telegram(7002, 779, "are you there?").json()["inbound_id"])
    log = soon(lambda: desk.ask("tickets", f"/v1/requests/{request_id}/log")["items"])

    assert [entry["sequence"] for entry in log] == list(range(1, len(log) + 1))
