"""The workspace's policies and calendars, as the domain knows them. A version never changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from chassis.configuration.following import Workspaces
from sla.domain.calendars import Calendar
from sla.domain.clocks import NOTHING, Measure, Policy
from trunkline_workspace.document import Calendar as Declared
from trunkline_workspace.document import Policy as DeclaredPolicy
from trunkline_workspace.document import Workspace


@lru_cache(maxsize=256)
def policies_of(workspaces: Workspaces, version: int) -> tuple[Policy, ...]:
    """Give the policies of a version, in the order in which they are tried."""
    document = workspaces.version(version)
    return tuple(_policy(declared, document) for declared in document.sla)


def policy_of(policies: Sequence[Policy], name: str) -> Policy:
    """Give a policy by its name."""
    return next((policy for policy in policies if policy.name == name), NOTHING)


def _policy(declared: DeclaredPolicy, document: Workspace) -> Policy:
    return Policy(
        name=declared.name,
        calendar=_calendar(declared.calendar, document.calendars[declared.calendar]),
        targets={
            Measure(name): target.total_seconds() for name, target in declared.targets.items()
        },
        match=_match(declared, document),
        warn=tuple(sorted(set(declared.warn))),
        restart_nrt=declared.nrt == "restart",
    )


def _match(declared: DeclaredPolicy, document: Workspace) -> dict[str, frozenset[str]]:
    """Give what must hold of an opened request; its group is the one its topic belongs to."""
    match = {
        str(name): frozenset([value] if isinstance(value, str) else value)
        for name, value in declared.match.items()
    }
    if (groups := match.pop("group", None)) is not None:
        theirs = {name for name, topic in document.topics.items() if topic.group in groups}
        match["topic"] = frozenset(theirs) & match.get("topic", frozenset(theirs))
    return match


def _calendar(name: str, declared: Declared) -> Calendar:
    dates, country = frozenset(declared.holidays.dates), declared.holidays.country
    holidays = DaysOff(country, dates) if country else dates
    return Calendar(name, declared.timezone, declared.hours(), holidays)


@dataclass(frozen=True)
class DaysOff:
    """A country's public holidays, and further dates."""

    country: str
    dates: frozenset[date]

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and (
            day in self.dates or day in _holidays(self.country, day.year)
        )


@lru_cache(maxsize=1024)
def _holidays(country: str, year: int) -> frozenset[date]:
    from holidays import country_holidays  # takes a while, and few need it

    return frozenset(country_holidays(country, years=year))
