"""routing's addresses: presence, the queue, claiming, and why everything went where it went.

Longer than most rooms: each address says who may use it.
"""

import base64
import binascii
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from chassis.auth.dependencies import Caller, Identity, Role, allow
from chassis.errors import NotReady
from chassis.service import Here, Service
from chassis.web.problems import Problem, conflict, invalid, missing
from routing import queries, store
from routing.allocation import Desk
from routing.configuration import Plan, plan_of
from routing.domain.matching import Bar, Group, Request, Status, chosen, eligibility
from routing.domain.queue_changes import Book, Held

READERS = (Role.OPERATOR, Role.LIGHT_AGENT, Role.SUPERVISOR, Role.ADMINISTRATOR, Role.ANALYST)
EVERYWHERE = (Role.SUPERVISOR, Role.ADMINISTRATOR, Role.ANALYST)
BOSSES = (Role.SUPERVISOR, Role.ADMINISTRATOR)
AUDITORS = (Role.SUPERVISOR, Role.ADMINISTRATOR, Role.ANALYST)
DAY = timedelta(days=1)
START: queries.Place = (-(2**31), datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))
LAST = 2**62

Limit = Annotated[int, Query(ge=1, le=200)]

router = APIRouter(prefix="/v1", tags=["routing"], dependencies=[Depends(allow(*READERS))])


class Presence(BaseModel):
    """What an operator says of themselves, for good or for so many seconds."""

    model_config = ConfigDict(extra="forbid")

    status: Status
    lease_seconds: int | None = Field(default=None, ge=1, le=86_400)


class Claim(BaseModel):
    """Who shall have it; the caller, unless a supervisor names somebody."""

    model_config = ConfigDict(extra="forbid")

    operator: str | None = None


@router.get("/operators")
async def operators(here: Here, limit: Limit = 50, cursor: str = "") -> dict[str, Any]:
    """List the workspace's operators with their presence and load."""
    plan = _plan(here)
    people = [plan.people[name] for name in sorted(plan.people) if name > cursor][: limit + 1]
    async with here.db.connection() as conn:
        items = await queries.operators(conn, people[:limit], _groups(plan))
    more = people[limit - 1].id if len(people) > limit else None
    return {"items": items, "next": more}


@router.get("/operators/{operator}")
async def operator(operator: str, here: Here) -> dict[str, Any]:
    """Show one operator."""
    return await _operator(here, operator)


@router.put("/operators/{operator}/presence")
async def presence(operator: str, said: Presence, here: Here, who: Caller) -> dict[str, Any]:
    """Set an operator's presence. It holds until changed, or for the lease; repeating renews it."""
    own = who.has(Role.OPERATOR, Role.LIGHT_AGENT) and who.subject == operator
    if not (own or who.has(*BOSSES)):
        detail = "operators and light agents set their own presence, supervisors anybody's"
        raise Problem(403, "forbidden", detail)
    if operator not in _plan(here).people:
        raise missing("operator", operator)
    async with here.transaction() as tx:
        desk = await _desk(here, tx)
        seconds = said.lease_seconds
        until = desk.at + timedelta(seconds=seconds) if seconds else None
        await desk.appear(operator, said.status, who.subject, until)
        await desk.close(await desk.open())
    return await _operator(here, operator)


@router.post("/operators/{operator}/redistribute", dependencies=[Depends(allow(*BOSSES))])
async def redistribute(operator: str, here: Here, who: Caller) -> dict[str, Any]:
    """Set an operator offline and queue everything they have for others, each with its age."""
    async with here.transaction() as tx:
        desk = await _desk(here, tx)
        held = await store.held_by(tx, operator)
        if operator not in desk.plan.people and not held:  # who has retired may have some still
            raise missing("operator", operator)
        await desk.appear(operator, Status.OFFLINE, who.subject)
        book = await desk.open(held)
        for request_id in held:
            book.hand_on(request_id, "redistributed", home=desk.plan.home)
        await desk.close(book)
    return {"operator": operator, "redistributed": held}


@router.get("/queue")
async def queue(
    here: Here,
    who: Caller,
    group: str | None = None,
    limit: Limit = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """List who waits in the caller's groups, in the order in which they will be served."""
    groups = [name for name in _visible(_plan(here), who) if group in {None, name}]
    after = START if cursor is None else _place(cursor)
    async with here.db.connection() as conn:
        items = await queries.queue(conn, groups, after, limit, here.clock())
    more = _cursor(items[-1]) if len(items) == limit else None
    return {"items": [_waiting(item) for item in items], "next": more}


@router.get("/queue/{request_id}")
async def queued(request_id: UUID, here: Here, who: Caller) -> dict[str, Any]:
    """Show one that waits, and for each operator of its group why they do not have it."""
    plan = _plan(here)
    async with here.transaction() as tx:
        item = await queries.waiting(tx.conn, request_id, here.clock())
        if item is None:
            raise missing("request in the queue", request_id)
        if item["group"] not in _visible(plan, who):
            raise Problem(403, "forbidden", "it waits in a group that is not yours")
        members = plan.members([item["group"]])
        found = await store.operators(tx, plan.people, members)
    group = plan.groups.get(item["group"], Group(item["group"], frozenset()))
    request = Request(
        request_id, group.id, item["topic"], item["channel"], item["weight"], item["created_at"],
        avoid=item["avoid"] or None,
    )  # fmt: skip
    bars = {name: eligibility(op, request, group) for name, op in sorted(found.items())}
    return {
        **_waiting(item),
        "operators": {n: bar.value if bar else None for n, bar in bars.items()},
    }


@router.post("/requests/{request_id}/claim")
async def claim(
    request_id: UUID, here: Here, who: Caller, body: Annotated[Claim | None, Body()] = None
) -> dict[str, Any]:
    """Take a waiting request; 409 names who has it already, or why the operator cannot have it."""
    name = (body.operator if body else None) or who.subject
    if not (who.has(*BOSSES) or (who.has(Role.OPERATOR) and who.subject == name)):
        raise Problem(403, "forbidden", "operators claim for themselves, supervisors for anybody")
    async with here.transaction() as tx:
        desk = await _desk(here, tx)
        book = await desk.open([request_id])
        found = _claimable(book, request_id, name)
        held = found if isinstance(found, Held) else await _take(desk, book, found, name, who)
    return _held(held)


@router.get("/requests/{request_id}/decisions")
async def decisions(
    request_id: UUID,
    here: Here,
    who: Caller,
    limit: Limit = 50,
    cursor: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Show every decision about a request: chosen, considered with scores, exclusions by reason."""
    async with here.db.connection() as conn:
        items = await queries.decisions(conn, request_id, limit, cursor)
        owner = await queries.owner(conn, request_id)
    if not items and owner is None:
        raise missing("request", request_id)
    mine = {item["chosen"] for item in items} | {owner["operator"] if owner else None}
    groups = {item["group"] for item in items} | ({owner["group"]} if owner else set())
    if who.subject not in mine and groups.isdisjoint(_visible(_plan(here), who)):
        raise Problem(403, "forbidden", "it is neither yours nor your groups'")
    return {"items": items, "next": cursor + limit if len(items) == limit else None}


@router.get("/audit", dependencies=[Depends(allow(*AUDITORS))])
async def audit(here: Here, limit: Limit = 50, cursor: int = LAST) -> dict[str, Any]:
    """Give the last day's figures, and what the detector found, newest first."""
    since = here.clock() - DAY
    async with here.db.connection() as conn:
        figures = await queries.figures(conn, since)
        items = await queries.anomalies(conn, since, cursor, limit)
    more = items[-1]["id"] if len(items) == limit else None
    return {**figures, "since": since, "items": items, "next": more}


def _claimable(book: Book, request_id: UUID, name: str) -> Request | Held:
    match book.now.get(request_id):
        case None:
            raise missing("request", request_id)
        case Request() as request:
            return request
        case Held() as held if held.operator == name:
            return held
        case Held() as held:
            at = held.since.astimezone(UTC).isoformat().replace("+00:00", "Z")
            told = f"{held.operator} has it"
            raise conflict("already_claimed", told, claimed_by=held.operator, at=at)
    raise conflict("closed", "the request has ended")


async def _take(desk: Desk, book: Book, request: Request, name: str, who: Identity) -> Held:
    operators = await store.operators(desk.tx, desk.plan.people, [name])
    if (op := operators.get(name)) is None:
        raise conflict("not_an_operator", f"the workspace has no operator {name}")
    group = desk.plan.groups.get(request.group, Group(request.group, frozenset()))
    if bar := eligibility(op, request, group, automatic=False):
        raise _barred(bar, name, request)
    held = book.take(chosen(request, op, "claim"), name, "claim", desk.at, who.subject)
    await desk.close(book)
    return held


def _held(held: Held) -> dict[str, Any]:
    return {
        "request_id": held.request.id,
        "operator": held.operator,
        "group": held.request.group,
        "epoch": held.request.epoch,
        "mode": held.mode,
        "at": held.since,
    }


def _barred(bar: Bar, name: str, request: Request) -> Problem:
    if bar is Bar.NOT_A_MEMBER:
        return Problem(
            403, "forbidden", f"{name} is not in the group {request.group}", reason=bar.value
        )
    words = bar.value.replace("_", " ")
    return conflict("not_eligible", f"{name} cannot have it: {words}", reason=bar.value)


def _plan(here: Service) -> Plan:
    if not here.workspaces.latest:
        raise NotReady("no workspace has been applied yet")
    return plan_of(here.workspaces, here.workspaces.latest)


async def _desk(here: Service, tx: Any) -> Desk:
    _plan(here)
    return await Desk.take(tx, lambda version: plan_of(here.workspaces, version), here.clock)


def _groups(plan: Plan) -> dict[str, list[str]]:
    return {
        name: sorted(group.id for group in plan.groups.values() if name in group.members)
        for name in plan.people
    }


def _visible(plan: Plan, who: Identity) -> set[str]:
    return set(plan.groups) if who.has(*EVERYWHERE) else plan.groups_with([who.subject])


async def _operator(here: Service, name: str) -> dict[str, Any]:
    plan = _plan(here)
    if (person := plan.people.get(name)) is None:
        raise missing("operator", name)
    async with here.db.connection() as conn:
        return (await queries.operators(conn, [person], _groups(plan)))[0]


def _waiting(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in {"avoid", "epoch"}}


def _cursor(last: dict[str, Any]) -> str:
    place = [-last["weight"], last["created_at"].isoformat(), str(last["request_id"])]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _place(cursor: str) -> queries.Place:
    try:
        weight, created_at, id_ = json.loads(base64.urlsafe_b64decode(cursor))
        return int(weight), datetime.fromisoformat(created_at), UUID(id_)
    except (ValueError, TypeError, binascii.Error):
        raise invalid("not a cursor of this list", at="query.cursor", value=cursor) from None
