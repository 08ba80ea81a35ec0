"""The webhooks' addresses: how each is doing, and having deliveries made again."""

from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, model_validator

from chassis.auth.dependencies import Caller, Identity, Role, allow
from chassis.service import Here
from chassis.web.problems import Problem, missing
from notify.webhooks import store
from notify.webhooks.endpoints import Endpoint, Endpoints

WEBHOOK_ROLES = (Role.ADMINISTRATOR, Role.INTEGRATOR)
MAX_POSITION = 2**63 - 1

router = APIRouter(prefix="/v1", tags=["webhooks"], dependencies=[Depends(allow(*WEBHOOK_ROLES))])


class Redrive(BaseModel):
    """Which deliveries to make (again): those that failed, or all from somewhere on.

    `from` is a delivery's `position`, or with `request_id` a `sequence` of that request.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    failed: bool = False
    from_: Annotated[int, Field(ge=0, le=MAX_POSITION)] | None = Field(default=None, alias="from")
    request_id: UUID | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.failed and self.from_ is None and self.request_id is None:
            raise ValueError("say which: failed, from, or request_id")
        return self


@router.get("/webhooks")
async def webhooks(here: Here, who: Caller) -> dict[str, Any]:
    """Give the webhooks of the workspace in force, and how each is doing."""
    mine = [e for e in _endpoints(here.state).values() if _is_owner(who, e.name)]
    async with here.transaction() as tx:
        stands = await store.status_of(tx, mine)
    return {"items": [webhook_body(e, *stands[e.name]) for e in mine], "next": None}


@router.post("/webhooks/{id}/redrive")
async def redrive(id: str, which: Redrive, here: Here, who: Caller) -> dict[str, int]:
    """Have deliveries made (again), in their order; the endpoint is taken to be there again."""
    if id not in _endpoints(here.state):
        raise missing("webhook", id)
    if not _is_owner(who, id):
        raise Problem(403, "forbidden", f"{id} is not a webhook of yours")
    start = which.from_ or 0
    about = None if which.request_id is None else (which.request_id, start)
    async with here.transaction() as tx:
        many = await store.redrive(
            tx, id, failed=which.failed, position=0 if about else start, request=about
        )
        here.state["courier"].notify_pending()
    return {"redriven": many}


def _endpoints(state: dict[str, Any]) -> dict[str, Endpoint]:
    endpoints: Endpoints = state["endpoints"]
    return endpoints.all


def _is_owner(who: Identity, name: str) -> bool:
    """An integrator's own webhook is the one of their name."""
    return who.has(Role.ADMINISTRATOR) or who.subject == name


def webhook_body(
    endpoint: Endpoint, paused: Any, disabled: Any, reason: Any, open: int, failed: int, since: Any
) -> dict[str, Any]:
    ready = bool(endpoint.secrets())
    state = "disabled" if disabled else "paused" if paused else "active" if ready else "no_secret"
    return {
        "id": endpoint.name,
        "url": endpoint.declared.url,
        "events": endpoint.declared.events,
        "ordered": endpoint.declared.ordered,
        "internal": endpoint.declared.internal,
        "state": state,
        "reason": reason,
        "paused_until": paused,
        "disabled_at": disabled,
        "pending": open,
        "pending_since": since,
        "failed": failed,
    }
