"""tickets on real servers: the facts of other services become one history of entry request."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

import psycopg
import pytest

from chassis.testing import eventually
from trunkline_contracts import (
    AssigneeChanged,
    DeliveryRecorded,
    DeliveryReported,
    Message,
    MessageEdited,
    MessageFailed,
    MessageReacted,
    MessageReceived,
    MessageReturned,
    MessageSent,
    Opened,
    ReplySent,
    RequestQueued,
    RequestUnassigned,
    Restated,
    TargetBreached,
    TargetsRestated,
)

if TYPE_CHECKING:
    import httpx
from tickets_stack import Tickets, assigned, came_in, has_assignee, log_has, now, written


async def test_request_whole_life_is_one_history(tickets: Tickets) -> None:
    id_ = uuid4()
    await tickets.tell(came_in(id_))
    await eventually(lambda: tickets.log(id_))
    queued = RequestQueued(
        time=now(), request_id=id_, group="first-line", weight=20, position=1, reason="opened"
    )
    await tickets.tell(queued, assigned(id_, "anna"))
    await eventually(lambda: has_assignee(tickets, id_, "anna"))

    reply = await tickets.post(f"/{id_}/reply", {"text": "Water?"}, tickets.anna)
    assert reply.status_code == 201
    answered = UUID(reply.json()["message_id"])
    moved = await tickets.post(f"/{id_}/status", {"status": "open"}, tickets.anna)
    assert moved.json() == {"id": str(id_), "version": 5}
    assert moved.headers["etag"] == '"5"'
    await tickets.tell(MessageSent(time=now(), request_id=id_, message_id=answered))
    await eventually(lambda: log_has(tickets, id_, "delivery_recorded"))
    closed = await tickets.post(f"/{id_}/close", {"resolution": "watered"}, tickets.anna)
    assert closed.status_code == 200

    late = written("Still burning")
    await tickets.tell(
        MessageReceived(time=now(), request_id=id_, message=late, threaded_by="conversation")
    )
    await eventually(lambda: log_has(tickets, id_, "message_returned"))
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


async def test_messages_show_edits_reactions_and_deliveries(tickets: Tickets) -> None:
    """Edits, deletions, reactions and deliveries are in the history and beside their messages."""
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

    async def final_states() -> list[dict[str, Any]] | None:
        items: list[dict[str, Any]] = (await tickets.get(f"/{id_}/messages"))["items"]
        states = [entry["state"] for entry in items if entry["direction"] == "out"]
        return items if states == ["read", "failed"] else None

    one, reply, other, gone = await eventually(final_states) or []
    assert (one["text"], one["edited"], one["deleted"]) == ("My printer burns", True, False)
    assert (gone["text"], gone["deleted"], gone["automatic"]) == ("", True, "precedence")
    assert one["automatic"] is None
    assert [entry["reaction"] for entry in reply["reactions"]] == ["👍"]
    assert (reply["platform_id"], other["reason"]) == ("90", "blocked")
    log = await tickets.log(id_)
    assert [log.count(entry) for entry in ("message_changed", "delivery_recorded")] == [2, 5]
    facts = await tickets.stream(len(log))
    assert [fact.type.rpartition(".")[2] for fact in facts] == log
    permanent = {f.message_id: f.permanent for f in facts if isinstance(f, DeliveryRecorded)}
    assert permanent == {ours: False, lost: True}


async def test_facts_before_opening_are_deferred(tickets: Tickets) -> None:
    id_ = uuid4()
    failed = MessageFailed(time=now(), request_id=id_, message_id=uuid4(), reason="blocked")
    await tickets.tell(assigned(id_, "anna"), failed)
    await eventually(lambda: _waits(tickets, 2))

    await tickets.tell(came_in(id_))

    await eventually(lambda: log_has(tickets, id_, "assignee_changed"))
    await eventually(lambda: log_has(tickets, id_, "delivery_recorded"))
    facts = await tickets.stream(3)
    (delivery,) = (fact for fact in facts if isinstance(fact, DeliveryRecorded))
    assert (delivery.state, delivery.reason) == ("failed", "blocked")


async def _waits(tickets: Tickets, count: int) -> bool:
    return await tickets.world.sql("tickets", "SELECT count(*) FROM waiting") == [(count,)]


async def test_handover_between_operators_is_recorded(tickets: Tickets) -> None:
    id_ = uuid4()
    await tickets.tell(came_in(id_))
    await eventually(lambda: tickets.log(id_))
    released = RequestUnassigned(
        time=now(), request_id=id_, operator="anna", reason="redistributed", epoch=1
    )
    await tickets.tell(assigned(id_, "anna"), released, assigned(id_, "bohdan", 2))
    await eventually(lambda: has_assignee(tickets, id_, "bohdan"))

    changes = [fact for fact in await tickets.stream(4) if isinstance(fact, AssigneeChanged)]
    assert [(c.from_, c.to, c.mode) for c in changes] == [
        (None, "anna", "auto"), ("anna", None, "redistributed"), (None, "bohdan", "auto"),
    ]  # fmt: skip


async def test_breach_when_disproved_is_deleted(tickets: Tickets) -> None:
    """Breaches of earlier clocks of the same name stay."""
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

    async def expected_rows() -> bool:
        rows = await tickets.world.sql("tickets", "SELECT request_id, clock, due_at FROM breaches")
        return set(rows) == {(kept, "NRT", early), (kept, "FRT", early), (other, "FRT", late)}

    await eventually(expected_rows)
    listed = (await tickets.get("?breached=true"))["items"]
    assert {item["id"] for item in listed} == {str(kept), str(other)}
    assert (await tickets.get(f"/{healed}"))["breached"] == []


async def test_two_replicas_write_one_gapless_history(tickets: Tickets) -> None:
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


async def test_history_is_append_only_for_the_service(tickets: Tickets) -> None:
    await tickets.opened()
    dsn = tickets.world.dsn("tickets")
    for statement in (
        "UPDATE tickets_events SET topic = 'x'",
        "DELETE FROM tickets_events",
        "TRUNCATE tickets_events",
    ):
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await conn.execute(statement)
