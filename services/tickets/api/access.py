"""Authorisation: the roles that may call an endpoint, and the requests a caller may use."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from msgspec.structs import asdict

from chassis.auth.dependencies import Identity, Role, allow
from chassis.service import Service
from chassis.web.problems import Problem, invalid, missing
from tickets.domain.request import Request
from tickets.queries import ReadScope

READ_ALL_ROLES = (Role.SUPERVISOR, Role.ADMINISTRATOR, Role.ANALYST)
SUPERVISING_ROLES = (Role.SUPERVISOR, Role.ADMINISTRATOR)

TEAM_ROLES = (Role.OPERATOR, Role.LIGHT_AGENT)

Viewer = Annotated[Identity, Depends(allow(*TEAM_ROLES, *READ_ALL_ROLES, Role.INTEGRATOR))]
"""May read requests; operators and light agents those of their `ReadScope`, integrators those that
were opened with their own token."""
TeamViewer = Annotated[Identity, Depends(allow(*TEAM_ROLES, *READ_ALL_ROLES))]
"""May also read how a request was worked on."""
Editor = Annotated[Identity, Depends(allow(Role.OPERATOR, *SUPERVISING_ROLES))]
"""May open requests and change them; operators only those assigned to them."""
Commenter = Annotated[Identity, Depends(allow(*TEAM_ROLES, *SUPERVISING_ROLES))]
"""May add notes and watch."""

Authorize = Callable[[Request | None], None]
"""Raises `Problem` when the caller may not change the request as it stands."""


def read_scope(service: Service, caller: Identity) -> ReadScope:
    """Return the requests and details a caller may read."""
    groups = service.workspaces.current.groups
    own_groups = [name for name, group in groups.items() if caller.subject in group.operators]
    is_integrator, everything = caller.has(Role.INTEGRATOR), caller.has(*READ_ALL_ROLES)
    is_colleague = caller.has(*TEAM_ROLES, *SUPERVISING_ROLES)
    return ReadScope(
        everything=everything,
        subject=caller.subject,
        groups=own_groups,
        contacts=is_colleague or (is_integrator and not everything),
        inside=caller.has(*TEAM_ROLES, *READ_ALL_ROLES),
        account=caller.subject if is_integrator else None,
    )


def require_assignee(caller: Identity) -> Authorize:
    """Authorise supervisors for every request, and operators for those assigned to them."""

    def authorize(request: Request | None) -> None:
        if request is None:
            raise no_such_request()
        if not caller.has(*SUPERVISING_ROLES) and request.assignee != caller.subject:
            raise Problem(
                403,
                "not_yours",
                "only its assignee or a supervisor may do this",
                assignee=request.assignee,
            )

    return authorize


def require_visible(service: Service, caller: Identity) -> Authorize:
    """Authorise callers who may read the request as it stands."""
    scope = read_scope(service, caller)

    def authorize(request: Request | None) -> None:
        if request is None:
            raise no_such_request()
        if not scope.can_read(asdict(request)):
            raise not_visible()

    return authorize


def authorize_watch(service: Service, caller: Identity, watcher: str) -> Authorize:
    """Authorise readers to add themselves; only assignee and supervisors add others."""
    is_self = watcher == caller.subject
    return require_visible(service, caller) if is_self else require_assignee(caller)


def authorize_unwatch(service: Service, caller: Identity, watcher: str) -> Authorize:
    """Authorise as for adding a watcher; in addition, every watcher may remove themselves."""
    authorize_others = authorize_watch(service, caller, watcher)

    def authorize(request: Request | None) -> None:
        if request is None or watcher != caller.subject or watcher not in request.watchers:
            authorize_others(request)

    return authorize


def check_watcher(service: Service, caller: Identity, watcher: str) -> None:
    """Raise `Problem` for a watcher the workspace does not have; callers may add themselves."""
    operator = service.workspaces.current.operators.get(watcher)
    if watcher != caller.subject and (operator is None or operator.retired):
        raise invalid("no such operator", at="body.watcher", value=watcher)


def not_visible() -> Problem:
    """Return the problem of a request outside the caller's read scope."""
    return Problem(
        403, "not_yours", "the request is neither yours nor your groups', and not waiting"
    )


def contacts_not_visible() -> Problem:
    """Return the problem of a filter by contact; contact ids are derived from addresses."""
    return Problem(
        403, "not_yours", "your roles may not see who the customers are", at="query.contact"
    )


def no_such_request() -> Problem:
    """Return the problem of an unknown request id."""
    return missing("request", "of this id")
