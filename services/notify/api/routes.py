"""notify's addresses: an operator's bell, and what became of everything sent about a request."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from chassis.auth.dependencies import Identity, Role, allow
from chassis.service import Here, Service
from chassis.web.problems import Problem, invalid, missing
from notify import collapsing, store
from notify.delivery import queue
from notify.domain.request import Request
from notify.webhooks import store as webhooks

TEAM = (Role.OPERATOR, Role.LIGHT_AGENT)
COMMANDING = (Role.SUPERVISOR, Role.ADMINISTRATOR)
BELLS = (*TEAM, *COMMANDING)
FIRST = 2**63 - 1

router = APIRouter(prefix="/v1", tags=["told"])

Owner = Annotated[Identity, Depends(allow(*BELLS))]
"""Has a bell of their own, or looks after others'."""
Reader = Annotated[Identity, Depends(allow(*BELLS, Role.ANALYST))]
"""Reads requests."""


class Read(BaseModel):
    """Which notifications were read; without ids, all of them."""

    ids: list[UUID] | None = None


@router.get("/operators/{operator}/notifications")
async def bell(
    operator: str,
    here: Here,
    who: Owner,
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
    items = [row.body for row in rows]
    return {"items": items, "next": str(rows[-1].position) if len(rows) == limit else None}


@router.post("/operators/{operator}/notifications/read")
async def read(operator: str, here: Here, who: Owner, which: Read | None = None) -> dict[str, int]:
    """Mark notifications as read; says how many were not before."""
    _own(who, operator)
    async with here.transaction() as tx:
        return {"read": await store.mark_read(tx, operator, which.ids if which else None)}


@router.get("/deliveries")
async def deliveries(request_id: UUID, here: Here, who: Reader) -> dict[str, Any]:
    """Give the replies to the customer, who was told, and webhooks, with what became of each.

    Whoever may read the request may read this; analysts without what platforms said.
    """
    async with here.transaction() as tx:
        request = (await store.load(tx, [request_id])).get(request_id)
        if request is None:
            raise missing("request", request_id)
        if not (who.has(*COMMANDING, Role.ANALYST) or _reads(here, who, request)):
            raise Problem(403, "not_yours", "it is neither yours nor your groups'")
        messages = await queue.messages_of(tx, request_id)
        items = [
            *(messages if who.has(*BELLS) else map(_without_words, messages)),
            *await store.notifications_of(tx, request_id),
            *await collapsing.group_notifications_of(tx, request_id),
            *await webhooks.deliveries_of(tx, request_id),
        ]
    return {"items": items, "next": None}


def _reads(here: Service, who: Identity, request: Request) -> bool:
    """Return whether an operator or a light agent may read a request."""
    if who.subject in {request.assignee, *request.watchers}:
        return True
    document = here.workspaces.current
    group = document.groups.get(request.team or document.group_of(request.topic))
    return group is not None and who.subject in group.operators


def _without_words(message: dict[str, Any]) -> dict[str, Any]:
    """Leave out a platform's words and ids, which may name the customer."""
    return {**message, "reason": None, "platform_id": None}


def _any(who: Identity) -> bool:
    return who.has(*COMMANDING)


def _own(who: Identity, operator: str) -> None:
    if who.subject != operator and not _any(who):
        raise Problem(403, "forbidden", f"this bell is {operator}'s")


def _position(cursor: str) -> int:
    if not cursor.isdecimal() or int(cursor) > FIRST:
        raise invalid("not a cursor of this list", at="query.cursor", value=cursor)
    return int(cursor)
