"""Whom nobody wants to hear from: banned, listed and let in again by supervisors."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, StringConstraints

from chassis.auth.dependencies import Identity, Role, allow
from chassis.service import Here
from chassis.web.problems import invalid, missing
from ingest.bans import store
from ingest.bans.store import Banlist
from ingest.domain.bans import Banned, understood

router = APIRouter(prefix="/v1/bans", tags=["bans"])

Banning = Annotated[Identity, Depends(allow(Role.SUPERVISOR, Role.ADMINISTRATOR))]


class Why(BaseModel):
    """Why somebody is banned, for colleagues."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] | None = None


def who_is(contact: str) -> Banned:
    """Read whom an address of ours names."""
    try:
        return understood(contact)
    except ValueError as why:
        raise invalid(f"contact {why}", at="path.contact", value=contact) from None


Contact = Annotated[Banned, Depends(who_is)]


@router.get("")
async def bans(
    here: Here, who: Banning, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: str = ""
) -> dict[str, Any]:
    """List the bans: contacts, addresses and networks, with whoever set them, when and why."""
    async with here.db.connection() as conn:
        items = await store.some(conn, cursor, limit)
    return {"items": items, "next": items[-1]["contact"] if len(items) == limit else None}


@router.get("/{contact:path}")
async def ban(here: Here, who: Banning, contact: Contact) -> dict[str, Any]:
    """Say whether somebody is banned: a contact's id, an address, or a network (`10.0.0.0/8`)."""
    async with here.db.connection() as conn:
        found = await store.one(conn, contact)
    if found is None:
        raise missing("ban", contact.name)
    return found


@router.put("/{contact:path}", responses={201: {"description": "Banned from now on."}})
async def put(
    here: Here, who: Banning, contact: Contact, response: Response, why: Why | None = None
) -> dict[str, Any]:
    """Ban a contact, an address or a network.

    What a banned contact or address writes is accepted and `rejected`, so nothing is lost; from a
    banned network nothing is accepted at all.
    """
    async with here.transaction() as tx:
        new = await store.put(tx, contact, why.reason if why else None, who.subject)
        found = await store.one(tx.conn, contact)
    await _known(here)
    response.status_code = 201 if new else 200
    return found or {}


@router.delete("/{contact:path}", status_code=204)
async def lift(here: Here, who: Banning, contact: Contact) -> None:
    """Let somebody write again; what was rejected meanwhile stays so."""
    async with here.transaction() as tx:
        there = await store.lift(tx, contact)
    await _known(here)
    if not there:
        raise missing("ban", contact.name)


async def _known(here: Here) -> None:
    """This door knows at once, the others within a second."""
    known: Banlist = here.state["bans"]
    async with here.db.connection() as conn:
        await known.refresh(conn)
