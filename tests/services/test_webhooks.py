"""Webhooks on real servers: subscriptions, signatures, order, access and egress."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from webhook_stack import (
    NEW,
    OLD,
    Notify,
    Receiver,
    closed,
    hook,
    noted,
    opened,
    receiving,
    titled,
    webhook_stack,
)

from chassis.testing import eventually, running
from notify.app import make
from notify.domain.webhooks import delivery_id
from notify.settings import Settings
from trunkline_contracts import (
    NoteAdded,
    RequestAssigned,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import World

    from trunkline_contracts import Fact


@pytest.fixture
async def notify(world: World) -> AsyncGenerator[Notify]:
    async with webhook_stack(world) as stack:
        yield stack


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def test_webhook_delivers_committed_facts_signed_in_order(
    notify: Notify, receiver: Receiver
) -> None:
    await notify.declare(hook=hook(f"{receiver.url}/hook", ordered="true"))
    await notify.start()
    ids = [uuid4() for _ in range(6)]
    told: list[Fact] = []
    for id_ in ids:
        told += await notify.tell(opened(id_))
    for n in range(4):
        told += await notify.tell(*[titled(id_, str(n)) for id_ in ids])
    told += await notify.tell(*[noted(id_) for id_ in ids], *[closed(id_) for id_ in ids])
    outside = [fact for fact in told if not isinstance(fact, NoteAdded)]

    async def all_there() -> bool:
        return len(receiver.got) >= len(outside)

    await eventually(all_there)
    by_id = {str(delivery_id(fact.id, "hook")): fact for fact in told}
    for headers, body in receiver.got:
        assert body == by_id[headers["webhook-id"]].wire()
        assert headers["content-type"] == "application/cloudevents+json"
    assert {h["traceparent"] for h in receiver.tried() if "traceparent" in h} == {
        f"00-{'ab' * 16}-{'cd' * 8}-01"
    }
    for id_ in ids:
        mine = [f.sequence for f in receiver.taken() if f.subject == str(id_)]
        assert mine == [1, 2, 3, 4, 5, 7]
        assert receiver.most[str(id_)] == 1
    assert not any(isinstance(fact, NoteAdded) for fact in receiver.taken())

    async def settled() -> bool:
        return {d["state"] for d in await notify.deliveries(ids[0])} == {"sent"}

    await eventually(settled)
    [first, *_] = await notify.deliveries(ids[0])
    assert (first["to"], first["kind"], first["status"], first["attempts"]) == (
        "hook", "trunkline.tickets.v1.opened", 204, 1,
    )  # fmt: skip


async def test_endpoint_gets_subscribed_events_only(notify: Notify, receiver: Receiver) -> None:
    await notify.declare(
        ends=hook(f"{receiver.url}/ends", "tickets.v1.opened", "tickets.v1.closed"),
        inner=hook(f"{receiver.url}/inner", "tickets.v1.note_added", internal="true"),
        routing=hook(f"{receiver.url}/routing", "routing.v1.request_assigned"),
    )
    await notify.start()
    id_ = uuid4()
    now = datetime.now(UTC)
    await notify.tell(
        RequestAssigned(
            time=now, request_id=id_, operator="anna", group="g", epoch=1, mode="auto",
            decision=uuid4(),
        ),
        opened(id_), titled(id_), noted(id_), closed(id_),
    )  # fmt: skip

    async def there() -> bool:
        return len(receiver.got) == 4

    await eventually(there)
    assert sorted(type(f).__name__ for f in receiver.taken("ends")) == ["Closed", "Opened"]
    assert [type(f).__name__ for f in receiver.taken("inner")] == ["NoteAdded"]
    assert [type(f).__name__ for f in receiver.taken("routing")] == ["RequestAssigned"]


async def test_webhook_is_signed_with_both_rotating_secrets(
    notify: Notify, receiver: Receiver
) -> None:
    await notify.declare(
        hook=hook(f"{receiver.url}/hook", "tickets.v1.*", secret="[env:HOOK_NEW, env:HOOK_OLD]")
    )
    await notify.start()
    for secret in (OLD, NEW):
        receiver.secret = secret
        id_ = uuid4()
        await notify.tell(opened(id_))

        async def there(id_: UUID = id_) -> bool:
            return str(id_) in {fact.subject for fact in receiver.taken()}

        await eventually(there)
    assert all(len(h["webhook-signature"].split(" ")) == 2 for h in receiver.tried())


async def test_internal_address_gets_no_webhook(notify: Notify, receiver: Receiver) -> None:
    port = receiver.url.rpartition(":")[2]
    await notify.declare(hook=hook(f"http://localhost:{port}/hook"))
    app = make(notify.world.settings("notify", Settings))
    async with running(app) as notify.http:
        id_ = uuid4()
        await notify.tell(opened(id_))

        async def refused() -> dict[str, Any] | None:
            [delivery] = await notify.deliveries(id_)
            return delivery if delivery["attempts"] else None

        found = await eventually(refused)
    assert found is not None
    assert found["reason"] == "only https on port 443 or 8443 leaves for outside"
    assert receiver.got == []


async def test_roles_decide_who_sees_and_redrives_webhooks(
    notify: Notify, receiver: Receiver
) -> None:
    await notify.declare(
        acme=hook(f"{receiver.url}/hook"), other=hook(f"{receiver.url}/hook", secret="env:NONE")
    )
    await notify.start()

    async def there() -> bool:
        return len(await notify.ask("/v1/webhooks")) == 2

    await eventually(there)
    assert [i["id"] for i in await notify.ask("/v1/webhooks", "integrator", "acme")] == ["acme"]
    assert (await notify.status("other"))["state"] == "no_secret"
    assert "whsec" not in str(await notify.ask("/v1/webhooks"))
    mine = notify.world.token("integrator", subject="acme")

    async def status(name: str, body: dict[str, Any], head: dict[str, str]) -> int:
        path = f"/v1/webhooks/{name}/redrive"
        return (await notify.http.post(path, json=body, headers=head)).status_code

    assert await status("acme", {"failed": True}, mine) == 200
    assert await status("other", {"failed": True}, mine) == 403
    assert await status("nobody", {"failed": True}, notify.world.token("administrator")) == 404
    assert await status("acme", {}, notify.world.token("administrator")) == 422
    assert await status("acme", {"failed": True}, notify.world.token("supervisor")) == 403


async def test_select_due_uses_the_index_with_many_deliveries(notify: Notify) -> None:
    await notify.world.sql(
        "notify",
        "INSERT INTO deliveries (id, endpoint, type, key, sequence, body, next_at)"
        " SELECT gen_random_uuid(), 'hook', 't', (n %% 2000)::text, n, 'x',"
        " now() + interval '1 hour' FROM generate_series(1, 20000) n",
    )
    await notify.world.sql("notify", "ANALYZE deliveries")
    plan = await notify.world.sql(
        "notify",
        "EXPLAIN SELECT d.* FROM deliveries d WHERE d.endpoint = 'hook' AND d.next_at <= now()"
        " AND NOT EXISTS (SELECT 1 FROM deliveries b WHERE b.endpoint = d.endpoint"
        " AND b.key = d.key AND b.turn < d.turn AND b.next_at IS NOT NULL)"
        " ORDER BY d.next_at, d.turn LIMIT 64",
    )
    lines = "\n".join(line for (line,) in plan)
    assert "deliveries_due" in lines
    assert "Seq Scan" not in lines
