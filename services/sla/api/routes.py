"""Endpoints: the clocks of a request, and all overdue clocks."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter

from chassis.auth.dependencies import Caller
from chassis.service import Service, ServiceDep
from chassis.web.conventions import Pages
from chassis.web.problems import Problem, missing
from sla import store
from sla.api.access import READERS_ONLY, can_read, read_scope
from sla.configuration import policies_of, policy_of
from sla.domain.clocks import Clock

START = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0), "")
"""The position before the first overdue clock."""

router = APIRouter(prefix="/v1", tags=["clocks"], dependencies=[READERS_ONLY])


@router.get("/requests/{request_id}/clocks")
async def clocks(request_id: UUID, service: ServiceDep, caller: Caller) -> dict[str, Any]:
    """List the clocks of a request in the order in which they were started."""
    async with service.transaction() as tx:
        request = await store.find_request(tx, request_id)
    if request is None:
        raise missing("request", request_id)
    if not can_read(request, read_scope(service, caller)):
        raise Problem(403, "forbidden", "the request is neither yours nor your groups'")
    items = [
        _document(service, clock, request.policy, request.workspace)
        for clock in request.clocks.values()
    ]
    return {"items": items, "next": None}


@router.get("/overdue")
async def overdue(service: ServiceDep, caller: Caller, pages: Pages) -> dict[str, Any]:
    """List the breached clocks that still run, longest overdue first."""
    after = pages.after(datetime, UUID, str) or START
    async with service.transaction() as tx:
        rows = await store.list_overdue(tx, after, read_scope(service, caller), pages.fetch)
    return pages.page(
        rows,
        lambda row: (row.clock.due_at, row.request_id, row.clock.measure),
        lambda row: {
            "request_id": row.request_id,
            **_document(service, row.clock, row.policy, row.workspace),
        },
    )


def _document(service: Service, clock: Clock, policy: str, workspace: int) -> dict[str, Any]:
    calendar = policy_of(policies_of(service.workspaces, workspace), policy).calendar
    return {
        "clock": clock.measure,
        "state": clock.state,
        "started_at": clock.started_at,
        "due_at": clock.due_at,
        "stopped_at": clock.stopped_at,
        "elapsed": clock.elapsed(service.clock(), calendar),
        "target": clock.target,
        "policy": policy,
    }
