"""Bodies of the HTTP API."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from routing.domain.model import Status
from routing.domain.queue_changes import Assignment


class Presence(BaseModel):
    """An operator's presence, without an end or for `lease_seconds`."""

    model_config = ConfigDict(extra="forbid")

    status: Status
    lease_seconds: int | None = Field(default=None, ge=1, le=86_400)


class Claim(BaseModel):
    """The operator who takes the request; the caller, unless a supervisor names another."""

    model_config = ConfigDict(extra="forbid")

    operator: str | None = None


def assignment_body(assignment: Assignment) -> dict[str, Any]:
    """Return the body of a claimed request."""
    return {
        "request_id": assignment.request.id,
        "operator": assignment.operator,
        "group": assignment.request.group,
        "epoch": assignment.request.epoch,
        "mode": assignment.mode,
        "at": assignment.since,
    }


def queue_item(row: dict[str, Any]) -> dict[str, Any]:
    """Return a waiting request without the fields that only the matcher needs."""
    return {name: value for name, value in row.items() if name not in {"avoid", "epoch"}}
