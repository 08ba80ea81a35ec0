"""Access rules: the roles that may use the API, and the groups a caller may see."""

from dataclasses import dataclass

from chassis.auth.dependencies import Identity, Role
from chassis.web.problems import Problem
from routing.configuration import RoutingRules

READERS = (Role.OPERATOR, Role.LIGHT_AGENT, Role.SUPERVISOR, Role.ADMINISTRATOR, Role.ANALYST)
SUPERVISORS = (Role.SUPERVISOR, Role.ADMINISTRATOR)
ALL_GROUPS = (Role.SUPERVISOR, Role.ADMINISTRATOR, Role.ANALYST)
"""Roles that see every group, and the audit."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The groups a caller may see, and the caller, who may see what they were assigned."""

    subject: str
    groups: frozenset[str]


def scope_of(rules: RoutingRules, caller: Identity) -> Scope:
    """Return the caller's scope: every group, or the groups they are a member of."""
    everything = caller.has(*ALL_GROUPS)
    groups = rules.groups.keys() if everything else rules.groups_with([caller.subject])
    return Scope(caller.subject, frozenset(groups))


def require_self_or_supervisor(
    caller: Identity, operator: str, detail: str, roles: tuple[Role, ...] = (Role.OPERATOR,)
) -> None:
    """Raise the problem `forbidden` unless the caller is this operator or a supervisor.

    `roles` are those that may act for themselves.
    """
    is_self = caller.has(*roles) and caller.subject == operator
    if not (is_self or caller.has(*SUPERVISORS)):
        raise Problem(403, "forbidden", detail)


def require_group(scope: Scope, group: str) -> None:
    """Raise the problem `forbidden` unless the group is in scope."""
    if group not in scope.groups:
        raise Problem(403, "forbidden", "the request waits in a group that is not yours")


def require_request(scope: Scope, groups: set[str], operators: set[str | None]) -> None:
    """Raise the problem `forbidden` unless one of the groups or operators is in scope."""
    if scope.subject not in operators and scope.groups.isdisjoint(groups):
        raise Problem(403, "forbidden", "the request is neither yours nor in your groups")
