"""Reading over HTTP: lists, logs and messages, and the requests each role may see."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from chassis.testing import eventually
from trunkline_contracts import (
    Attachment,
    Contact,
    ContactCard,
    Message,
    MessageReacted,
    MessageSent,
    RequestOpened,
    TargetBreached,
)

if TYPE_CHECKING:
    pass
import pytest
from tickets_stack import OPENING, Tickets, assigned, came_in, has_assignee, log_has, now


async def test_roles_decide_commands_and_reads(tickets: Tickets) -> None:
    id_, unknown = uuid4(), uuid4()
    await tickets.tell(came_in(id_))
    await eventually(lambda: tickets.log(id_))
    await tickets.tell(assigned(id_, "anna"))
    await eventually(lambda: has_assignee(tickets, id_, "anna"))
    token = tickets.world.token
    body = {"text": "hello"}

    async def code(path: str, *roles: str, subject: str = "somebody") -> int:
        caller = token(*roles, subject=subject)
        return (await tickets.post(f"/{path}", body, caller)).status_code

    assert await code(f"{id_}/reply", "operator", subject="bohdan") == 403
    assert await code(f"{id_}/reply", "light_agent") == 403
    assert await code(f"{id_}/reply", "analyst") == 403
    assert await code(f"{id_}/reply", "operator", subject="anna") == 201
    assert await code(f"{id_}/reply", "supervisor") == 201
    assert await code(f"{unknown}/reply", "supervisor") == 404
    assert await code(f"{id_}/note", "light_agent") == 403
    assert await code(f"{id_}/note", "light_agent", subject="bohdan") == 201
    assert await code(f"{id_}/note", "integrator") == 403
    assert (await tickets.http.post("/v1/requests", json=OPENING)).status_code == 401
    refused = await tickets.post("", OPENING, token("light_agent", subject="lena"))
    assert refused.status_code == 403

    async def sees(*roles: str, subject: str = "somebody") -> int:
        answer = await tickets.http.get(
            f"/v1/requests/{id_}", headers=token(*roles, subject=subject)
        )
        listed = await tickets.http.get("/v1/requests", headers=token(*roles, subject=subject))
        seen = [item["id"] for item in listed.json().get("items", [])]
        assert (seen == [str(id_)]) == (answer.status_code == 200)
        return answer.status_code

    assert await sees("operator", subject="anna") == 200
    assert await sees("operator", subject="bohdan") == 200  # the same group
    assert await sees("operator", subject="stranger") == 403
    assert await sees("integrator") == 403
    assert await sees("analyst") == 200


async def test_analyst_sees_all_but_customer_and_texts(tickets: Tickets) -> None:
    id_, phone = uuid4(), "380671234567"
    customer = Contact(id=uuid4(), name="Марія", address=phone)
    card = ContactCard(name="Марія", phone=phone)
    words = Message(
        id=uuid4(), text="hello there", sent_at=now(), external_id=f"wamid.{phone}",
        reply_to=f"wamid.{phone}", contacts=(card,),
        attachments=(Attachment(name="a.pdf", external_id=f"file.{phone}"),),
    )  # fmt: skip
    about: dict[str, Any] = {"time": now(), "request_id": id_}
    opened = RequestOpened(
        request_type="chat", channel="whatsapp", account="main", conversation=phone,
        contact=customer, message=words, **about,
    )  # fmt: skip
    await tickets.tell(opened)
    await eventually(lambda: tickets.log(id_))
    reply = await tickets.post(f"/{id_}/reply", {"text": "hi there"})
    await tickets.post(f"/{id_}/title", {"title": "a title"})
    await tickets.post(f"/{id_}/note", {"text": "a note"})
    await tickets.post(f"/{id_}/pause", {"reason": "a pause"})
    ours = UUID(reply.json()["message_id"])
    await tickets.tell(
        MessageReacted(
            message_id=words.id, reaction="👍", reacted_at=now(), contact_id=customer.id, **about
        )
    )
    await tickets.tell(MessageSent(message_id=ours, platform_id=f"wamid.{phone}", **about))
    await eventually(lambda: log_has(tickets, id_, "delivery_recorded"))
    await eventually(lambda: log_has(tickets, id_, "reaction_changed"))
    analyst = tickets.world.token("analyst")
    at = datetime.now(UTC).isoformat().replace("+", "%2B")
    paths = ("", f"/{id_}", f"/{id_}?as_of={at}", f"/{id_}/log", f"/{id_}/messages")
    texts = ("hello there", "hi there", "a title", "a note", "a pause", "a.pdf")
    secrets = (phone, "Марія", str(customer.id), *texts)
    for path in paths:
        redacted, whole = [
            json.dumps(await tickets.get(path, reader), ensure_ascii=False)
            for reader in (analyst, tickets.boss)
        ]
        assert [secret for secret in secrets if secret in redacted] == [], path
        assert [secret for secret in secrets if secret in whole] != [], path
    messages = (await tickets.get(f"/{id_}/messages", analyst))["items"]
    assert [(m["text"], m["direction"]) for m in messages] == [(None, "in"), (None, "out")]
    assert [item["reaction"] for item in messages[0]["reactions"]] == ["👍"]
    sought = await tickets.http.get(f"/v1/requests?contact={customer.id}", headers=analyst)
    assert (sought.status_code, sought.json()["type"]) == (403, "not_yours")


async def test_integrator_reads_what_its_token_opened(tickets: Tickets) -> None:
    own, others, chat = uuid4(), uuid4(), uuid4()
    accounts = {own: ("api", "shop"), others: ("api", "x"), chat: ("custom", "shop")}
    for id_, (channel, account) in accounts.items():
        opening = RequestOpened(
            time=now(), request_id=id_, request_type="ticket", channel=channel, account=account,
            conversation="1", contact=Contact(id=uuid4(), name="Марія", address="m-1"),
            message=Message(id=uuid4(), text="hello", sent_at=now()),
        )  # fmt: skip
        await tickets.tell(opening)
    for id_ in accounts:
        await eventually(partial(tickets.log, id_))
    await tickets.post(f"/{own}/reply", {"text": "hi"})
    await tickets.post(f"/{own}/note", {"text": "a note"})
    shop = tickets.world.token("integrator", subject="shop")

    async def code(path: str, headers: dict[str, str] = shop) -> int:
        return (await tickets.http.get(f"/v1/requests{path}", headers=headers)).status_code

    assert [item["id"] for item in (await tickets.get("", shop))["items"]] == [str(own)]
    assert (await tickets.get(f"/{own}", shop))["contact"]["name"] == "Марія"
    messages = (await tickets.get(f"/{own}/messages", shop))["items"]
    assert [message["text"] for message in messages] == ["hello", "hi"]
    for path in (f"/{own}/log", f"/{others}", f"/{others}/messages", f"/{chat}"):
        assert await code(path) == 403, path
    assert await code(f"/{own}", tickets.world.token("integrator", subject="x")) == 403
    both = tickets.world.token("integrator", "analyst", subject="shop")
    assert (await tickets.get(f"/{own}", both))["contact"] is None


async def test_watching_and_notes_require_visibility(tickets: Tickets) -> None:
    """Watching gives no access; only the assignee and supervisors add other watchers."""
    id_ = uuid4()
    await tickets.tell(came_in(id_))
    await eventually(lambda: tickets.log(id_))
    await tickets.tell(assigned(id_, "anna"))
    await eventually(lambda: has_assignee(tickets, id_, "anna"))
    stranger = tickets.world.token("operator", subject="olga")
    agent = tickets.world.token("light_agent", subject="lena")
    bohdan = tickets.world.token("operator", subject="bohdan")

    async def watch(caller: dict[str, str], watcher: str | None = None) -> int:
        body = {"watcher": watcher} if watcher else None
        return (await tickets.post(f"/{id_}/watchers", body, caller)).status_code

    async def unwatch(caller: dict[str, str], watcher: str) -> int:
        url = f"/v1/requests/{id_}/watchers/{watcher}"
        return (await tickets.http.delete(url, headers=caller)).status_code

    for outside in (stranger, agent):
        assert await watch(outside) == 403
        assert (await tickets.post(f"/{id_}/note", {"text": "x"}, outside)).status_code == 403
        seen = await tickets.http.get(f"/v1/requests/{id_}", headers=outside)
        assert seen.status_code == 403
    assert await watch(bohdan) == 200  # of the same group
    assert await watch(bohdan, "olena") == 403
    assert await watch(tickets.anna, "olena") == 200  # hers
    assert await watch(tickets.boss, "lena") == 422  # nobody the workspace knows
    assert await unwatch(agent, "bohdan") == 403
    assert await unwatch(bohdan, "olena") == 403
    assert await unwatch(bohdan, "bohdan") == 200
    assert await unwatch(tickets.anna, "olena") == 200

    wrong = await tickets.post(f"/{id_}/watchers", {"watcher": "x" * 150}, tickets.anna)
    (error,) = wrong.json()["errors"]
    assert (error["at"], error["value"]) == ("body.watcher", "x" * 100 + "…")


async def test_watcher_of_waiting_request_gains_no_access(tickets: Tickets) -> None:
    id_ = uuid4()
    await tickets.tell(came_in(id_))
    await eventually(lambda: tickets.log(id_))
    agent = tickets.world.token("light_agent", subject="lena")
    own = f"/v1/requests/{id_}/watchers/lena"

    async def sees(caller: dict[str, str]) -> list[int]:
        paths = ("", "/log", "/messages")
        urls = [f"/v1/requests/{id_}{path}" for path in paths]
        return [(await tickets.http.get(url, headers=caller)).status_code for url in urls]

    assert (await tickets.post(f"/{id_}/note", {"text": "x"}, agent)).status_code == 201
    assert (await tickets.post(f"/{id_}/watchers", None, agent)).status_code == 200
    assert await sees(agent) == [200] * 3
    elsewhere = assigned(id_, "bohdan").model_copy(update={"group": "finance"})
    await tickets.tell(elsewhere)
    await eventually(lambda: has_assignee(tickets, id_, "bohdan"))

    assert await sees(agent) == [403] * 3
    assert (await tickets.post(f"/{id_}/note", {"text": "x"}, agent)).status_code == 403
    assert (await tickets.http.delete(own, headers=agent)).status_code == 200  # enough of it
    assert (await tickets.http.delete(own, headers=agent)).status_code == 403
    assert await sees(tickets.anna) == [403] * 3
    asked_in = await tickets.post(f"/{id_}/watchers", {"watcher": "anna"}, tickets.boss)
    assert asked_in.status_code == 200
    assert await sees(tickets.anna) == [200] * 3
    assert (await tickets.post(f"/{id_}/note", {"text": "x"}, tickets.anna)).status_code == 201
    assert "invited_watchers" not in await tickets.get(
        f"/{id_}?as_of=2100-01-01T00:00:00Z", tickets.anna
    )


async def test_list_pages_and_filters(tickets: Tickets) -> None:
    ids = [await tickets.opened() for _ in range(5)]
    await tickets.post(f"/{ids[0]}/close")
    await tickets.post(f"/{ids[1]}/tags", {"tag": "vip"})
    due = TargetBreached(
        time=now(), request_id=UUID(ids[2]), clock="FRT", due_at=now(), noticed_at=now()
    )
    await tickets.tell(due)

    async def listed(query: str) -> list[str]:
        return [item["id"] for item in (await tickets.get(f"?{query}"))["items"]]

    page = await tickets.get("?limit=3")
    rest = await tickets.get(f"?limit=3&cursor={page['next']}")
    assert [item["id"] for item in page["items"] + rest["items"]] == ids[::-1]
    assert rest["next"] is None
    assert await listed("open=false&type=ticket") == ids[:1]
    assert await listed("tag=vip&topic=billing&priority=medium&channel=email") == ids[1:2]
    await eventually(lambda: listed("breached=true"))
    assert await listed("breached=true") == ids[2:3]
    assert (await tickets.get(f"/{ids[2]}"))["breached"] == ["FRT"]
    wrong = await tickets.http.get("/v1/requests?cursor=none", headers=tickets.boss)
    assert wrong.status_code == 422


@pytest.mark.parametrize("what", ["log", "messages"])
async def test_log_and_messages_pages_follow_each_other(tickets: Tickets, what: str) -> None:
    id_ = await tickets.opened()
    for n in range(4):
        await tickets.post(f"/{id_}/reply", {"text": f"{n}"})

    seen: list[int] = []
    cursor: str | None = ""
    pages = 0
    while cursor is not None:
        page = await tickets.get(f"/{id_}/{what}?limit=2{f'&cursor={cursor}' if cursor else ''}")
        seen += [item["sequence"] for item in page["items"]]
        cursor, pages = page["next"], pages + 1

    assert (seen, pages) == ([1, 2, 3, 4, 5], 3)
    wrong = await tickets.http.get(f"/v1/requests/{id_}/{what}?cursor=17", headers=tickets.boss)
    assert [error["at"] for error in wrong.json()["errors"]] == ["query.cursor"]
