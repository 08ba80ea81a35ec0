"""notify's addresses: an operator's bell, and what became of everything sent about a request."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from chassis.auth.dependencies import Caller, Identity, Role, allow
from chassis.service import Here
from chassis.web.problems import Problem, invalid, missing
from notify import store
from notify.delivery import queue
from notify.webhooks import store as webhooks

BELLS = (Role.OPERATOR, Role.LIGHT_AGENT, Role.SUPERVISOR, Role.ADMINISTRATOR)
FIRST = 2**63 - 1

router = APIRouter(prefix="/v1", tags=["told"], dependencies=[Depends(allow(*BELLS))])


class Read(BaseModel):
    """Which notifications were read; without ids, all of them."""

    ids: list[UUID] | None = None


@router.get("/operators/{operator}/notifications")
async def bell(
    operator: str,
    here: Here,
    who: Caller,
    *,
    unread: bool = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Give an operator's notifications, the latest first."""
    _own(who, operator)
    before = FIRST if cursor is None else _position(cursor)
    async with here.transaction() as tx:
        rows = await store.bell(tx, operator, before, unread=unread, limit=limit)
    items = [row.shown for row in rows]
    return {"items": items, "next": str(rows[-1].position) if len(rows) == limit else None}


@router.post("/operators/{operator}/notifications/read")
async def read(operator: str, here: Here, who: Caller, which: Read | None = None) -> dict[str, int]:
    """Mark notifications as read; says how many were not before."""
    _own(who, operator)
    async with here.transaction() as tx:
        return {"read": await store.read(tx, operator, which.ids if which else None)}


@router.get("/deliveries")
async def deliveries(request_id: UUID, here: Here, who: Caller) -> dict[str, Any]:
    """Give the replies to the customer, who was told, and webhooks, with what became of each."""
    async with here.transaction() as tx:
        request = (await store.load(tx, [request_id])).get(request_id)
        if request is None:
            raise missing("request", request_id)
        if not (_any(who) or who.subject in {request.assignee, *request.watchers}):
            raise Problem(403, "forbidden", "you have nothing to do with this request")
        items = [
            *await queue.of_request(tx, request_id),
            *await store.told(tx, request_id),
            *await webhooks.of_request(tx, request_id),
        ]
    return {"items": items, "next": None}


def _any(who: Identity) -> bool:
    return who.has(Role.SUPERVISOR, Role.ADMINISTRATOR)


def _own(who: Identity, operator: str) -> None:
    if who.subject != operator and not _any(who):
        raise Problem(403, "forbidden", f"this bell is {operator}'s")


def _position(cursor: str) -> int:
    if not cursor.isdecimal() or int(cursor) > FIRST:
        raise invalid("not a cursor of this list", at="query.cursor", value=cursor)
    return int(cursor)
