"""tickets on real servers: what it hears becomes one history, commands decide on what is true.

Long, as it tries every command and everything that is heard, over one set of fixtures.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

import psycopg
import pytest
from telling import Teller
from world import the_example

from chassis.testing import eventually, running
from tickets import store
from tickets.app import make
from tickets.settings import Settings
from trunkline.provision import connect_as
from trunkline_contracts import (
    AssigneeChanged,
    Attachment,
    Contact,
    ContactCard,
    DeliveryRecorded,
    DeliveryReported,
    Fact,
    Message,
    MessageEdited,
    MessageFailed,
    MessageReacted,
    MessageReceived,
    MessageReturned,
    MessageSent,
    Opened,
    ReplySent,
    RequestAssigned,
    RequestOpened,
    RequestQueued,
    RequestUnassigned,
    Restated,
    TargetBreached,
    TargetsRestated,
    read,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx
    from world import World

OPENING = {
    "type": "ticket",
    "topic": "billing",
    "description": "An invoice is missing\nSince May",
    "contact": {"name": "Maria", "email": "maria@example.test"},
}


class Tickets:
    """tickets in a test's own world, and somebody who tells it facts."""

    def __init__(self, world: World, teller: Teller) -> None:
        self.world = world
        self.tell = teller.tell
        self.stack = AsyncExitStack()
        self.boss = world.token("supervisor", subject="boss")
        self.anna = world.token("operator", subject="anna")
        self.http: httpx.AsyncClient

    async def start(self, **more: str) -> httpx.AsyncClient:
        """Run one replica more."""
        app = make(self.world.settings("tickets", Settings, **more))
        self.http = await self.stack.enter_async_context(running(app))
        return self.http

    async def get(self, path: str, who: dict[str, str] | None = None) -> Any:
        """Give what is shown there."""
        answer = await self.http.get(f"/v1/requests{path}", headers=who or self.boss)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(
        self, path: str, body: Any = None, who: dict[str, str] | None = None, **headers: str
    ) -> httpx.Response:
        """Command something."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"/v1/requests{path}"
        return await self.http.post(url, json=body, headers={**(who or self.boss), **sent})

    async def opened(self) -> str:
        """Open a request over HTTP."""
        answer = await self.post("", OPENING)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def log(self, request_id: object) -> list[str]:
        """Name what happened to a request."""
        items = (await self.get(f"/{request_id}/log"))["items"]
        assert [item["sequence"] for item in items] == list(range(1, len(items) + 1))
        return [item["type"].removeprefix("trunkline.tickets.v1.") for item in items]

    async def stream(self, count: int) -> list[Fact]:
        """Wait for so many facts in the stream, and read them."""
        nc = await connect_as("admin", self.world.nats.url, self.world.creds)
        js = nc.jetstream()

        async def there() -> bool:
            return (await js.stream_info("TICKETS")).state.messages >= count

        try:
            await eventually(there)
            messages = [await js.get_msg("TICKETS", seq) for seq in range(1, count + 1)]
            return [read(message.data or b"") for message in messages]
        finally:
            await nc.close()


@pytest.fixture
async def tickets(world: World) -> AsyncGenerator[Tickets]:
    await world.apply()
    async with Teller(world) as teller:
        tickets = Tickets(world, teller)
        await tickets.start()
        try:
            await eventually(lambda: _ready(tickets))
            yield tickets
            await _snapshots_are_folds(world)
        finally:
            await tickets.stack.aclose()


async def _snapshots_are_folds(world: World) -> None:
    """Whatever a test did, each request stands as its history says."""
    async with await psycopg.AsyncConnection.connect(world.dsn("tickets")) as conn:
        ids = [id_ for (id_,) in await world.sql("tickets", "SELECT id FROM requests")]
        assert await store.load(conn, ids) == await store.fold(conn, ids)


async def _ready(tickets: Tickets) -> bool:
    return (await tickets.post("", {**OPENING, "type": "none"})).status_code == 422


def now() -> datetime:
    return datetime.now(UTC)


def written(text: str = "My printer is on fire") -> Message:
    return Message(id=uuid4(), text=text, sent_at=now())


def came_in(request_id: UUID, **more: Any) -> RequestOpened:
    return RequestOpened(
        time=now(), request_id=request_id, request_type="chat", channel="telegram", account="main",
        conversation="77", contact=Contact(id=uuid4(), name="Марія", address="77", answer_to="78"),
        message=written(), **more,
    )  # fmt: skip


def assigned(request_id: UUID, to: str, epoch: int = 1) -> RequestAssigned:
    return RequestAssigned(
        time=now(), request_id=request_id, operator=to, group="first-line", epoch=epoch,
        mode="auto", decision=uuid4(),
    )  # fmt: skip


async def test_a_life_is_one_history(tickets: Tickets) -> None:
    id_ = uuid4()
    await tickets.tell(came_in(id_))
    await eventually(lambda: tickets.log(id_))
    queued = RequestQueued(
        time=now(), request_id=id_, group="first-line", weight=20, position=1, reason="opened"
    )
    await tickets.tell(queued, assigned(id_, "anna"))
    await eventually(lambda: _assignee(tickets, id_, "anna"))

    reply = await tickets.post(f"/{id_}/reply", {"text": "Water?"}, tickets.anna)
    assert reply.status_code == 201
    answered = UUID(reply.json()["message_id"])
    moved = await tickets.post(f"/{id_}/status", {"status": "open"}, tickets.anna)
    assert moved.json() == {"id": str(id_), "version": 5}
    assert moved.headers["etag"] == '"5"'
    await tickets.tell(MessageSent(time=now(), request_id=id_, message_id=answered))
    await eventually(lambda: _log_has(tickets, id_, "delivery_recorded"))
    closed = await tickets.post(f"/{id_}/close", {"resolution": "watered"}, tickets.anna)
    assert closed.status_code == 200

    late = written("Still burning")
    await tickets.tell(
        MessageReceived(time=now(), request_id=id_, message=late, threaded_by="conversation")
    )
    await eventually(lambda: _log_has(tickets, id_, "message_returned"))
    assert await tickets.log(id_) == [
        "opened", "queued", "assignee_changed", "reply_sent", "status_changed",
        "delivery_recorded", "closed", "message_returned",
    ]  # fmt: skip
    facts = await tickets.stream(8)
    assert [fact.sequence for fact in facts] == list(range(1, 9))
    assert all(fact.subject == str(id_) for fact in facts)
    opened, _, change, answer, *_, returned = facts
    assert isinstance(opened, Opened)
    assert isinstance(answer, ReplySent)
    assert opened.contact.answer_to == answer.contact.answer_to == "78"
    assert (opened.title, opened.status, opened.workspace) == ("My printer is on fire", "new", 1)
    assert isinstance(change, AssigneeChanged)
    assert (change.from_, change.to, change.mode, change.epoch) == (None, "anna", "auto", 1)
    assert isinstance(returned, MessageReturned)
    assert returned.message.id == late.id

    request = await tickets.get(f"/{id_}")
    assert (request["status"], request["resolution"], request["version"]) == (
        "closed",
        "watered",
        8,
    )
    messages = (await tickets.get(f"/{id_}/messages"))["items"]
    assert [(m["direction"], m["text"]) for m in messages] == [
        ("in", "My printer is on fire"), ("out", "Water?"), ("in", "Still burning"),
    ]  # fmt: skip
    assert messages[1]["state"] == "sent"
    before = await tickets.get(f"/{id_}?as_of={facts[3].time.isoformat().replace('+', '%2B')}")
    assert (before["version"], before["status"], before["assignee"]) == (4, "new", "anna")


async def test_what_befalls_messages_is_shown_beside_them(tickets: Tickets) -> None:
    """Corrected, taken back, reacted to, delivered, read: in the history, and where people look."""
    opened = came_in(uuid4())
    id_, first, second = opened.request_id, opened.message, written("And my desk")
    second = second.model_copy(update={"automatic": "precedence"})
    await tickets.tell(opened)
    await eventually(lambda: tickets.log(id_))
    replies = [await tickets.post(f"/{id_}/reply", {"text": text}) for text in ("Water", "Wait")]
    ours, lost = (UUID(reply.json()["message_id"]) for reply in replies)
    about: dict[str, Any] = {"time": now(), "request_id": id_}
    better = Message(id=first.id, text="My printer burns", sent_at=now())
    await tickets.tell(
        MessageReceived(message=second, threaded_by="conversation", **about),
        MessageEdited(message=better, **about),
        MessageEdited(message=second.model_copy(update={"text": ""}), deleted=True, **about),
        MessageReacted(
            message_id=ours, reaction="👍", reacted_at=now(), contact_id=opened.contact.id, **about
        ),
    )
    await tickets.tell(
        MessageSent(message_id=ours, platform_id="90", **about),
        MessageSent(message_id=lost, platform_id="91", **about),
    )

    async def both_sent() -> bool:
        return (await tickets.log(id_)).count("delivery_recorded") == 2

    await eventually(both_sent)
    await tickets.tell(
        DeliveryReported(platform_id="90", state="delivered", **about),
        DeliveryReported(message_id=ours, state="read", **about),
        DeliveryReported(
            message_id=lost, state="failed", reason="blocked", permanent=True, **about
        ),
    )

    async def shown() -> list[dict[str, Any]] | None:
        items: list[dict[str, Any]] = (await tickets.get(f"/{id_}/messages"))["items"]
        states = [each["state"] for each in items if each["direction"] == "out"]
        return items if states == ["read", "failed"] else None

    one, reply, other, gone = await eventually(shown) or []
    assert (one["text"], one["edited"], one["deleted"]) == ("My printer burns", True, False)
    assert (gone["text"], gone["deleted"], gone["automatic"]) == ("", True, "precedence")
    assert one["automatic"] is None
    assert [each["reaction"] for each in reply["reactions"]] == ["👍"]
    assert (reply["platform_id"], other["reason"]) == ("90", "blocked")
    log = await tickets.log(id_)
    assert [log.count(each) for each in ("message_changed", "delivery_recorded")] == [2, 5]
    facts = await tickets.stream(len(log))
    assert [fact.type.rpartition(".")[2] for fact in facts] == log
    told = {f.message_id: f.permanent for f in facts if isinstance(f, DeliveryRecorded)}
    assert told == {ours: False, lost: True}


async def _assignee(tickets: Tickets, id_: object, who: str | None) -> bool:
    return bool((await tickets.get(f"/{id_}"))["assignee"] == who)


async def _log_has(tickets: Tickets, id_: object, what: str) -> bool:
    return what in await tickets.log(id_)


async def test_opened_over_tickets(tickets: Tickets) -> None:
    answer = await tickets.post("", OPENING, tickets.anna)

    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert told == {"id": told["id"], "version": 1}
    assert answer.headers["location"] == f"/v1/requests/{told['id']}"
    request = await tickets.get(f"/{told['id']}")
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
async def test_what_nobody_knows_is_refused_with_what_is_allowed(
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


async def test_an_odd_value_is_refused_and_holds_up_nobody(tickets: Tickets) -> None:
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


async def test_versions_guard_commands(tickets: Tickets) -> None:
    id_ = await tickets.opened()

    first = await tickets.post(f"/{id_}/note", {"text": "one"}, if_match='"1"')
    stale = await tickets.post(f"/{id_}/note", {"text": "two"}, if_match='"1"')

    assert first.status_code == 201
    assert stale.status_code == 412
    assert (stale.json()["version"], stale.headers["etag"]) == (2, '"2"')
    assert await tickets.log(id_) == ["opened", "note_added"]
    nonsense = await tickets.post(f"/{id_}/note", {"text": "two"}, if_match="abc")
    assert nonsense.status_code == 422


async def test_a_command_sent_again_is_answered_again(tickets: Tickets) -> None:
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


async def test_rules_refuse_with_409(tickets: Tickets) -> None:
    id_ = await tickets.opened()

    back = await tickets.post(f"/{id_}/status", {"status": "resolved"})
    assert (back.status_code, back.json()["type"]) == (409, "status_not_allowed")
    assert back.json()["allowed"] == ["open"]
    assert (await tickets.post(f"/{id_}/status", {"status": "none"})).status_code == 422
    assert (await tickets.post(f"/{id_}/close")).status_code == 200
    for path, body in (("reply", {"text": "x"}), ("status", {"status": "open"}), ("close", {})):
        answer = await tickets.post(f"/{id_}/{path}", body)
        assert (answer.status_code, answer.json()["type"]) == (409, "closed")


async def test_who_may_do_what(tickets: Tickets) -> None:
    id_, unknown = uuid4(), uuid4()
    await tickets.tell(came_in(id_))
    await eventually(lambda: tickets.log(id_))
    await tickets.tell(assigned(id_, "anna"))
    await eventually(lambda: _assignee(tickets, id_, "anna"))
    token = tickets.world.token
    said = {"text": "hello"}

    async def code(path: str, *roles: str, subject: str = "somebody") -> int:
        who = token(*roles, subject=subject)
        return (await tickets.post(f"/{path}", said, who)).status_code

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


async def test_analysts_see_everything_but_contact_and_texts(tickets: Tickets) -> None:
    id_, phone = uuid4(), "380671234567"
    who = Contact(id=uuid4(), name="Марія", address=phone)
    card = ContactCard(name="Марія", phone=phone)
    words = Message(
        id=uuid4(), text="hello there", sent_at=now(), external_id=f"wamid.{phone}",
        reply_to=f"wamid.{phone}", contacts=(card,),
        attachments=(Attachment(name="a.pdf", external_id=f"file.{phone}"),),
    )  # fmt: skip
    about: dict[str, Any] = {"time": now(), "request_id": id_}
    opened = RequestOpened(
        request_type="chat", channel="whatsapp", account="main", conversation=phone, contact=who,
        message=words, **about,
    )  # fmt: skip
    await tickets.tell(opened)
    await eventually(lambda: tickets.log(id_))
    reply = await tickets.post(f"/{id_}/reply", {"text": "hi there"})
    ours = UUID(reply.json()["message_id"])
    await tickets.post(f"/{id_}/title", {"title": "a title"})
    await tickets.post(f"/{id_}/note", {"text": "a note"})
    await tickets.post(f"/{id_}/pause", {"reason": "a pause"})
    await tickets.tell(
        MessageReacted(
            message_id=words.id, reaction="👍", reacted_at=now(), contact_id=who.id, **about
        )
    )
    await tickets.tell(MessageSent(message_id=ours, platform_id=f"wamid.{phone}", **about))
    await eventually(lambda: _log_has(tickets, id_, "delivery_recorded"))
    await eventually(lambda: _log_has(tickets, id_, "reaction_changed"))
    analyst = tickets.world.token("analyst")
    at = datetime.now(UTC).isoformat().replace("+", "%2B")
    paths = ("", f"/{id_}", f"/{id_}?as_of={at}", f"/{id_}/log", f"/{id_}/messages")
    texts = ("hello there", "hi there", "a title", "a note", "a pause", "a.pdf")
    secrets = (phone, "Марія", str(who.id), *texts)
    for path in paths:
        shown, open_ = [
            json.dumps(await tickets.get(path, reader), ensure_ascii=False)
            for reader in (analyst, tickets.boss)
        ]
        assert [secret for secret in secrets if secret in shown] == [], path
        assert [secret for secret in secrets if secret in open_] != [], path
    messages = (await tickets.get(f"/{id_}/messages", analyst))["items"]
    assert [(m["text"], m["direction"]) for m in messages] == [(None, "in"), (None, "out")]
    assert [each["reaction"] for each in messages[0]["reactions"]] == ["👍"]
    sought = await tickets.http.get(f"/v1/requests?contact={who.id}", headers=analyst)
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

    async def code(path: str, who: dict[str, str] = shop) -> int:
        return (await tickets.http.get(f"/v1/requests{path}", headers=who)).status_code

    assert [item["id"] for item in (await tickets.get("", shop))["items"]] == [str(own)]
    assert (await tickets.get(f"/{own}", shop))["contact"]["name"] == "Марія"
    messages = (await tickets.get(f"/{own}/messages", shop))["items"]
    assert [message["text"] for message in messages] == ["hello", "hi"]
    for path in (f"/{own}/log", f"/{others}", f"/{others}/messages", f"/{chat}"):
        assert await code(path) == 403, path
    assert await code(f"/{own}", tickets.world.token("integrator", subject="x")) == 403
    both = tickets.world.token("integrator", "analyst", subject="shop")
    assert (await tickets.get(f"/{own}", both))["contact"] is None


async def test_watching_and_notes_are_for_those_who_may_see_it(tickets: Tickets) -> None:
    """Nobody lets themselves in by watching; others are made watchers by who is responsible."""
    id_ = uuid4()
    await tickets.tell(came_in(id_))
    await eventually(lambda: tickets.log(id_))
    await tickets.tell(assigned(id_, "anna"))
    await eventually(lambda: _assignee(tickets, id_, "anna"))
    stranger = tickets.world.token("operator", subject="olga")
    agent = tickets.world.token("light_agent", subject="lena")
    bohdan = tickets.world.token("operator", subject="bohdan")

    async def watch(who: dict[str, str], watcher: str | None = None) -> int:
        body = {"watcher": watcher} if watcher else None
        return (await tickets.post(f"/{id_}/watchers", body, who)).status_code

    async def unwatch(who: dict[str, str], watcher: str) -> int:
        url = f"/v1/requests/{id_}/watchers/{watcher}"
        return (await tickets.http.delete(url, headers=who)).status_code

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


async def test_watching_while_it_waits_lets_nobody_in_for_good(tickets: Tickets) -> None:
    id_ = uuid4()
    await tickets.tell(came_in(id_))
    await eventually(lambda: tickets.log(id_))
    agent = tickets.world.token("light_agent", subject="lena")
    own = f"/v1/requests/{id_}/watchers/lena"

    async def sees(who: dict[str, str]) -> list[int]:
        paths = ("", "/log", "/messages")
        urls = [f"/v1/requests/{id_}{path}" for path in paths]
        return [(await tickets.http.get(url, headers=who)).status_code for url in urls]

    assert (await tickets.post(f"/{id_}/note", {"text": "x"}, agent)).status_code == 201
    assert (await tickets.post(f"/{id_}/watchers", None, agent)).status_code == 200
    assert await sees(agent) == [200] * 3
    elsewhere = assigned(id_, "bohdan").model_copy(update={"group": "finance"})
    await tickets.tell(elsewhere)
    await eventually(lambda: _assignee(tickets, id_, "bohdan"))

    assert await sees(agent) == [403] * 3
    assert (await tickets.post(f"/{id_}/note", {"text": "x"}, agent)).status_code == 403
    assert (await tickets.http.delete(own, headers=agent)).status_code == 200  # enough of it
    assert (await tickets.http.delete(own, headers=agent)).status_code == 403
    assert await sees(tickets.anna) == [403] * 3
    asked_in = await tickets.post(f"/{id_}/watchers", {"watcher": "anna"}, tickets.boss)
    assert asked_in.status_code == 200
    assert await sees(tickets.anna) == [200] * 3
    assert (await tickets.post(f"/{id_}/note", {"text": "x"}, tickets.anna)).status_code == 201
    assert "guests" not in await tickets.get(f"/{id_}?as_of=2100-01-01T00:00:00Z", tickets.anna)


async def test_the_list_pages_and_filters(tickets: Tickets) -> None:
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


async def test_a_breach_that_was_disproved_is_none(tickets: Tickets) -> None:
    """It heals, whenever it is told; what an earlier clock broke stays."""
    kept, healed, other = [UUID(await tickets.opened()) for _ in range(3)]
    early, late = now() - timedelta(hours=2), now()

    def broke(id_: UUID, clock: Literal["FRT", "NRT"], due: datetime) -> TargetBreached:
        return TargetBreached(time=now(), request_id=id_, clock=clock, due_at=due, noticed_at=now())

    def stands(id_: UUID, *targets: Restated) -> TargetsRestated:
        return TargetsRestated(time=now(), request_id=id_, targets=targets, reason="heard late")

    between = early + timedelta(hours=1)
    await tickets.tell(
        broke(kept, "NRT", early), broke(kept, "NRT", late), broke(kept, "FRT", early),
        broke(healed, "FRT", late), broke(other, "FRT", early),
        stands(kept, Restated(clock="NRT", state="met", started_at=between)),
        stands(healed, Restated(clock="FRT", state="paused", started_at=early)),
        stands(other, Restated(clock="FRT", state="breached", started_at=early, due_at=late)),
        broke(healed, "NRT", late),
        stands(healed, Restated(clock="NRT", state="met", due_at=late)),
    )  # fmt: skip

    async def told() -> bool:
        rows = await tickets.world.sql("tickets", "SELECT request_id, clock, due_at FROM breaches")
        return set(rows) == {(kept, "NRT", early), (kept, "FRT", early), (other, "FRT", late)}

    await eventually(told)
    listed = (await tickets.get("?breached=true"))["items"]
    assert {item["id"] for item in listed} == {str(kept), str(other)}
    assert (await tickets.get(f"/{healed}"))["breached"] == []


async def test_everything_else_one_can_do(tickets: Tickets) -> None:
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
        "next": "2",
    }


async def test_facts_that_come_too_early_wait(tickets: Tickets) -> None:
    id_ = uuid4()
    failed = MessageFailed(time=now(), request_id=id_, message_id=uuid4(), reason="blocked")
    await tickets.tell(assigned(id_, "anna"), failed)
    await eventually(lambda: _waits(tickets, 2))

    await tickets.tell(came_in(id_))

    await eventually(lambda: _log_has(tickets, id_, "assignee_changed"))
    await eventually(lambda: _log_has(tickets, id_, "delivery_recorded"))
    facts = await tickets.stream(3)
    (delivery,) = (fact for fact in facts if isinstance(fact, DeliveryRecorded))
    assert (delivery.state, delivery.reason) == ("failed", "blocked")


async def _waits(tickets: Tickets, count: int) -> bool:
    return await tickets.world.sql("tickets", "SELECT count(*) FROM waiting") == [(count,)]


async def test_a_handover_is_recorded(tickets: Tickets) -> None:
    id_ = uuid4()
    await tickets.tell(came_in(id_))
    await eventually(lambda: tickets.log(id_))
    released = RequestUnassigned(
        time=now(), request_id=id_, operator="anna", reason="redistributed", epoch=1
    )
    await tickets.tell(assigned(id_, "anna"), released, assigned(id_, "bohdan", 2))
    await eventually(lambda: _assignee(tickets, id_, "bohdan"))

    changes = [fact for fact in await tickets.stream(4) if isinstance(fact, AssigneeChanged)]
    assert [(c.from_, c.to, c.mode) for c in changes] == [
        (None, "anna", "auto"), ("anna", None, "redistributed"), (None, "bohdan", "auto"),
    ]  # fmt: skip


async def test_two_replicas_write_one_history(tickets: Tickets) -> None:
    one, two = tickets.http, await tickets.start()
    id_ = UUID(await tickets.opened())

    async def note(http: httpx.AsyncClient, text: str) -> int:
        url = f"/v1/requests/{id_}/note"
        return (await http.post(url, json={"text": text}, headers=tickets.boss)).status_code

    notes = [note(http, f"{n}") for n in range(20) for http in (one, two)]
    messages = [
        MessageReceived(time=now(), request_id=id_, message=written(str(n)), threaded_by="reply")
        for n in range(20)
    ]
    codes, _ = await asyncio.gather(asyncio.gather(*notes), tickets.tell(*messages))

    assert codes == [201] * 40
    facts = await tickets.stream(61)
    assert [fact.sequence for fact in facts] == list(range(1, 62))
    version = await tickets.world.sql("tickets", "SELECT version FROM requests")
    assert version == [(61,)]


async def test_history_cannot_be_changed_by_the_service(tickets: Tickets) -> None:
    await tickets.opened()
    dsn = tickets.world.dsn("tickets")
    for deed in (
        "UPDATE tickets_events SET topic = 'x'",
        "DELETE FROM tickets_events",
        "TRUNCATE tickets_events",
    ):
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await conn.execute(deed)
