"""Who may see and do what: the roles table, where tickets is concerned."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from msgspec.structs import asdict

from chassis.auth.dependencies import Identity, Role, allow
from chassis.service import Service
from chassis.web.problems import Problem, invalid, missing
from tickets.domain.request import Request
from tickets.queries import Sight

ALL_SEEING = (Role.SUPERVISOR, Role.ADMINISTRATOR, Role.ANALYST)
COMMANDING = (Role.SUPERVISOR, Role.ADMINISTRATOR)

TEAM = (Role.OPERATOR, Role.LIGHT_AGENT)

Viewer = Annotated[Identity, Depends(allow(*TEAM, *ALL_SEEING, Role.INTEGRATOR))]
"""Reads requests: operators and light agents what is theirs, their groups' or waiting; integrators
those that were opened with their own token."""
Insider = Annotated[Identity, Depends(allow(*TEAM, *ALL_SEEING))]
"""Reads how a request was worked on, too."""
Worker = Annotated[Identity, Depends(allow(Role.OPERATOR, *COMMANDING))]
"""Opens requests; works on their own, or as a supervisor on all."""
Colleague = Annotated[Identity, Depends(allow(*TEAM, *COMMANDING))]
"""Notes and watches."""


def sight(here: Service, who: Identity) -> Sight:
    """What they may see."""
    declared = here.workspaces.current.groups
    teams = [name for name, group in declared.items() if who.subject in group.operators]
    everything, integrates = who.has(*ALL_SEEING), who.has(Role.INTEGRATOR)
    named = who.has(*TEAM, *COMMANDING) or (integrates and not everything)
    return Sight(
        everything,
        who.subject,
        teams,
        contacts=named,
        inside=who.has(*TEAM, *ALL_SEEING),
        account=who.subject if integrates else None,
    )


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


def takes_part(here: Service, who: Identity) -> Callable[[Request | None], None]:
    """Permit a note or a look to whoever may see the request as it stands."""
    seen = sight(here, who)

    def permit(request: Request | None) -> None:
        if request is None:
            raise nowhere()
        if not seen.sees(asdict(request)):
            raise unseen()

    return permit


def may_watch(here: Service, who: Identity, watcher: str) -> Callable[[Request | None], None]:
    """Permit watching oneself; others are made watchers by the assignee or a supervisor alone."""
    return takes_part(here, who) if watcher == who.subject else works_on(who)


def may_unwatch(here: Service, who: Identity, watcher: str) -> Callable[[Request | None], None]:
    """Permit what `may_watch` does, and to everybody to watch no more."""
    watch = may_watch(here, who, watcher)

    def permit(request: Request | None) -> None:
        if request is None or watcher != who.subject or watcher not in request.watchers:
            watch(request)

    return permit


def check_watcher(here: Service, who: Identity, watcher: str) -> None:
    """Refuse to tell somebody nobody knows; oneself is known by one's token."""
    operator = here.workspaces.current.operators.get(watcher)
    if watcher != who.subject and (operator is None or operator.retired):
        raise invalid("no such operator", at="body.watcher", value=watcher)


def unseen() -> Problem:
    """Say that the request is not theirs to see."""
    return Problem(403, "not_yours", "it is neither yours nor your groups', and does not wait")


def unseen_contacts() -> Problem:
    """Say that customers are not theirs to look for: ids are derived from addresses."""
    return Problem(403, "not_yours", "who customers are is not shown to you", at="query.contact")


def nowhere() -> Problem:
    """Say that there is no such request."""
    return missing("request", "of this id")
