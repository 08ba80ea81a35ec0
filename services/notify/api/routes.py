"""Routes: an operator's bell, and the deliveries of a request."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from chassis.auth.dependencies import Identity, allow
from chassis.service import ServiceDep
from chassis.web.conventions import Paging
from chassis.web.problems import missing
from notify import store
from notify.api.access import (
    BELL_OWNERS,
    READERS,
    require_own_bell,
    require_request,
    visible_message,
)
from notify.api.schemas import Read
from notify.bell import grouped
from notify.bell import store as bells
from notify.delivery import queue
from notify.webhooks import store as webhooks

MAX_POSITION = 2**63 - 1

router = APIRouter(prefix="/v1", tags=["told"])

BellOwner = Annotated[Identity, Depends(allow(*BELL_OWNERS))]
Reader = Annotated[Identity, Depends(allow(*READERS))]


@router.get("/operators/{operator}/notifications")
async def bell(
    operator: str,
    service: ServiceDep,
    caller: BellOwner,
    *,
    unread: bool = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """List an operator's notifications, the newest first."""
    require_own_bell(caller, operator)
    pages = Paging(limit, cursor)
    [before] = pages.after(int) or (MAX_POSITION,)
    async with service.transaction() as tx:
        entries = await bells.bell(tx, operator, before, unread=unread, limit=pages.fetch)
    return pages.page(entries, lambda entry: (entry.position,), lambda entry: entry.body)


@router.post("/operators/{operator}/notifications/read")
async def read(
    operator: str, service: ServiceDep, caller: BellOwner, which: Read | None = None
) -> dict[str, int]:
    """Mark notifications as read, and return how many were unread."""
    require_own_bell(caller, operator)
    async with service.transaction() as tx:
        return {"read": await bells.mark_read(tx, operator, which.ids if which else None)}


@router.get("/deliveries")
async def deliveries(request_id: UUID, service: ServiceDep, caller: Reader) -> dict[str, Any]:
    """List the messages, notifications and webhook deliveries of a request with their states.

    A caller who may read the request may read them; analysts do not see what platforms answered.
    """
    async with service.transaction() as tx:
        request = (await store.load(tx, [request_id])).get(request_id)
        if request is None:
            raise missing("request", request_id)
        require_request(service.workspaces, caller, request)
        messages = await queue.messages_of(tx, request_id)
        items = [
            *(visible_message(caller, message) for message in messages),
            *await bells.notifications_of(tx, request_id),
            *await grouped.group_notifications_of(tx, request_id),
            *await webhooks.deliveries_of(tx, request_id),
        ]
    return {"items": items, "next": None}
