"""Commands over HTTP: every command, its refusals, versions and idempotency keys."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from world import the_example

from chassis.testing import eventually
from trunkline_contracts import (
    Opened,
)

if TYPE_CHECKING:
    import httpx
from tickets_stack import OPENING, Tickets


async def test_request_opened_over_http_is_published(tickets: Tickets) -> None:
    answer = await tickets.post("", OPENING, tickets.anna)

    assert answer.status_code == 201, answer.text
    created = answer.json()
    assert created == {"id": created["id"], "version": 1}
    assert answer.headers["location"] == f"/v1/requests/{created['id']}"
    request = await tickets.get(f"/{created['id']}")
    assert request["title"] == "An invoice is missing"
    assert request["channel"] == "email"
    assert request["origin"] == "tickets"
    assert request["contact"]["address"] == "maria@example.test"
    assert (request["assignee"], request["group"]) == (None, None)
    (opened,) = await tickets.stream(1)
    assert isinstance(opened, Opened)
    assert opened.by == "anna"


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"type": "none"}, "type"),
        ({"topic": "none"}, "topic"),
        ({"priority": "none"}, "priority"),
        ({"channel": "pigeon"}, "body.channel"),
        ({"account": "none"}, "body.account"),
        ({"contact": {"name": "Maria"}}, "body.contact"),
        ({"fields": {"order_no": "12"}}, "field order_no"),
        ({"description": "a\x00b"}, "body.description"),
    ],
)
async def test_opening_with_unknown_value_names_the_field(
    tickets: Tickets, change: dict[str, Any], at: str
) -> None:
    answer = await tickets.post("", {**OPENING, **change})

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["at"] for error in answer.json()["errors"]] == [at]


async def declare(tickets: Tickets, **fields: Any) -> None:
    """Apply a workspace with further fields, and wait until it is in force."""
    document: dict[str, Any] = the_example().document()
    document["fields"] |= fields
    await tickets.world.apply(json.dumps(document))
    id_ = await tickets.opened()
    await eventually(lambda: _takes(tickets, id_, dict.fromkeys(fields)))


async def _takes(tickets: Tickets, id_: str, fields: dict[str, Any]) -> bool:
    return (await tickets.post(f"/{id_}/fields", {"fields": fields})).status_code == 200


ODD = {
    "half a character": ("remark", '"\\ud800"'),
    "NUL": ("remark", '"a\\u0000b"'),
    "too long": ("remark", f'"{"x" * 2001}"'),
    "infinite": ("amount", "1e400"),
    "not a number": ("amount", "NaN"),
    "huge": ("amount", "1" + "0" * 4200),
    "dear to match": ("words", f'"{"a" * 40}!"'),
}


async def test_field_with_odd_value_is_refused_and_blocks_nobody(tickets: Tickets) -> None:
    words = {"kind": "text", "pattern": "^([a-z]+ ?)+$"}
    await declare(tickets, remark={"kind": "text"}, words=words)
    mine, theirs = await tickets.opened(), await tickets.opened()
    json_ = {**tickets.boss, "Content-Type": "application/json"}

    async def give(name: str, value: str) -> httpx.Response:
        body = f'{{"fields": {{"{name}": {value}}}}}'
        url = f"/v1/requests/{mine}/fields"
        return await tickets.http.post(url, content=body, headers=json_)

    for why, (name, value) in ODD.items():
        async with asyncio.timeout(5):
            refused, noted = await asyncio.gather(
                give(name, value), tickets.post(f"/{theirs}/note", {"text": "meanwhile"})
            )
        assert (refused.status_code, noted.status_code) == (422, 201), (why, refused.text)
        assert [error["at"] for error in refused.json()["errors"]] == [f"field {name}"], why
        assert len(refused.content) < 1000, why
    assert (await give("words", '"a few words"')).status_code == 200
    assert (await tickets.get(f"/{mine}"))["fields"] == {"words": "a few words"}


async def test_command_on_old_version_is_refused(tickets: Tickets) -> None:
    id_ = await tickets.opened()

    first = await tickets.post(f"/{id_}/note", {"text": "one"}, if_match='"1"')
    stale = await tickets.post(f"/{id_}/note", {"text": "two"}, if_match='"1"')

    assert first.status_code == 201
    assert stale.status_code == 412
    assert (stale.json()["version"], stale.headers["etag"]) == (2, '"2"')
    assert await tickets.log(id_) == ["opened", "note_added"]
    nonsense = await tickets.post(f"/{id_}/note", {"text": "two"}, if_match="abc")
    assert nonsense.status_code == 422


async def test_command_repeated_with_key_gets_same_answer(tickets: Tickets) -> None:
    one = await tickets.post("", OPENING, idempotency_key="k")
    two = await tickets.post("", OPENING, idempotency_key="k")
    assert (one.status_code, one.json()) == (two.status_code, two.json())

    other = await tickets.post("", {**OPENING, "title": "x"}, idempotency_key="k")
    assert (other.status_code, other.json()["type"]) == (422, "idempotency_key_reused")
    mine = await tickets.post("", OPENING, tickets.anna, idempotency_key="k")
    assert mine.json()["id"] != one.json()["id"]

    id_ = one.json()["id"]
    replies = await asyncio.gather(
        *(tickets.post(f"/{id_}/reply", {"text": "hi"}, idempotency_key="r") for _ in range(5))
    )
    assert len({reply.json()["message_id"] for reply in replies}) == 1
    assert await tickets.log(id_) == ["opened", "reply_sent"]


async def test_command_against_rules_answers_409(tickets: Tickets) -> None:
    id_ = await tickets.opened()

    back = await tickets.post(f"/{id_}/status", {"status": "resolved"})
    assert (back.status_code, back.json()["type"]) == (409, "status_not_allowed")
    assert back.json()["allowed"] == ["open"]
    assert (await tickets.post(f"/{id_}/status", {"status": "none"})).status_code == 422
    assert (await tickets.post(f"/{id_}/close")).status_code == 200
    for path, body in (("reply", {"text": "x"}), ("status", {"status": "open"}), ("close", {})):
        answer = await tickets.post(f"/{id_}/{path}", body)
        assert (answer.status_code, answer.json()["type"]) == (409, "closed")


async def test_remaining_commands_change_the_request(tickets: Tickets) -> None:
    id_ = await tickets.opened()
    for path, body in (
        ("title", {"title": "Invoice of May"}),
        ("topic", {"topic": "delivery"}),
        ("priority", {"priority": "high"}),
        ("fields", {"fields": {"order_no": "123456"}}),
        ("tags", {"tag": "vip"}),
        ("watchers", {"watcher": "olena"}),
        ("pause", None),
        ("pause", None),
        ("resume", None),
    ):
        answer = await tickets.post(f"/{id_}/{path}", body)
        assert answer.status_code == 200, (path, answer.text)
    for path in ("tags/vip", "watchers/olena"):
        answer = await tickets.http.delete(f"/v1/requests/{id_}/{path}", headers=tickets.boss)
        assert answer.status_code == 200

    request = await tickets.get(f"/{id_}")
    assert (request["title"], request["topic"], request["priority"]) == (
        "Invoice of May", "delivery", "high",
    )  # fmt: skip
    assert (request["fields"], request["tags"], request["watchers"]) == (
        {"order_no": "123456"}, [], [],
    )  # fmt: skip
    log = await tickets.log(id_)
    assert log.count("paused") == 1
    assert await tickets.get(f"/{id_}/log?type=title_changed&limit=1") == {
        "items": [
            {
                "sequence": 2,
                "time": (await tickets.get(f"/{id_}/log"))["items"][1]["time"],
                "type": "trunkline.tickets.v1.title_changed",
                "by": "boss",
                "data": {"from": "An invoice is missing", "to": "Invoice of May", "by": "boss"},
            }
        ],
        "next": None,
    }
