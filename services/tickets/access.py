"""Who may see and do what: the roles table, where tickets is concerned."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends

from chassis.auth import Identity, Role, allow
from chassis.problems import Problem, missing
from chassis.service import Service
from tickets.domain.request import Request
from tickets.views import Sight

ALL_SEEING = (Role.SUPERVISOR, Role.ADMINISTRATOR, Role.ANALYST)
COMMANDING = (Role.SUPERVISOR, Role.ADMINISTRATOR)

Viewer = Annotated[Identity, Depends(allow(Role.OPERATOR, Role.LIGHT_AGENT, *ALL_SEEING))]
"""Reads requests: operators and light agents what is theirs, their groups' or waiting."""
Worker = Annotated[Identity, Depends(allow(Role.OPERATOR, *COMMANDING))]
"""Opens requests; works on their own, or as a supervisor on all."""
Colleague = Annotated[Identity, Depends(allow(Role.OPERATOR, Role.LIGHT_AGENT, *COMMANDING))]
"""Notes and watches."""


def sight(here: Service, who: Identity) -> Sight:
    """What they may see."""
    declared = here.workspaces.current.groups
    teams = [name for name, group in declared.items() if who.subject in group.operators]
    named = who.has(Role.OPERATOR, Role.LIGHT_AGENT, *COMMANDING)
    return Sight(who.has(*ALL_SEEING), who.subject, teams, contacts=named)


def works_on(who: Identity) -> Callable[[Request | None], None]:
    """Permit supervisors everything, and operators what is assigned to them."""

    def permit(request: Request | None) -> None:
        if request is None:
            raise nowhere()
        if not who.has(*COMMANDING) and request.assignee != who.subject:
            raise Problem(
                403,
                "not_yours",
                "only its assignee or a supervisor may do this",
                assignee=request.assignee,
            )

    return permit


def known(request: Request | None) -> None:
    """Permit everybody, as long as there is such a request."""
    if request is None:
        raise nowhere()


def nowhere() -> Problem:
    """Say that there is no such request."""
    return missing("request", "of this id")
