"""Routes: the state of webhooks, and the redrive of deliveries."""

from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, model_validator

from chassis.auth.dependencies import Caller, Identity, Role, allow
from chassis.service import ServiceDep
from chassis.web.problems import Problem, missing
from notify.webhooks import store
from notify.webhooks.dispatcher import WebhookDispatcher
from notify.webhooks.endpoints import Endpoint, Endpoints
from notify.webhooks.store import EndpointStatus

WEBHOOK_ROLES = (Role.ADMINISTRATOR, Role.INTEGRATOR)
MAX_POSITION = 2**63 - 1

router = APIRouter(prefix="/v1", tags=["webhooks"], dependencies=[Depends(allow(*WEBHOOK_ROLES))])


class Redrive(BaseModel):
    """The deliveries to redrive: those that failed, or all from a position on.

    `from` is a delivery's `position`, or with `request_id` a `sequence` of that request.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    failed: bool = False
    from_: Annotated[int, Field(ge=0, le=MAX_POSITION)] | None = Field(default=None, alias="from")
    request_id: UUID | None = None

    @model_validator(mode="after")
    def _is_selective(self) -> Self:
        if not self.failed and self.from_ is None and self.request_id is None:
            raise ValueError("one of failed, from and request_id is required")
        return self


@router.get("/webhooks")
async def webhooks(service: ServiceDep, caller: Caller) -> dict[str, Any]:
    """List the webhooks of the workspace in force with their states."""
    own = [e for e in _endpoints(service.state).values() if _is_owner(caller, e.name)]
    async with service.transaction() as tx:
        status = await store.status_of(tx, own)
    return {"items": [webhook_body(e, status[e.name]) for e in own], "next": None}


@router.post("/webhooks/{id}/redrive")
async def redrive(id: str, which: Redrive, service: ServiceDep, caller: Caller) -> dict[str, int]:
    """Attempt deliveries again, in their order; a paused or disabled webhook becomes active."""
    if id not in _endpoints(service.state):
        raise missing("webhook", id)
    if not _is_owner(caller, id):
        raise Problem(403, "forbidden", f"{id} is not a webhook of yours")
    start = which.from_ or 0
    request = None if which.request_id is None else (which.request_id, start)
    dispatcher: WebhookDispatcher = service.state["webhooks"]
    async with service.transaction() as tx:
        redriven = await store.redrive(
            tx, id, failed=which.failed, position=0 if request else start, request=request
        )
        dispatcher.notify_pending()
    return {"redriven": redriven}


def _endpoints(state: dict[str, Any]) -> dict[str, Endpoint]:
    endpoints: Endpoints = state["endpoints"]
    return endpoints.all


def _is_owner(caller: Identity, name: str) -> bool:
    """Return whether a caller may manage a webhook; an integrator's own has the same name."""
    return caller.has(Role.ADMINISTRATOR) or caller.subject == name


def webhook_body(endpoint: Endpoint, status: EndpointStatus) -> dict[str, Any]:
    """Return a webhook with its declaration and its state."""
    if status.disabled_at:
        state = "disabled"
    elif status.paused_until:
        state = "paused"
    else:
        state = "active" if endpoint.secrets() else "no_secret"
    return {
        "id": endpoint.name,
        "url": endpoint.declared.url,
        "events": endpoint.declared.events,
        "ordered": endpoint.declared.ordered,
        "internal": endpoint.declared.internal,
        "state": state,
        "reason": status.reason,
        "paused_until": status.paused_until,
        "disabled_at": status.disabled_at,
        "pending": status.pending,
        "pending_since": status.pending_since,
        "failed": status.failed,
    }
