"""Bells on real servers: notifications, pages, and facts that come before their request."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from notify_stack import Notify, assigned, notify_stack, opened

from chassis.testing import eventually
from trunkline_contracts import (
    NoteAdded,
    Queued,
    TargetBreached,
    TargetWarned,
    WatcherAdded,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import World


@pytest.fixture
async def notify(world: World) -> AsyncGenerator[Notify]:
    async with notify_stack(world) as stack:
        yield stack


async def test_bell_of_assignee_and_watcher_lists_and_marks_read(notify: Notify) -> None:
    await notify.start()
    id_, now = uuid4(), datetime.now(UTC)
    await notify.tell(
        opened(id_),
        assigned(id_),
        WatcherAdded(time=now, request_id=id_, watcher="bohdan", by="anna"),
        NoteAdded(time=now, request_id=id_, note="a secret", by="anna"),
    )

    async def rung() -> bool:
        return len(await notify.bell("bohdan")) == 2

    await eventually(rung)
    [mine] = await notify.bell("anna")
    assert set(mine) == {"id", "kind", "request_id", "text", "at", "read", "count"}
    assert (mine["kind"], mine["request_id"], mine["read"]) == ("assigned", str(id_), False)
    assert [n["kind"] for n in await notify.bell("bohdan")] == ["note_added", "watching"]
    assert not any("secret" in n["text"] for n in await notify.bell("bohdan"))
    told = [
        (n["recipient"], n["kind"], n["channel"]) for n in await notify.said("notification_sent")
    ]
    assert Counter(told) == Counter(
        [
            ("anna", "assigned", "bell"),
            ("bohdan", "watching", "bell"),
            ("bohdan", "note_added", "bell"),
        ]
    )

    anna = notify.world.token("operator", subject="anna")
    path = "/v1/operators/anna/notifications"
    answer = await notify.http.post(f"{path}/read", headers=anna, json={"ids": [mine["id"]]})
    assert answer.json() == {"read": 1}
    assert [n["read"] for n in await notify.bell("anna")] == [True]
    assert (await notify.http.get(f"{path}?unread=true", headers=anna)).json()["items"] == []


async def test_bell_is_readable_by_owner_and_supervisor(notify: Notify) -> None:
    await notify.start()
    path = "/v1/operators/anna/notifications"

    async def status(role: str, subject: str) -> int:
        header = notify.world.token(role, subject=subject)
        return (await notify.http.get(path, headers=header)).status_code

    assert await status("operator", "anna") == 200
    assert await status("operator", "bohdan") == 403
    assert await status("supervisor", "bohdan") == 200
    assert await status("analyst", "anna") == 403
    assert (await notify.http.get(path)).status_code == 401


async def test_bell_pages_are_complete(notify: Notify) -> None:
    await notify.start()
    id_, now = uuid4(), datetime.now(UTC)
    notes = [NoteAdded(time=now, request_id=id_, note=str(n), by="olena") for n in range(9)]
    await notify.tell(opened(id_), assigned(id_), *notes)

    async def rung() -> bool:
        return len(await notify.bell("anna")) == 10

    await eventually(rung)
    anna, seen, cursor = notify.world.token("operator", subject="anna"), [], ""
    while cursor is not None:
        path = f"/v1/operators/anna/notifications?limit=4{f'&cursor={cursor}' if cursor else ''}"
        page = (await notify.http.get(path, headers=anna)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == 10


async def test_breach_before_its_request_is_deferred(notify: Notify) -> None:
    await notify.start()
    id_, now = uuid4(), datetime.now(UTC)
    await notify.tell(
        TargetBreached(time=now, request_id=id_, clock="FRT", due_at=now, noticed_at=now)
    )

    async def kept() -> bool:
        return bool(await notify.world.sql("notify", "SELECT 1 FROM waiting"))

    await eventually(kept)
    await notify.tell(opened(id_), assigned(id_))

    async def rung() -> bool:
        return [n["kind"] for n in await notify.bell("anna")] in (
            ["breached", "assigned"],
            ["assigned", "breached"],  # as one of the group, while it was nobody's
        ) and not await notify.world.sql("notify", "SELECT 1 FROM waiting")

    await eventually(rung)


async def test_breach_without_assignee_notifies_the_group(
    notify: Notify,
) -> None:
    await notify.start()
    first, moved, taken = uuid4(), uuid4(), uuid4()
    now = datetime.now(UTC)
    await notify.tell(
        opened(first), opened(moved), opened(taken), assigned(taken, "bohdan"),
        Queued(time=now, request_id=moved, group="finance"),
    )  # fmt: skip

    async def heard() -> bool:
        return bool(await notify.bell("bohdan"))

    await eventually(heard)
    await notify.tell(
        TargetWarned(time=now, request_id=first, clock="FRT", fraction=0.8, due_at=now),
        TargetBreached(time=now, request_id=moved, clock="FRT", due_at=now, noticed_at=now),
        TargetBreached(time=now, request_id=taken, clock="FRT", due_at=now, noticed_at=now),
    )

    async def rung() -> bool:
        told = {
            (who, n["kind"], n["request_id"])
            for who in ("anna", "bohdan", "olena")
            for n in await notify.bell(who)
        }
        return told == {
            *((who, "warned", str(first)) for who in ("anna", "bohdan", "olena")),
            ("olena", "breached", str(moved)),
            ("bohdan", "assigned", str(taken)),
            ("bohdan", "breached", str(taken)),
        }

    await eventually(rung)
