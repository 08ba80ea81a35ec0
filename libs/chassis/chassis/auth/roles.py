"""What somebody may be to Trunkline. What each role may do is said where it is done."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from chassis.web.problems import Problem


class Role(StrEnum):
    """What somebody may be to Trunkline; a token names any number of them."""

    OPERATOR = "operator"
    LIGHT_AGENT = "light_agent"
    SUPERVISOR = "supervisor"
    ADMINISTRATOR = "administrator"
    INTEGRATOR = "integrator"
    ANALYST = "analyst"


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who has shown a valid token."""

    subject: str
    roles: frozenset[Role]

    def has(self, *roles: Role) -> bool:
        """Tell whether they hold one of these roles."""
        return not self.roles.isdisjoint(roles)

    def require(self, *roles: Role) -> None:
        """Refuse them unless they hold one of these roles."""
        if not self.has(*roles):
            raise forbidden(self, roles)


def forbidden(who: Identity, needed: Iterable[Role]) -> Problem:
    """Say which role it takes, and which they hold."""
    needs, holds = sorted(needed), sorted(who.roles)
    detail = f"this takes the role {' or '.join(needs)}; you hold {', '.join(holds) or 'none'}"
    return Problem(403, "forbidden", detail, needs=needs, holds=holds)
