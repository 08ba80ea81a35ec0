"""Decisions: which operator got a request, or none, with the reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from routing.domain.model import NEVER, Operator, Request

_NAMESPACE = UUID("2f0f4d0e-5a50-5f0c-9a52-0c4a4f1f6b57")


@dataclass(frozen=True, slots=True)
class Decision:
    """The operator chosen for a request, or None, and the candidates that were considered.

    `able` counts the eligible operators; `excluded` counts the others by reason.
    """

    request: Request
    operator: str | None
    method: str
    considered: tuple[dict[str, Any], ...]
    able: int
    excluded: Mapping[str, int]

    @property
    def epoch(self) -> int:
        """The assignment this decision made; without one, the previous assignment."""
        return self.request.epoch + (self.operator is not None)

    @property
    def id(self) -> UUID:
        """The id, derived from request and epoch: a repeated decision has the same id."""
        kind = "waits" if self.operator is None else "taken"
        return uuid5(_NAMESPACE, f"{self.request.id}:{self.epoch}:{kind}")


def candidate_snapshot(op: Operator) -> dict[str, Any]:
    """Return the figures of an operator that a decision stores."""
    return {
        "operator": op.id,
        "load": op.load,
        "limit": op.profile.limit,
        "last_assigned_at": None if op.last_assigned is NEVER else op.last_assigned,
        "last_closed_at": None if op.last_closed is NEVER else op.last_closed,
    }


def manual_decision(request: Request, op: Operator, method: str) -> Decision:
    """Return the decision for an operator whom a person chose, by claim or transfer.

    Call it before the request is added to the operator's load.
    """
    return Decision(request, op.id, method, (candidate_snapshot(op),), 1, {})
