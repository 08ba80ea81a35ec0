"""Routes: operators and presence, the queue, claims, decisions and the audit."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query

from chassis.auth.dependencies import Caller, Identity, Role, allow
from chassis.messaging.transaction import Tx
from chassis.service import Service, ServiceDep
from chassis.web.conventions import Paging
from chassis.web.problems import Problem, conflict, missing
from routing import queries, store
from routing.allocation import Allocation
from routing.api.access import (
    ALL_GROUPS,
    READERS,
    SUPERVISORS,
    require_group,
    require_request,
    require_self_or_supervisor,
    scope_of,
)
from routing.api.schemas import Claim, Presence, assignment_body, queue_item
from routing.configuration import latest_rules, load_rules
from routing.domain.decisions import manual_decision
from routing.domain.eligibility import Ineligibility, eligibility
from routing.domain.model import Group, Request, Status
from routing.domain.queue_changes import Assignment, QueueChanges

AUDIT_WINDOW = timedelta(days=1)
QUEUE_START: queries.QueuePosition = (-(2**31), datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))
MAX_ANOMALY_ID = 2**62

Limit = Annotated[int, Query(ge=1, le=200)]

router = APIRouter(prefix="/v1", tags=["routing"], dependencies=[Depends(allow(*READERS))])


@router.get("/operators")
async def operators(service: ServiceDep, limit: Limit = 50, cursor: str = "") -> dict[str, Any]:
    """List the workspace's operators with their presence and load."""
    rules = latest_rules(service.workspaces)
    names = [name for name in sorted(rules.profiles) if name > cursor][: limit + 1]
    profiles = [rules.profiles[name] for name in names[:limit]]
    async with service.db.connection() as conn:
        items = await queries.operators(conn, profiles, rules.groups_by_operator())
    return {"items": items, "next": names[limit - 1] if len(names) > limit else None}


@router.get("/operators/{operator}")
async def operator(operator: str, service: ServiceDep) -> dict[str, Any]:
    """Return one operator with their presence and load."""
    return await _operator(service, operator)


@router.put("/operators/{operator}/presence")
async def presence(
    operator: str, body: Presence, service: ServiceDep, caller: Caller
) -> dict[str, Any]:
    """Set an operator's presence, until it is changed or its lease ends; a repeat renews it."""
    require_self_or_supervisor(
        caller,
        operator,
        "operators and light agents set their own presence, supervisors anyone's",
        (Role.OPERATOR, Role.LIGHT_AGENT),
    )
    if operator not in latest_rules(service.workspaces).profiles:
        raise missing("operator", operator)
    async with service.transaction() as tx:
        allocation = await _begin(service, tx)
        seconds = body.lease_seconds
        until = allocation.at + timedelta(seconds=seconds) if seconds else None
        await allocation.set_presence(operator, body.status, caller.subject, until)
        await allocation.allocate_and_save(await allocation.load())
    return await _operator(service, operator)


@router.post("/operators/{operator}/redistribute", dependencies=[Depends(allow(*SUPERVISORS))])
async def redistribute(operator: str, service: ServiceDep, caller: Caller) -> dict[str, Any]:
    """Set an operator offline and queue their requests for others, each with its age."""
    async with service.transaction() as tx:
        allocation = await _begin(service, tx)
        assigned = await store.assigned_to(tx, operator)
        # A retired operator may still have requests.
        if operator not in allocation.rules.profiles and not assigned:
            raise missing("operator", operator)
        await allocation.set_presence(operator, Status.OFFLINE, caller.subject)
        changes = await allocation.load(assigned)
        for request_id in assigned:
            changes.requeue(request_id, "redistributed", active_group=allocation.rules.active_group)
        await allocation.allocate_and_save(changes)
    return {"operator": operator, "redistributed": assigned}


@router.get("/queue")
async def queue(
    service: ServiceDep,
    caller: Caller,
    group: str | None = None,
    limit: Limit = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """List the waiting requests of the caller's groups, in the order of the queue."""
    pages = Paging(limit, cursor)
    scope = scope_of(latest_rules(service.workspaces), caller)
    groups = [name for name in scope.groups if group in {None, name}]
    after: Any = pages.after(int, datetime, UUID) or QUEUE_START
    async with service.db.connection() as conn:
        rows = await queries.queue(conn, groups, after, pages.fetch, service.clock())
    return pages.page(
        rows, lambda row: (-row["weight"], row["created_at"], row["request_id"]), queue_item
    )


@router.get("/queue/{request_id}")
async def queued(request_id: UUID, service: ServiceDep, caller: Caller) -> dict[str, Any]:
    """Return a waiting request, and why each operator of its group does not have it."""
    rules = latest_rules(service.workspaces)
    async with service.transaction() as tx:
        item = await queries.queued_request(tx.conn, request_id, service.clock())
        if item is None:
            raise missing("request in the queue", request_id)
        require_group(scope_of(rules, caller), item["group"])
        members = rules.members([item["group"]])
        loaded = await store.load_operators(tx, rules.profiles, members)
    group = rules.groups.get(item["group"], Group(item["group"], frozenset()))
    request = Request(
        request_id, group.id, item["topic"], item["channel"], item["weight"], item["created_at"],
        avoid=item["avoid"] or None,
    )  # fmt: skip
    reasons = {name: eligibility(op, request, group) for name, op in sorted(loaded.items())}
    return {
        **queue_item(item),
        "operators": {name: reason and reason.value for name, reason in reasons.items()},
    }


@router.post("/requests/{request_id}/claim")
async def claim(
    request_id: UUID,
    service: ServiceDep,
    caller: Caller,
    body: Annotated[Claim | None, Body()] = None,
) -> dict[str, Any]:
    """Claim a waiting request; a 409 names its operator, or why the claimer is not eligible."""
    name = (body.operator if body else None) or caller.subject
    require_self_or_supervisor(
        caller, name, "operators claim for themselves, supervisors for anyone"
    )
    async with service.transaction() as tx:
        allocation = await _begin(service, tx)
        changes = await allocation.load([request_id])
        state = _claimable(changes, request_id, name)
        if isinstance(state, Request):
            state = await _claim(allocation, changes, state, name, caller)
    return assignment_body(state)


@router.get("/requests/{request_id}/decisions")
async def decisions(
    request_id: UUID,
    service: ServiceDep,
    caller: Caller,
    limit: Limit = 50,
    cursor: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """List the decisions about a request: the operator, the candidates, exclusions by reason."""
    async with service.db.connection() as conn:
        items = await queries.decisions(conn, request_id, limit, cursor)
        owner = await queries.owner(conn, request_id)
    if not items and owner is None:
        raise missing("request", request_id)
    operators = {item["chosen"] for item in items} | {owner["operator"] if owner else None}
    groups = {item["group"] for item in items} | ({owner["group"]} if owner else set())
    require_request(scope_of(latest_rules(service.workspaces), caller), groups, operators)
    return {"items": items, "next": cursor + limit if len(items) == limit else None}


@router.get("/audit", dependencies=[Depends(allow(*ALL_GROUPS))])
async def audit(
    service: ServiceDep, limit: Limit = 50, cursor: int = MAX_ANOMALY_ID
) -> dict[str, Any]:
    """Return the figures of the last day, and the anomalies the audit found, newest first."""
    since = service.clock() - AUDIT_WINDOW
    async with service.db.connection() as conn:
        figures = await queries.figures(conn, since)
        items = await queries.anomalies(conn, since, cursor, limit)
    more = items[-1]["id"] if len(items) == limit else None
    return {**figures, "since": since, "items": items, "next": more}


def _claimable(changes: QueueChanges, request_id: UUID, name: str) -> Request | Assignment:
    """Return the waiting request, or the operator's own assignment; raise a problem otherwise."""
    match changes.after.get(request_id):
        case None:
            raise missing("request", request_id)
        case Request() as request:
            return request
        case Assignment() as assignment if assignment.operator == name:
            return assignment
        case Assignment() as assignment:
            at = assignment.since.astimezone(UTC).isoformat().replace("+00:00", "Z")
            detail = f"the request is assigned to {assignment.operator}"
            raise conflict("already_claimed", detail, claimed_by=assignment.operator, at=at)
    raise conflict("closed", "the request has ended")


async def _claim(
    allocation: Allocation, changes: QueueChanges, request: Request, name: str, caller: Identity
) -> Assignment:
    """Assign a waiting request to an operator; raise a problem when they are not eligible."""
    rules = allocation.rules
    loaded = await store.load_operators(allocation.tx, rules.profiles, [name])
    if (op := loaded.get(name)) is None:
        raise conflict("not_an_operator", f"the workspace has no operator {name}")
    group = rules.groups.get(request.group, Group(request.group, frozenset()))
    if reason := eligibility(op, request, group, automatic=False):
        raise _ineligible(reason, name, request)
    decision = manual_decision(request, op, "claim")
    assignment = changes.assign(decision, name, "claim", allocation.at, caller.subject)
    await allocation.allocate_and_save(changes)
    return assignment


def _ineligible(reason: Ineligibility, name: str, request: Request) -> Problem:
    if reason is Ineligibility.NOT_A_MEMBER:
        detail = f"{name} is not a member of the group {request.group}"
        return Problem(403, "forbidden", detail, reason=reason.value)
    words = reason.value.replace("_", " ")
    detail = f"{name} cannot be given the request: {words}"
    return conflict("not_eligible", detail, reason=reason.value)


async def _begin(service: Service, tx: Tx) -> Allocation:
    """Begin a deciding transaction; raise `NotReady` before a workspace was applied."""
    latest_rules(service.workspaces)
    workspaces = service.workspaces
    return await Allocation.begin(
        tx, lambda version: load_rules(workspaces, version), service.clock
    )


async def _operator(service: Service, name: str) -> dict[str, Any]:
    rules = latest_rules(service.workspaces)
    if (profile := rules.profiles.get(name)) is None:
        raise missing("operator", name)
    async with service.db.connection() as conn:
        rows = await queries.operators(conn, [profile], rules.groups_by_operator())
    return rows[0]
