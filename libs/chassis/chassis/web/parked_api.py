"""What could not be applied, for people: look, re-drive, skip. The same everywhere."""

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
    """One token of the subjects of a service's messages: which, and how a name is written there."""

    place: int
    written: Callable[[str], str] = str


def routes(tokens: Mapping[str, SubjectToken]) -> APIRouter:
    """Give the addresses; what is parked can be asked for by these tokens, too."""
    every = APIRouter()
    asked = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in tokens]

    async def listed(
        here: ServiceDep,
        who: Supervisor,
        request: Request,
        state: str | None = "parked",
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: int = 0,
    ) -> dict[str, Any]:
        given = request.query_params
        wanted = {
            token.place: token.written(given[name])
            for name, token in tokens.items()
            if given.get(name)
        }
        return await list_parked(here, state, limit, cursor, wanted)

    every.add_api_route(
        router.prefix,
        listed,
        methods=["GET"],
        name="list_parked",
        tags=["parked"],
        description=list_parked.__doc__,
        openapi_extra={"parameters": asked} if asked else None,
    )
    every.include_router(router)
    return every


async def list_parked(
    here: Service,
    state: str | None,
    limit: int,
    cursor: int,
    wanted: Mapping[int, str],
) -> dict[str, Any]:
    """List parked facts, oldest first, of one `state` (parked, redrive, done, skipped) or all."""
    state = state or None
    given = (cursor, state, state, list(wanted), list(wanted.values()), limit)
    async with here.db.connection() as conn:
        rows = await (await conn.execute(LIST, given)).fetchall()
    names = (
        "id", "reader", "stream", "slot", "position", "key", "subject", "reason", "head", "state",
        "parked_at", "settled_at", "settled_by",
    )  # fmt: skip
    items = [dict(zip(names, row, strict=True)) for row in rows]
    return {"items": items, "next": items[-1]["id"] if len(items) == limit else None}


@router.post("/{parked_id}/redrive", status_code=202)
async def redrive(here: ServiceDep, who: Supervisor, parked_id: int) -> dict[str, Any]:
    """Apply a parked fact again, as its owner has it now, and then what stood behind it."""
    async with here.transaction() as tx:
        row = await (await tx.run(ONE, parked_id)).fetchone()
        _check(parked_id, row)
        await tx.run(MARK_FOR_REDRIVE, who.subject, parked_id)
    await here.request_redrive()
    return {"id": parked_id, "state": "redrive"}


@router.post("/{parked_id}/skip", status_code=202)
async def skip(here: ServiceDep, who: Supervisor, parked_id: int) -> dict[str, Any]:
    """Leave a parked fact out for good, and apply what stood behind it."""
    async with here.transaction() as tx:
        row = await (await tx.run(ONE, parked_id)).fetchone()
        _check(parked_id, row)
        await tx.run(MARK_SKIPPED, who.subject, tx.now, parked_id)
    await here.request_redrive()
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
            f"parked fact {parked_id} stands behind another of its key; free that one",
        )
