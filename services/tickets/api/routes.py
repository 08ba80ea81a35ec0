"""Endpoints that read requests."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from chassis.auth.dependencies import Identity
from chassis.service import Service, ServiceDep
from chassis.web.conventions import Cursor, Limit, Paging, etag
from chassis.web.problems import missing
from tickets import queries, timeline
from tickets.api.access import (
    TeamViewer,
    Viewer,
    contacts_not_visible,
    not_visible,
    read_scope,
)
from tickets.api.schemas import RequestFilter
from tickets.domain.events import PREFIX
from tickets.group_commit import Loader

MAX_ITEMS = 200
"""The page size of histories and messages unless the caller asks for less."""

router = APIRouter(prefix="/v1/requests", tags=["requests"])


@router.get("")
async def requests(
    service: ServiceDep, caller: Viewer, request_filter: Annotated[RequestFilter, Query()]
) -> dict[str, Any]:
    """List requests, newest first, that match every filter given."""
    scope = read_scope(service, caller)
    if request_filter.contact is not None and not scope.contacts:
        raise contacts_not_visible()
    filters = request_filter.model_dump(exclude_none=True, exclude={"limit", "cursor"})
    pages = Paging(request_filter.limit, request_filter.cursor)
    after = pages.after(datetime, UUID)
    async with service.db.connection() as conn:
        rows = await queries.list_requests(conn, scope, filters, after, pages.fetch)
    return pages.page(rows, lambda row: (row["opened_at"], row["id"]), scope.redact)


async def _visible_request(service: Service, caller: Identity, request_id: UUID) -> dict[str, Any]:
    """Return a request; raises `Problem` when there is none or the caller may not read it."""
    async with service.db.connection() as conn:
        request = await queries.find_request(conn, request_id)
    if request is None:
        raise missing("request", request_id)
    is_visible = read_scope(service, caller).can_read(request)
    if not is_visible and not await _is_invited(service, caller, request):
        raise not_visible()
    return request


async def _is_invited(service: Service, caller: Identity, request: dict[str, Any]) -> bool:
    """Return whether another person made the caller a watcher, which the table does not hold."""
    if caller.subject not in request["watchers"]:
        return False
    loader: Loader = service.state["loader"]
    loaded = await loader.get(request["id"])
    return loaded is not None and caller.subject in loaded.invited_watchers


@router.get("/{request_id}")
async def request(
    request_id: UUID,
    service: ServiceDep,
    caller: Viewer,
    response: Response,
    as_of: AwareDatetime | None = None,
) -> dict[str, Any]:
    """Return a request as it is, or as it was at the time `as_of`."""
    document = await _visible_request(service, caller, request_id)
    if as_of is not None:
        document = await _as_of(service, request_id, as_of)
    response.headers["ETag"] = etag(document["version"])
    return read_scope(service, caller).redact(document)


async def _as_of(service: Service, request_id: UUID, time: datetime) -> dict[str, Any]:
    async with service.db.connection() as conn:
        events = await queries.read_history(conn, request_id)
    past = queries.request_as_of(events, time)
    if past is None:
        raise missing("request at that time", request_id)
    return queries.request_document(past)


@router.get("/{request_id}/log")
async def log(
    request_id: UUID,
    service: ServiceDep,
    caller: TeamViewer,
    type: str | None = None,
    limit: Limit = MAX_ITEMS,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List the events of a request in order, all or those of one type."""
    await _visible_request(service, caller, request_id)
    pages, scope = Paging(limit, cursor), read_scope(service, caller)
    (after,) = pages.after(int) or (0,)
    topic = None if type is None else PREFIX + type.removeprefix(PREFIX)
    async with service.db.connection() as conn:
        events = await queries.read_history(conn, request_id, after, topic, pages.fetch)
    return pages.page(
        events,
        lambda event: (event.originator_version,),
        lambda event: queries.log_entry(event, scope),
    )


@router.get("/{request_id}/messages")
async def messages(
    request_id: UUID,
    service: ServiceDep,
    caller: Viewer,
    limit: Limit = MAX_ITEMS,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List the messages in both directions in order, with edits, reactions and deliveries."""
    await _visible_request(service, caller, request_id)
    pages, scope = Paging(limit, cursor), read_scope(service, caller)
    (after,) = pages.after(int) or (0,)
    async with service.db.connection() as conn:
        events = await queries.read_history(conn, request_id)
    entries = timeline.after_sequence(timeline.messages(events), after)
    return pages.page(entries[: pages.fetch], lambda entry: (entry["sequence"],), scope.redact)
