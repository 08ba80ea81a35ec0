"""Authorisation: the roles that may read clocks, and the requests a caller may see."""

from fastapi import Depends

from chassis.auth.dependencies import Identity, Role, allow
from chassis.service import Service
from sla.domain.clocks import Request
from sla.store import ReadScope

READ_ALL_ROLES = (Role.SUPERVISOR, Role.ADMINISTRATOR, Role.ANALYST)

READERS_ONLY = Depends(allow(Role.OPERATOR, Role.LIGHT_AGENT, *READ_ALL_ROLES))
"""Admits everybody who works with requests."""


def read_scope(service: Service, caller: Identity) -> ReadScope:
    """Return the requests whose clocks a caller may read."""
    groups = service.workspaces.current.groups
    own_groups = [name for name, group in groups.items() if caller.subject in group.operators]
    return ReadScope(caller.has(*READ_ALL_ROLES), caller.subject, own_groups)


def can_read(request: Request, scope: ReadScope) -> bool:
    """Return whether a request is in a scope; unassigned requests are in everybody's."""
    is_own = request.assignee in {None, scope.subject} or request.team in scope.groups
    return scope.everything or is_own
