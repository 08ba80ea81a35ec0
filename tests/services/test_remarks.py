"""Edits, deletions, reactions and receipts on real servers: whichever comes first, none is lost."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from taking_in import NOW, Ingest, named, update

from chassis.testing import eventually
from ingest.channels import registry
from ingest.domain import message_updates
from ingest.domain.items import InboundItem, Person, RawDelivery
from ingest.intake import message_update_store
from trunkline_contracts import Contact, DeliveryRecorded, Message, ReplySent

if TYPE_CHECKING:
    import httpx

ANN = {"id": 7, "first_name": "Customer 7"}
CHAT = {"id": 7, "type": "private"}


def edit(number: int, of: int, text: str, seconds: int = 60) -> dict[str, Any]:
    body = {**update(of, text=text)["message"], "edit_date": 1772442000 + seconds}
    return {"update_id": number, "edited_message": body}


def reaction(number: int, of: int, emoji: str) -> dict[str, Any]:
    new = [{"type": "emoji", "emoji": emoji}]
    body = {
        "chat": CHAT, "message_id": named(of), "user": ANN, "date": 1772442090, "old_reaction": [],
        "new_reaction": new,
    }  # fmt: skip
    return {"update_id": number, "message_reaction": body}


def deletion(number: int, *of: int) -> dict[str, Any]:
    body = {"business_connection_id": "b", "chat": CHAT, "message_ids": [*map(named, of)]}
    return {"update_id": number, "deleted_business_messages": body}


async def reason(ingest: Ingest, accepted: httpx.Response, not_: str) -> dict[str, Any]:
    """Wait until an outcome's reason is another one."""

    async def other() -> dict[str, Any] | None:
        told = await ingest.outcome(accepted)
        return told if told["reason"] != not_ else None

    told = await eventually(other)
    assert told is not None
    return told


def in_business(body: dict[str, Any]) -> dict[str, Any]:
    """The same, in the customer's chat with a business the bot works for."""
    ((kind, message),) = [each for each in body.items() if each[0] != "update_id"]
    told = {**message, "business_connection_id": "b"}
    return {"update_id": body["update_id"], kind.replace("message", "business_message"): told}


REMARKS = [edit(20, 1, "Hello!"), reaction(21, 1, "👍")]


async def test_they_reach_the_request_of_their_message(ingest: Ingest) -> None:
    first = await ingest.outcome(await ingest.post(update(1)))
    told = [await ingest.outcome(await ingest.post(body)) for body in REMARKS]
    again = await ingest.outcome(await ingest.post(REMARKS[0]))

    assert {each["request_id"] for each in told} == {first["request_id"]}
    assert [(each["outcome"], each["reason"]) for each in told] == [
        ("noted", "edited"), ("noted", "reacted"),
    ]  # fmt: skip
    assert (again["outcome"], again["request_id"]) == ("duplicate", first["request_id"])
    (opened,) = await ingest.said("request_opened")
    (edited,) = await ingest.said("message_edited")
    (reacted,) = await ingest.said("message_reacted")
    ids = {edited["message"]["id"], reacted["message_id"]}
    assert ids == {opened["message"]["id"]}
    assert edited["message"]["text"] == "Hello!"
    assert (await ingest.ledger())["balanced"]


async def test_those_that_overtook_wait_for_their_message(ingest: Ingest) -> None:
    waits = [await ingest.post(body) for body in reversed(REMARKS)]
    told = [await ingest.outcome(each) for each in waits]
    assert {(each["outcome"], each["reason"]) for each in told} == {
        ("noted", message_updates.PENDING)
    }
    assert await ingest.said("message_edited") == []

    first = await ingest.outcome(await ingest.post(update(1)))

    told = [await reason(ingest, each, message_updates.PENDING) for each in waits]
    assert [each["reason"] for each in told] == ["reacted", "edited"]
    assert {each["request_id"] for each in told} == {first["request_id"]}
    (edited,) = await ingest.said("message_edited")
    assert edited["message"]["text"] == "Hello!"
    assert len(await ingest.said("message_reacted")) == 1
    assert await ingest.world.sql("ingest", "SELECT count(*) FROM early") == [(0,)]
    assert (await ingest.ledger())["balanced"]


async def test_bot_chat_and_business_chat_are_separate(
    ingest: Ingest,
) -> None:
    """The chat's number is the same, and so may be the messages' numbers."""
    early = await ingest.post(deletion(22, 1))
    assert (await ingest.outcome(early))["reason"] == message_updates.PENDING
    bots = await ingest.outcome(await ingest.post(update(1)))
    other = update(2)
    other["message"]["message_id"] = named(1)
    theirs = await ingest.outcome(await ingest.post(in_business(other)))
    edited = await ingest.outcome(await ingest.post(edit(20, 1, "Hello!")))
    changed = await ingest.outcome(await ingest.post(in_business(edit(21, 1, "Hi!"))))

    assert [bots["outcome"], theirs["outcome"]] == ["opened", "opened"]
    assert edited["request_id"] == bots["request_id"] != theirs["request_id"]
    assert changed["request_id"] == theirs["request_id"]
    gone = await reason(ingest, early, message_updates.PENDING)
    assert (gone["reason"], gone["request_id"]) == ("deleted", theirs["request_id"])
    told = [(f["request_id"], f["deleted"]) for f in await ingest.said("message_edited")]
    assert told == [
        (theirs["request_id"], True), (bots["request_id"], False), (theirs["request_id"], False),
    ]  # fmt: skip
    assert [fact["conversation"] for fact in await ingest.said("request_opened")] == [
        "7", "7:business:b",
    ]  # fmt: skip


async def test_early_update_finds_its_message_among_many_pending(
    ingest: Ingest,
) -> None:
    """However many remarks wait in its conversation for messages that never come."""
    few = asyncio.Semaphore(20)

    async def react(number: int) -> None:
        async with few:
            await ingest.post(reaction(number, number, "👍"))

    await asyncio.gather(*(react(number) for number in range(1000, 1505)))
    edited = await ingest.post(edit(9000, 1, "Hello!"))
    assert (await ingest.ledger())["outcomes"]["noted"] == 506
    assert (await ingest.outcome(edited))["reason"] == message_updates.PENDING

    first = await ingest.outcome(await ingest.post(update(1)))

    told = await reason(ingest, edited, message_updates.PENDING)
    assert (told["reason"], told["request_id"]) == ("edited", first["request_id"])
    (fact,) = await ingest.said("message_edited")
    assert fact["message"]["text"] == "Hello!"
    assert await ingest.world.sql("ingest", "SELECT count(*) FROM early") == [(505,)]


async def test_an_edit_changes_no_message_of_another_chat(ingest: Ingest) -> None:
    """A message's number counts in its chat, and equals some update's number by chance."""
    equal = update(named(1), chat=8)
    equal["message"]["message_id"] = equal["update_id"]
    other = await ingest.outcome(await ingest.post(equal))
    first = await ingest.outcome(await ingest.post(update(1)))

    told = await ingest.outcome(await ingest.post(edit(20, 1, "Hello!")))

    assert told["request_id"] == first["request_id"] != other["request_id"]
    (edited,) = await ingest.said("message_edited")
    assert edited["request_id"] == first["request_id"]


async def test_two_replicas_wait_for_each_other(ingest: Ingest) -> None:
    """Edits and their messages at once, in slots that different leaders read."""
    await ingest.stop()
    await ingest.start(READERS="2")
    await ingest.start(READERS="2")
    bodies = [update(n, n) for n in range(1, 21)]
    edits = [
        {"edited_message": {**each["message"], "edit_date": 1772443000}, "update_id": 100 + n}
        for n, each in enumerate(bodies)
    ]
    for message, change in zip(bodies, edits, strict=True):
        await ingest.post(change, replica=0)
        await ingest.post(message, replica=1)

    async def all_told() -> bool:
        return len(await ingest.said("message_edited")) == 20

    await eventually(all_told)
    opened = {fact["message"]["id"] for fact in await ingest.said("request_opened")}
    assert {fact["message"]["id"] for fact in await ingest.said("message_edited")} == opened


async def wait_too_long(ingest: Ingest) -> None:
    late = message_updates.MAX_PENDING_TIME + timedelta(minutes=1)
    await ingest.world.sql("ingest", "UPDATE early SET received_at = received_at - %s", late)
    service = ingest.apps[0].state.service
    async with service.transaction() as tx:
        await message_update_store.expire(tx)
    for more in (True, False):
        async with service.transaction() as tx:
            assert await service.state["intake"].on_expiry(tx) == more


async def test_what_waits_too_long_is_noted_but_an_edit_is_a_message(ingest: Ingest) -> None:
    """It says all of the message that never came, so it is no less than that."""
    noted, first, second, other = [
        await ingest.post(body)
        for body in (
            reaction(19, 9, "👍"), edit(21, 1, "Hello!!", 70), edit(20, 1, "Hello!"),
            edit(30, 2, "Elsewhere?"),
        )
    ]  # fmt: skip
    await ingest.ledger()

    await wait_too_long(ingest)

    told = [await ingest.outcome(each) for each in (noted, first, second, other)]
    assert [each["outcome"] for each in told] == ["noted", "noted", "opened", "appended"]
    assert [each["reason"] for each in told] == [
        message_updates.EXPIRED,
        "edited",
        f"an edit: {message_updates.EXPIRED}",
        f"an edit: {message_updates.EXPIRED}",
    ]  # fmt: skip
    (opened,), (received,) = [
        await ingest.said(kind) for kind in ("request_opened", "message_received")
    ]
    (edited,) = await ingest.said("message_edited")
    assert (opened["message"]["text"], received["message"]["text"]) == ("Hello!", "Elsewhere?")
    assert (edited["message"]["text"], edited["message"]["id"]) == (
        "Hello!!", opened["message"]["id"],
    )  # fmt: skip
    assert opened["message"]["flags"] == [f"an edit: {message_updates.EXPIRED}"]
    assert {each["request_id"] for each in told[1:]} == {opened["request_id"]}
    assert await ingest.world.sql("ingest", "SELECT count(*) FROM early") == [(0,)]
    later = await ingest.outcome(await ingest.post(edit(40, 1, "Hello!!!", 99)))
    assert (later["reason"], later["request_id"]) == ("edited", opened["request_id"])
    assert (await ingest.ledger())["balanced"]


async def test_no_account_fills_the_table(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no room is noted; an edit without room is a message at once."""
    monkeypatch.setattr(message_update_store, "MAX_PENDING_UPDATES", 2)
    for n in range(4):
        await ingest.outcome(await ingest.post(reaction(20 + n, n, "👍")))
    told = await ingest.outcome(await ingest.post(edit(30, 1, "Hello!")))

    noted = await ingest.world.sql(
        "ingest", "SELECT reason FROM item WHERE outcome = 'noted' ORDER BY received_at"
    )
    assert [reason for (reason,) in noted] == [message_updates.PENDING] * 2 + [
        message_updates.OVER_LIMIT
    ] * 2
    assert await ingest.world.sql("ingest", "SELECT count(*) FROM early") == [(2,)]
    assert (told["outcome"], told["reason"]) == ("opened", f"an edit: {message_updates.OVER_LIMIT}")
    (opened,) = await ingest.said("request_opened")
    assert (opened["message"]["text"], opened["message"]["external_id"]) == (
        "Hello!",
        str(named(1)),
    )
    again = await ingest.outcome(await ingest.post(edit(31, 1, "Hello!!", 70)))
    assert (again["reason"], again["request_id"]) == ("edited", opened["request_id"])
    assert (await ingest.ledger())["balanced"]


class Receipts:
    """A channel that tells what became of our messages, by a plain adapter."""

    def __init__(self, ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ingest = ingest
        monkeypatch.setattr(registry, "PARSERS", {**registry.PARSERS, "widget": self.read})

    def read(self, raw: RawDelivery) -> tuple[InboundItem, ...]:
        told = json.loads(raw.body)
        until = told.pop("until", None)
        more = {"until": NOW + timedelta(seconds=until)} if until is not None else {}
        kind = told.pop("kind", "receipt")
        id = str(uuid4())
        person = Person("7", "Ann") if kind == "message" else None
        return (
            InboundItem(kind, id, id, conversation="7", person=person, sent_at=NOW, **told, **more),
        )

    async def deliver(self, **told: Any) -> dict[str, Any]:
        receiver = self.ingest.apps[0].state.service.state["receiver"]
        body = json.dumps(told).encode()
        said = await receiver.store(receiver.new_delivery("widget", "main", body))
        id = json.loads(said)["inbound_id"]

        async def settled() -> dict[str, Any] | None:
            answer = await self.ingest.http.get(f"/v1/inbound/{id}", headers=self.ingest.boss)
            found: dict[str, Any] = answer.json()
            return found if found["outcome"] != "pending" else None

        found = await eventually(settled)
        assert found is not None
        return found

    async def write(self, request_id: str) -> UUID:
        """Have tickets say that we answered."""
        message = Message(id=uuid4(), text="hi", sent_at=NOW)
        reply = ReplySent(
            time=NOW, request_id=UUID(request_id), message=message, by="anna", channel="widget",
            account="main", contact=Contact(id=uuid4()), conversation="7",
        )  # fmt: skip
        await self.ingest.tell(reply)
        await self.known("written_at", message.id)
        return message.id

    async def send(self, request_id: str, id: UUID, name: str) -> None:
        """Have tickets say that it is on its way, under a name on the platform."""
        await self.ingest.tell(
            DeliveryRecorded(
                time=NOW, request_id=UUID(request_id), message_id=id, state="sent",
                platform_id=name,
            )
        )  # fmt: skip
        await self.known("sent_at", id)

    async def known(self, column: str, id: UUID) -> None:
        async def there() -> bool:
            query = f"SELECT {column} FROM outgoing WHERE message_id = %s"
            rows = await self.ingest.world.sql("ingest", query, id)
            return bool(rows and rows[0][0])

        await eventually(there)


@pytest.fixture
def receipts(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> Receipts:
    return Receipts(ingest, monkeypatch)


@pytest.mark.parametrize("by", ["about", "reference", "until"])
async def test_a_receipt_finds_our_message_by_any_name(receipts: Receipts, by: str) -> None:
    request_id = (await receipts.deliver(kind="message", text="hello"))["request_id"]
    id = await receipts.write(request_id)
    await receipts.send(request_id, id, "m-90")
    named = {"about": "m-90", "reference": str(id), "until": 1}

    told = await receipts.deliver(state="delivered", **{by: named[by]})
    for state in ("read", "delivered"):
        await receipts.deliver(state=state, **{by: named[by]})

    assert (told["outcome"], told["request_id"]) == ("noted", request_id)
    reported = await receipts.ingest.said("delivery_reported")
    assert [(each["message_id"], each["state"]) for each in reported] == [
        (str(id), "delivered"), (str(id), "read"),
    ]  # fmt: skip


@pytest.mark.parametrize("by", ["about", "until"])
async def test_a_receipt_that_overtook_waits_for_what_it_is_about(
    receipts: Receipts, by: str
) -> None:
    request_id = (await receipts.deliver(kind="message", text="hello"))["request_id"]
    id = await receipts.write(request_id)
    named: dict[str, Any] = {"about": "m-90", "until": 1}
    early = await receipts.deliver(state="read", **{by: named[by]})
    assert (early["outcome"], early["reason"]) == ("noted", message_updates.PENDING)

    await receipts.send(request_id, id, "m-90")

    async def reported() -> list[dict[str, Any]]:
        return await receipts.ingest.said("delivery_reported")

    (told,) = await eventually(reported) or []
    assert (told["message_id"], told["state"], told["request_id"]) == (str(id), "read", request_id)
    assert await receipts.ingest.world.sql("ingest", "SELECT count(*) FROM early") == [(0,)]


async def test_a_reaction_to_our_message(receipts: Receipts) -> None:
    request_id = (await receipts.deliver(kind="message", text="hello"))["request_id"]
    id = await receipts.write(request_id)
    await receipts.send(request_id, id, "m-90")

    told = await receipts.deliver(kind="reacted", about="m-90", reaction="👍")

    (reacted,) = await receipts.ingest.said("message_reacted")
    assert (told["request_id"], reacted["message_id"]) == (request_id, str(id))
