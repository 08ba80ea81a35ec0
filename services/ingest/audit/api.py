"""Routes of the ledger: the outcome of a delivery, the balance, and acknowledged losses."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends

from chassis.auth.dependencies import Identity, Role, allow
from chassis.service import ServiceDep
from chassis.web.problems import Problem, missing
from ingest.audit import queries
from ingest.audit.ledger import is_in_inbound, load_ledger, total_figures
from ingest.audit.schemas import Losses

ALL_ACCOUNTS_ROLES = (Role.SUPERVISOR, Role.ADMINISTRATOR)
ReaderDep = Annotated[Identity, Depends(allow(*ALL_ACCOUNTS_ROLES, Role.INTEGRATOR))]
SupervisorDep = Annotated[Identity, Depends(allow(*ALL_ACCOUNTS_ROLES))]

OUTCOME_FIELDS = ("outcome", "request_id", "reason", "threaded_by")

router = APIRouter(prefix="/v1", tags=["inbound"])


@router.get("/inbound/{inbound_id}")
async def inbound(inbound_id: UUID, service: ServiceDep, caller: ReaderDep) -> dict[str, Any]:
    """Return the outcome of a delivery; one that was accepted and not processed yet is `pending`.

    With the reason `not_in_inbound` it was accepted and is lost: INBOUND does not contain it.
    """
    async with service.db.connection() as conn:
        rows = await queries.load_items(conn, inbound_id)
    if rows and not _may_see(caller, rows[0]["channel"], rows[0]["account"]):
        raise missing("inbound id", inbound_id)
    is_issued: Callable[[UUID], bool] = service.state["is_issued"]
    if not rows and not is_issued(inbound_id):
        raise missing("inbound id", inbound_id)
    items = [{name: row[name] for name in OUTCOME_FIELDS} for row in rows]
    first = items[0] if items else {**dict.fromkeys(OUTCOME_FIELDS), "outcome": "pending"}
    if not items and await is_in_inbound(service, inbound_id) is False:
        first["reason"] = "not_in_inbound"
    return {"inbound_id": inbound_id, **first, "items": items}


@router.get("/ledger")
async def balance(
    service: ServiceDep, caller: ReaderDep, channel: str | None = None, account: str | None = None
) -> dict[str, Any]:
    """Return how many deliveries were accepted, their outcomes, and whether the figures add up.

    `channel` and `account` restrict it to their part; integrators see their own part only.
    """
    ledger = await load_ledger(service)
    if caller.has(*ALL_ACCOUNTS_ROLES) and channel is None and account is None:
        return ledger.as_json()
    accounts = [
        figures
        for key, figures in sorted(ledger.accounts.items())
        if channel in (None, figures.channel)
        and account in (None, figures.account)
        and _may_see(caller, *key)
    ]
    return {**total_figures(accounts), "accounts": [figures.as_json() for figures in accounts]}


@router.post(
    "/ledger/losses",
    status_code=201,
    responses={409: {"description": "The ledger has another number of losses."}},
)
async def acknowledge_losses(
    losses: Losses, service: ServiceDep, caller: SupervisorDep
) -> dict[str, Any]:
    """Record that these losses are known: the ledger balances again until there are more."""
    ledger = await load_ledger(service)
    if ledger.lost != losses.lost:
        detail = f"lost is {losses.lost}, and the ledger has {ledger.lost}"
        raise Problem(409, "other_losses", detail)
    async with service.transaction() as tx:
        await tx.run(queries.ACKNOWLEDGE, losses.lost, losses.reason, caller.subject, tx.now)
    return {"lost": losses.lost, "reason": losses.reason, "by": caller.subject}


def _may_see(caller: Identity, channel: str, account: str) -> bool:
    """Return whether a caller may see an account: integrators see their own only.

    Those are the deliveries they submitted as themselves, and those of their custom channel.
    """
    is_own = channel in {"api", "custom"} and account == caller.subject
    return is_own or caller.has(*ALL_ACCOUNTS_ROLES)
