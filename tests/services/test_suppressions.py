"""Nothing more is mailed to an address that takes nothing, until its owner writes again."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from postoffice import Office, open_office
from telling import Teller

from chassis.testing import eventually, running
from notify.app import make
from notify.settings import Settings
from trunkline_contracts import (
    AssigneeChanged,
    Contact,
    DeliveryRecorded,
    Message,
    MessageAdded,
    Opened,
    ReplySent,
)
from trunkline_contracts.ids import contact_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx
    from world import World

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
IRYNA = "iryna@example.test"
REASON = "bounced: 5.1.1 (no such mailbox)"


def contact(address: str = IRYNA) -> Contact:
    return Contact(id=contact_id("email", "main", address), address=address)


def opened(request_id: UUID, address: str = IRYNA, **about: Any) -> Opened:
    return Opened(
        time=NOW,
        request_id=request_id,
        request_type="chat",
        channel="email",
        account="main",
        contact=contact(address),
        topic="general",
        priority="medium",
        status="new",
        title="Order",
        message=Message(
            id=uuid4(), text="Where?", sent_at=NOW, external_id=f"<{uuid4()}@x>", **about
        ),
        conversation=f"thread of {request_id}",
    )


def reply(request_id: UUID, address: str = IRYNA, by: str = "anna") -> ReplySent:
    return ReplySent(
        time=NOW,
        request_id=request_id,
        message=Message(id=uuid4(), text="On its way.", sent_at=NOW),
        by=by,
        channel="email",
        account="main",
        contact=contact(address),
        conversation=f"thread of {request_id}",
    )


def added(request_id: UUID, **about: Any) -> MessageAdded:
    more = Message(id=uuid4(), text="Hello?", sent_at=NOW, external_id=f"<{uuid4()}@x>", **about)
    return MessageAdded(time=NOW, request_id=request_id, message=more)


def bounced(about: ReplySent, state: Any = "failed", **more: Any) -> DeliveryRecorded:
    return DeliveryRecorded(
        time=NOW,
        request_id=about.request_id,
        message_id=about.message.id,
        state=state,
        reason=REASON,
        **{"permanent": state == "failed"} | more,
    )


class Desk:
    """notify in a test's own world, and the mail server it sends by."""

    def __init__(
        self, world: World, teller: Teller, office: Office, replicas: list[httpx.AsyncClient]
    ) -> None:
        self.world, self.tell, self.office, self.replicas = world, teller.tell, office, replicas

    async def end(self, message: ReplySent) -> tuple[str, str | None]:
        """Wait for what became of a reply."""
        query = "SELECT state, reason FROM sends WHERE message_id = %s AND next_at IS NULL"

        async def settled() -> list[Any]:
            return await self.world.sql("notify", query, message.message.id)

        [(state, reason)] = await eventually(settled)
        return state, reason

    async def said(self, kind: str) -> list[dict[str, Any]]:
        query = "SELECT body FROM outbox WHERE type = %s ORDER BY position"
        rows = await self.world.sql("notify", query, f"trunkline.notify.v1.{kind}")
        return [json.loads(bytes(body))["data"] for (body,) in rows]


@asynccontextmanager
async def desk_of(world: World, replicas: int, **more: str) -> AsyncGenerator[Desk]:
    await world.apply()
    async with open_office() as office, Teller(world) as teller:
        settings = world.settings("notify", Settings, SINK_SMTP=office.place, **more)
        if replicas == 1:
            async with running(make(settings)) as http:
                yield Desk(world, teller, office, [http])
        else:
            async with running(make(settings)) as one, running(make(settings)) as other:
                yield Desk(world, teller, office, [one, other])


@pytest.fixture
async def desk(world: World) -> AsyncGenerator[Desk]:
    async with desk_of(world, 1) as it:
        yield it


async def test_bounced_address_is_suppressed_until_customer_writes(desk: Desk) -> None:
    one, other = uuid4(), uuid4()
    first, soft, second, elsewhere, automatic = (
        reply(one), reply(one), reply(one), reply(other, "Iryna@Example.test"),
        reply(one, by="rule"),
    )  # fmt: skip
    anna = AssigneeChanged(time=NOW, request_id=one, to="anna", mode="auto", epoch=1)
    await desk.tell(opened(one), opened(other), anna, first)
    assert await desk.end(first) == ("sent", None)
    await desk.tell(bounced(first, permanent=False), soft)
    assert (await desk.end(soft))[0] == "sent"

    await desk.tell(bounced(soft), second, elsewhere, automatic)

    why = f"the address takes no mail: {REASON}"
    for each in (second, elsewhere, automatic):
        assert await desk.end(each) == ("suppressed", why)
    failed = await desk.said("message_failed")
    assert {each["message_id"]: each["reason"] for each in failed} == {
        str(each.message.id): why for each in (second, elsewhere, automatic)
    }
    http, boss = desk.replicas[0], desk.world.token("supervisor")
    shown = (await http.get(f"/v1/deliveries?request_id={other}", headers=boss)).json()["items"]
    replies = [each for each in shown if each["what"] == "message"]
    assert [(each["state"], each["reason"]) for each in replies] == [("suppressed", why)]
    assert len(desk.office.carried) == 2

    # tickets records the failure, and whoever is responsible hears of it like of any other.
    await desk.tell(bounced(second, permanent=False))

    async def rung() -> bool:
        kinds = [each["kind"] for each in await desk.said("notification_sent")]
        return kinds.count("delivery_failed") == 3

    await eventually(rung)

    # What a machine sent in her name proves nothing; she does.
    again, late = reply(other), reply(other)
    await desk.tell(added(other, automatic="precedence"), again, added(other), late)
    assert await desk.end(again) == ("suppressed", why)
    assert await desk.end(late) == ("sent", None)
    assert len(desk.office.carried) == 3


async def test_a_new_request_or_a_mail_that_arrived_lifts_it_too(desk: Desk) -> None:
    one = uuid4()
    first, second, third, fourth = (reply(one) for _ in range(4))
    await desk.tell(opened(one), first)
    assert (await desk.end(first))[0] == "sent"
    await desk.tell(bounced(first), second)
    assert (await desk.end(second))[0] == "suppressed"

    await desk.tell(opened(uuid4()), third)
    assert (await desk.end(third))[0] == "sent"

    await desk.tell(bounced(third), bounced(first, "delivered"), fourth)
    assert (await desk.end(fourth))[0] == "sent"


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        ("550 5.1.1 no such mailbox", "suppressed"),
        ("553 nobody here", "suppressed"),
        ("550 5.7.1 relaying denied", "sent"),
        ("554 not now", "sent"),
    ],
)
async def test_a_receiver_refused_for_good_is_not_asked_for_again(
    desk: Desk, answer: str, again: str
) -> None:
    one = uuid4()
    first, second = reply(one), reply(one)
    desk.office.refusing[IRYNA] = answer
    await desk.tell(opened(one), first)
    state, reason = await desk.end(first)
    assert (state, desk.office.asked) == ("failed", [IRYNA])

    desk.office.refusing.clear()
    await desk.tell(second)

    end = await desk.end(second)
    assert end[0] == again
    assert end[1] == (f"the address takes no mail: {reason}" if again == "suppressed" else None)
    assert len(desk.office.asked) == (1 if again == "suppressed" else 2)


async def test_replicas_side_by_side_agree(world: World) -> None:
    """Many requests of a few addresses, bouncing and lifted at once, four readers at a time."""
    people = [f"c{n}@example.test" for n in range(4)]
    async with desk_of(world, 2, READERS="2") as desk:
        about = [(uuid4(), people[n % len(people)]) for n in range(40)]
        firsts = [reply(*each) for each in about]
        for each, first in zip(about, firsts, strict=True):
            await desk.tell(opened(*each), first)
        for first in firsts:
            assert (await desk.end(first))[0] == "sent"
        for first in firsts:
            await desk.tell(bounced(first), added(first.request_id))

        async def heard(sequence: int, requests: int) -> None:
            query = "SELECT count(*) FROM requests WHERE sequence >= %s"

            async def all_heard() -> bool:
                return await world.sql("notify", query, sequence) == [(requests,)]

            await eventually(all_heard)

        await heard(4, len(about))
        last = firsts[: len(people)]
        await desk.tell(*(bounced(first) for first in last))
        await heard(5, len(last))
        seconds = [reply(*each) for each in about]
        await desk.tell(*seconds)
        ends = {await desk.end(each) for each in seconds}

    assert ends == {("suppressed", f"the address takes no mail: {REASON}")}
    assert len(desk.office.carried) == len(firsts)
