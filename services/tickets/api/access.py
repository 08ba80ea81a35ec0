"""Who may see and do what: the roles table, where tickets is concerned."""

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

Viewer = Annotated[Identity, Depends(allow(Role.OPERATOR, Role.LIGHT_AGENT, *READ_ALL_ROLES))]
"""Reads requests: operators and light agents what is theirs, their groups' or waiting."""
Editor = Annotated[Identity, Depends(allow(Role.OPERATOR, *SUPERVISING_ROLES))]
"""Opens requests; works on their own, or as a supervisor on all."""
Commenter = Annotated[Identity, Depends(allow(Role.OPERATOR, Role.LIGHT_AGENT, *SUPERVISING_ROLES))]
"""Notes and watches."""


def read_scope(here: Service, who: Identity) -> ReadScope:
    """What they may see."""
    declared = here.workspaces.current.groups
    teams = [name for name, group in declared.items() if who.subject in group.operators]
    named = who.has(Role.OPERATOR, Role.LIGHT_AGENT, *SUPERVISING_ROLES)
    return ReadScope(who.has(*READ_ALL_ROLES), who.subject, teams, contacts=named)


def require_assignee(who: Identity) -> Callable[[Request | None], None]:
    """Permit supervisors everything, and operators what is assigned to them."""

    def permit(request: Request | None) -> None:
        if request is None:
            raise no_such_request()
        if not who.has(*SUPERVISING_ROLES) and request.assignee != who.subject:
            raise Problem(
                403,
                "not_yours",
                "only its assignee or a supervisor may do this",
                assignee=request.assignee,
            )

    return permit


def require_visible(here: Service, who: Identity) -> Callable[[Request | None], None]:
    """Permit a note or a look to whoever may see the request as it stands."""
    seen = read_scope(here, who)

    def permit(request: Request | None) -> None:
        if request is None:
            raise no_such_request()
        if not seen.can_read(asdict(request)):
            raise not_visible()

    return permit


def authorize_watch(here: Service, who: Identity, watcher: str) -> Callable[[Request | None], None]:
    """Permit watching oneself; others are made watchers by the assignee or a supervisor alone."""
    return require_visible(here, who) if watcher == who.subject else require_assignee(who)


def authorize_unwatch(
    here: Service, who: Identity, watcher: str
) -> Callable[[Request | None], None]:
    """Permit what `authorize_watch` does, and to everybody to watch no more."""
    watch = authorize_watch(here, who, watcher)

    def permit(request: Request | None) -> None:
        if request is None or watcher != who.subject or watcher not in request.watchers:
            watch(request)

    return permit


def check_watcher(here: Service, who: Identity, watcher: str) -> None:
    """Refuse to tell somebody nobody knows; oneself is known by one's token."""
    operator = here.workspaces.current.operators.get(watcher)
    if watcher != who.subject and (operator is None or operator.retired):
        raise invalid("no such operator", at="body.watcher", value=watcher)


def not_visible() -> Problem:
    """Say that the request is not theirs to see."""
    return Problem(403, "not_yours", "it is neither yours nor your groups', and does not wait")


def contacts_not_visible() -> Problem:
    """Say that customers are not theirs to look for: ids are derived from addresses."""
    return Problem(403, "not_yours", "who customers are is not shown to you", at="query.contact")


def no_such_request() -> Problem:
    """Say that there is no such request."""
    return missing("request", "of this id")
