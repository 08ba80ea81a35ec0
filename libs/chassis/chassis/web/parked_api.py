"""Routes for parked messages: list, redrive and skip. The same in every service."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, LiteralString

from fastapi import APIRouter, Depends, Query, Request

from chassis.auth.dependencies import Identity, Role, allow
from chassis.service import Service, ServiceDep
from chassis.web.problems import conflict, missing

router = APIRouter(prefix="/v1/parked", tags=["parked"])

LIST: LiteralString = (
    "SELECT id, reader, stream, slot, position, key, subject, reason, head, state, parked_at,"
    " settled_at, settled_by FROM parked WHERE id > %s AND (%s::text IS NULL OR state = %s)"
    " AND NOT EXISTS (SELECT 1 FROM unnest(%b::int[], %b::text[]) AS t (place, token)"
    " WHERE split_part(subject, '.', t.place) <> t.token) ORDER BY id LIMIT %s"
)
ONE: LiteralString = "SELECT reader, key, head, state FROM parked WHERE id = %s FOR UPDATE"
MARK_FOR_REDRIVE: LiteralString = (
    "UPDATE parked SET state = 'redrive', settled_by = %s WHERE id = %s"
)
MARK_SKIPPED: LiteralString = (
    "UPDATE parked SET state = 'skipped', settled_by = %s, settled_at = %s WHERE id = %s"
)

Supervisor = Annotated[Identity, Depends(allow(Role.SUPERVISOR, Role.ADMINISTRATOR))]


@dataclass(frozen=True)
class SubjectToken:
    """A token of a service's message subjects: its place, and how a name is written there."""

    place: int
    written: Callable[[str], str] = str


def routes(tokens: Mapping[str, SubjectToken]) -> APIRouter:
    """Return the routes; `tokens` are additional filters, by query parameter."""
    all_routes = APIRouter()
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in tokens]

    async def list_by_query(
        service: ServiceDep,
        _: Supervisor,
        request: Request,
        state: str | None = "parked",
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: int = 0,
    ) -> dict[str, Any]:
        query = request.query_params
        token_filters = {
            token.place: token.written(query[name])
            for name, token in tokens.items()
            if query.get(name)
        }
        return await list_parked(service, state, limit, cursor, token_filters)

    all_routes.add_api_route(
        router.prefix,
        list_by_query,
        methods=["GET"],
        name="list_parked",
        tags=["parked"],
        description=list_parked.__doc__,
        openapi_extra={"parameters": parameters} if parameters else None,
    )
    all_routes.include_router(router)
    return all_routes


async def list_parked(
    service: Service,
    state: str | None,
    limit: int,
    cursor: int,
    token_filters: Mapping[int, str],
) -> dict[str, Any]:
    """List parked facts, oldest first, of one `state` (parked, redrive, done, skipped) or all."""
    state = state or None
    places, names = list(token_filters), list(token_filters.values())
    args = (cursor, state, state, places, names, limit)
    async with service.db.connection() as conn:
        rows = await (await conn.execute(LIST, args)).fetchall()
    columns = (
        "id", "reader", "stream", "slot", "position", "key", "subject", "reason", "head", "state",
        "parked_at", "settled_at", "settled_by",
    )  # fmt: skip
    items = [dict(zip(columns, row, strict=True)) for row in rows]
    return {"items": items, "next": items[-1]["id"] if len(items) == limit else None}


@router.post("/{parked_id}/redrive", status_code=202)
async def redrive(service: ServiceDep, caller: Supervisor, parked_id: int) -> dict[str, Any]:
    """Apply a parked fact again, as its owner has it now, and then the facts behind it."""
    async with service.transaction() as tx:
        row = await (await tx.run(ONE, parked_id)).fetchone()
        _check(parked_id, row)
        await tx.run(MARK_FOR_REDRIVE, caller.subject, parked_id)
    await service.request_redrive()
    return {"id": parked_id, "state": "redrive"}


@router.post("/{parked_id}/skip", status_code=202)
async def skip(service: ServiceDep, caller: Supervisor, parked_id: int) -> dict[str, Any]:
    """Skip a parked fact for good, and apply the facts behind it."""
    async with service.transaction() as tx:
        row = await (await tx.run(ONE, parked_id)).fetchone()
        _check(parked_id, row)
        await tx.run(MARK_SKIPPED, caller.subject, tx.now, parked_id)
    await service.request_redrive()
    return {"id": parked_id, "state": "skipped"}


def _check(parked_id: int, row: tuple[Any, ...] | None) -> None:
    if row is None:
        raise missing("parked fact", str(parked_id))
    _, _, head, state = row
    if state != "parked":
        raise conflict("already_settled", f"parked fact {parked_id} is {state}", state=state)
    if not head:
        raise conflict(
            "not_the_head",
            f"parked fact {parked_id} is behind another one of its key; redrive or skip that one",
        )
