"""tickets' addresses for reading; commands have a room of their own."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict

from chassis.auth.dependencies import Identity
from chassis.service import Here, Service
from chassis.web.problems import invalid, missing
from tickets import queries, timeline
from tickets.api.access import Insider, Viewer, sight, unseen, unseen_contacts
from tickets.domain.events import PREFIX
from tickets.group_commit import Loader

router = APIRouter(prefix="/v1/requests", tags=["requests"])

Limit = Annotated[int, Query(ge=1, le=200)]


class Wanted(BaseModel):
    """Which requests are wanted."""

    model_config = ConfigDict(extra="forbid")

    status: str | None = None
    type: str | None = None
    topic: str | None = None
    priority: str | None = None
    channel: str | None = None
    assignee: str | None = None
    group: str | None = None
    contact: str | None = None
    tag: str | None = None
    open: bool | None = None
    breached: bool | None = None
    limit: Limit = 50
    cursor: str | None = None


@router.get("")
async def requests(here: Here, who: Viewer, wanted: Annotated[Wanted, Query()]) -> dict[str, Any]:
    """List requests, the newest first; every filter that is given must fit."""
    seen = sight(here, who)
    if wanted.contact is not None and not seen.contacts:
        raise unseen_contacts()
    filters = wanted.model_dump(exclude_none=True, exclude={"limit", "cursor"})
    async with here.db.connection() as conn:
        try:
            items, more = await queries.some(conn, seen, filters, wanted.limit, wanted.cursor)
        except ValueError:
            detail = "not a cursor of this list"
            raise invalid(detail, at="query.cursor", value=wanted.cursor) from None
    return {"items": items, "next": more}


async def _seen(here: Service, who: Identity, request_id: UUID) -> dict[str, Any]:
    """Give a request to whoever may see it."""
    async with here.db.connection() as conn:
        found = await queries.one(conn, request_id)
    if found is None:
        raise missing("request", request_id)
    if not sight(here, who).sees(found) and not await _asked_in(here, who, found):
        raise unseen()
    return found


async def _asked_in(here: Service, who: Identity, found: dict[str, Any]) -> bool:
    """Look into the folded request whether somebody made them a watcher."""
    if who.subject not in found["watchers"]:
        return False
    loader: Loader = here.state["loader"]
    request = await loader.get(found["id"])
    return request is not None and who.subject in request.guests


@router.get("/{request_id}")
async def request(
    request_id: UUID,
    here: Here,
    who: Viewer,
    response: Response,
    as_of: AwareDatetime | None = None,
) -> dict[str, Any]:
    """Give a request as it stands, or as it stood at an instant."""
    found = await _seen(here, who, request_id)
    if as_of is not None:
        found = await _as_of(here, request_id, as_of)
    response.headers["ETag"] = f'"{found["version"]}"'
    return sight(here, who).hide(found)


async def _as_of(here: Service, request_id: UUID, at: datetime) -> dict[str, Any]:
    async with here.db.connection() as conn:
        events = await queries.history(conn, request_id)
    stood = queries.stood(events, at)
    if stood is None:
        raise missing("request at that time", request_id)
    return queries.document(stood)


@router.get("/{request_id}/log")
async def log(
    request_id: UUID,
    here: Here,
    who: Insider,
    type: str | None = None,
    limit: Limit = 200,
    cursor: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Give everything that happened to it, in order."""
    await _seen(here, who, request_id)
    topic = None if type is None else PREFIX + type.removeprefix(PREFIX)
    async with here.db.connection() as conn:
        events = await queries.history(conn, request_id, cursor, topic, limit)
    more = str(events[-1].originator_version) if len(events) == limit else None
    return {"items": [queries.entry(event, sight(here, who)) for event in events], "next": more}


@router.get("/{request_id}/messages")
async def messages(
    request_id: UUID,
    here: Here,
    who: Viewer,
    limit: Limit = 200,
    cursor: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Give what was written in both directions, in order; with edits, reactions and receipts."""
    await _seen(here, who, request_id)
    async with here.db.connection() as conn:
        events = await queries.history(conn, request_id)
    after = timeline.after(timeline.messages(events), cursor)
    more = str(after[limit - 1]["sequence"]) if len(after) > limit else None
    seen = sight(here, who)
    return {"items": [seen.hide(each) for each in after[:limit]], "next": more}
