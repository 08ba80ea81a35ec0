"""The workspace's policies and calendars, as the domain knows them. A version never changes."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from chassis.workspace import Workspaces
from sla.domain.calendars import Calendar
from sla.domain.clocks import NOTHING, Measure, Policy


@lru_cache(maxsize=64)
def policies_of(workspaces: Workspaces, version: int) -> tuple[Policy, ...]:
    """Give the policies of a version, in the order in which they are tried."""
    document = workspaces.version(version)
    return tuple(_policy(declared, document.calendars) for declared in document.sla)


def policy_of(policies: Sequence[Policy], name: str) -> Policy:
    """Give a policy by its name."""
    return next((policy for policy in policies if policy.name == name), NOTHING)


def _policy(declared: Any, calendars: Mapping[str, Any]) -> Policy:
    return Policy(
        name=declared.name,
        calendar=_calendar(declared.calendar, calendars[declared.calendar]),
        targets={
            Measure(name): target.total_seconds() for name, target in declared.targets.items()
        },
        match={name: frozenset(_several(value)) for name, value in declared.match.items()},
        warn=tuple(sorted(declared.warn)),
        restart_nrt=declared.nrt == "restart",
    )


def _several(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple | set) else [str(value)]


def _calendar(name: str, declared: Any) -> Calendar:
    return Calendar(name, declared.timezone)
