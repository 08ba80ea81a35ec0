"""sla's addresses: the clocks of a request, and everything overdue."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from chassis.auth.dependencies import Caller, Identity, Role, allow
from chassis.service import Here, Service
from chassis.web.problems import Problem, invalid, missing
from sla import store
from sla.configuration import policies_of, policy_of
from sla.domain.clocks import Clock, Request

READERS = (Role.OPERATOR, Role.LIGHT_AGENT, Role.SUPERVISOR, Role.ADMINISTRATOR, Role.ANALYST)
FIRST = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0), "")

router = APIRouter(prefix="/v1", tags=["clocks"], dependencies=[Depends(allow(*READERS))])


@router.get("/requests/{request_id}/clocks")
async def clocks(request_id: UUID, here: Here, who: Caller) -> dict[str, Any]:
    """Give the clocks of a request, in the order they were started."""
    async with here.transaction() as tx:
        request = await store.one(tx, request_id)
    if request is None:
        raise missing("request", request_id)
    if not _mine(request, _reading(here, who)):
        raise Problem(403, "forbidden", "it is neither yours nor your groups'")
    items = [
        _shown(here, clock, request.policy, request.workspace) for clock in request.clocks.values()
    ]
    return {"items": items, "next": None}


@router.get("/overdue")
async def overdue(
    here: Here,
    who: Caller,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """List the promises broken and still open, the longest overdue first."""
    after = FIRST if cursor is None else _place(cursor)
    async with here.transaction() as tx:
        found = await store.overdue(tx, after, _reading(here, who), limit)
    items = [
        {"request_id": row.request_id, **_shown(here, row.clock, row.policy, row.workspace)}
        for row in found
    ]
    return {"items": items, "next": _cursor(found[-1]) if len(found) == limit else None}


def _shown(here: Service, clock: Clock, policy: str, workspace: int) -> dict[str, Any]:
    calendar = policy_of(policies_of(here.workspaces, workspace), policy).calendar
    return {
        "clock": clock.measure,
        "state": clock.state,
        "started_at": clock.started_at,
        "due_at": clock.due_at,
        "stopped_at": clock.stopped_at,
        "elapsed": clock.elapsed(here.clock(), calendar),
        "target": clock.target,
        "policy": policy,
    }


def _reading(here: Service, who: Identity) -> store.Reading:
    """Supervisors, administrators and analysts read all; operators what is theirs."""
    everything = who.has(Role.SUPERVISOR, Role.ADMINISTRATOR, Role.ANALYST)
    groups = here.workspaces.current.groups
    teams = [name for name, group in groups.items() if who.subject in group.operators]
    return store.Reading(everything, who.subject, teams)


def _mine(request: Request, reader: store.Reading) -> bool:
    """Tell whether it may be read: what waits in the queue is everybody's."""
    return reader.all or request.assignee in {None, reader.subject} or request.team in reader.teams


def _cursor(last: store.Overdue) -> str:
    due = last.clock.due_at or FIRST[0]
    text = f"{due.isoformat()} {last.request_id} {last.clock.measure}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _place(cursor: str) -> store.Place:
    try:
        due, request_id, clock = base64.urlsafe_b64decode(cursor).decode().split(" ")
        return datetime.fromisoformat(due), UUID(request_id), clock
    except (ValueError, binascii.Error):
        raise invalid("not a cursor of this list", at="query.cursor", value=cursor) from None
