"""Access rules: the roles that may use the API, and the bells and requests a caller may see."""

from typing import Any

from chassis.auth.dependencies import Identity, Role
from chassis.configuration.following import Workspaces
from chassis.web.problems import Problem
from notify.domain.request import Request

SUPERVISORS = (Role.SUPERVISOR, Role.ADMINISTRATOR)
BELL_OWNERS = (Role.OPERATOR, Role.LIGHT_AGENT, *SUPERVISORS)
"""Roles that have a bell."""
READERS = (*BELL_OWNERS, Role.ANALYST)
"""Roles that may read requests."""


def require_own_bell(caller: Identity, operator: str) -> None:
    """Raise the problem `forbidden` unless the bell is the caller's, or they supervise."""
    if caller.subject != operator and not caller.has(*SUPERVISORS):
        raise Problem(403, "forbidden", f"this bell is {operator}'s")


def require_request(workspaces: Workspaces, caller: Identity, request: Request) -> None:
    """Raise the problem `not_yours` unless the caller may read the request.

    Supervisors, administrators and analysts may read every request. Others may read those they
    are assigned to or watch, and those of their skill groups.
    """
    if caller.has(*SUPERVISORS, Role.ANALYST):
        return
    if caller.subject in {request.assignee, *request.watchers}:
        return
    document = workspaces.current
    group = document.groups.get(request.team or document.group_of(request.topic))
    if group is None or caller.subject not in group.operators:
        raise Problem(403, "not_yours", "the request is neither yours nor in your groups")


def visible_message(caller: Identity, message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as the caller may see it.

    Analysts get neither the platform's text nor its ids, which may identify the customer.
    """
    if caller.has(*BELL_OWNERS):
        return message
    return {**message, "reason": None, "platform_id": None}
