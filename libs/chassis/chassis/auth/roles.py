"""Roles and identities of callers. Each route declares the roles it needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from chassis.web.problems import Problem


class Role(StrEnum):
    """A role; a token may have any number of them."""

    OPERATOR = "operator"
    LIGHT_AGENT = "light_agent"
    SUPERVISOR = "supervisor"
    ADMINISTRATOR = "administrator"
    INTEGRATOR = "integrator"
    ANALYST = "analyst"


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller with a valid token."""

    subject: str
    roles: frozenset[Role]

    def has(self, *roles: Role) -> bool:
        """Return whether the caller holds one of these roles."""
        return not self.roles.isdisjoint(roles)

    def require(self, *roles: Role) -> None:
        """Raise 403 unless the caller holds one of these roles."""
        if not self.has(*roles):
            raise forbidden(self, roles)


def forbidden(caller: Identity, needed: Iterable[Role]) -> Problem:
    """Return 403 with the roles needed and those held."""
    needs, holds = sorted(needed), sorted(caller.roles)
    detail = f"this takes the role {' or '.join(needs)}; you hold {', '.join(holds) or 'none'}"
    return Problem(403, "forbidden", detail, needs=needs, holds=holds)
