"""HTTP API of bans, for supervisors and administrators."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, StringConstraints

from chassis.auth.dependencies import Identity, Role, allow
from chassis.service import ServiceDep
from chassis.web.problems import invalid, missing
from ingest.bans import store
from ingest.bans.store import BanCache
from ingest.domain.bans import Ban, parse_ban

router = APIRouter(prefix="/v1/bans", tags=["bans"])

SupervisorDep = Annotated[Identity, Depends(allow(Role.SUPERVISOR, Role.ADMINISTRATOR))]


class BanReason(BaseModel):
    """The reason of a ban, for colleagues."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] | None = None


def ban_of(contact: str) -> Ban:
    """Read the ban a path names; raises `invalid` if it names none."""
    try:
        return parse_ban(contact)
    except ValueError as why:
        raise invalid(f"contact {why}", at="path.contact", value=contact) from None


BannedContact = Annotated[Ban, Depends(ban_of)]


@router.get("")
async def bans(
    service: ServiceDep,
    caller: SupervisorDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str = "",
) -> dict[str, Any]:
    """List the bans: contacts, addresses and networks, with the author, the time and the reason."""
    async with service.db.connection() as conn:
        items = await store.some(conn, cursor, limit)
    return {"items": items, "next": items[-1]["contact"] if len(items) == limit else None}


@router.get("/{contact:path}")
async def ban(service: ServiceDep, caller: SupervisorDep, contact: BannedContact) -> dict[str, Any]:
    """Return a ban by contact id, address, or network (`10.0.0.0/8`)."""
    async with service.db.connection() as conn:
        found = await store.one(conn, contact)
    if found is None:
        raise missing("ban", contact.name)
    return found


@router.put("/{contact:path}", responses={201: {"description": "Banned from now on."}})
async def put(
    service: ServiceDep,
    caller: SupervisorDep,
    contact: BannedContact,
    response: Response,
    reason: BanReason | None = None,
) -> dict[str, Any]:
    """Ban a contact, an address or a network.

    Messages of a banned contact or address are accepted and then `rejected`, so that nothing is
    lost; deliveries from a banned network are refused.
    """
    async with service.transaction() as tx:
        new = await store.put(tx, contact, reason.reason if reason else None, caller.subject)
        found = await store.one(tx.conn, contact)
    await _refresh_cache(service)
    response.status_code = 201 if new else 200
    return found or {}


@router.delete("/{contact:path}", status_code=204)
async def lift(service: ServiceDep, caller: SupervisorDep, contact: BannedContact) -> None:
    """Lift a ban; what was rejected meanwhile stays rejected."""
    async with service.transaction() as tx:
        existed = await store.lift(tx, contact)
    await _refresh_cache(service)
    if not existed:
        raise missing("ban", contact.name)


async def _refresh_cache(service: ServiceDep) -> None:
    """Refresh this replica's cache at once; the other replicas follow within a second."""
    cache: BanCache = service.state["bans"]
    async with service.db.connection() as conn:
        await cache.refresh(conn)
