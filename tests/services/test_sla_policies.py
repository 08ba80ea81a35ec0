"""What the workspace declares, as sla's domain knows it."""

from datetime import UTC, date, datetime
from typing import cast

from world import EXAMPLE

from chassis.configuration.following import Workspaces
from sla.configuration import policies_of, policy_of
from sla.domain.clocks import Measure
from trunkline_workspace.document import Workspace
from trunkline_workspace.reading import load


class Kept:
    """One version, as a replica keeps it."""

    def __init__(self, text: str) -> None:
        self._document = load(text)

    def version(self, _: int) -> Workspace:
        return self._document


def declared(*, match: str = "{}", calendar: str = "always") -> Workspaces:
    text = EXAMPLE.read_text()
    assert "match: {}, calendar: always" in text
    changed = text.replace("match: {}, calendar: always", f"match: {match}, calendar: {calendar}")
    return cast(Workspaces, Kept(changed))


def test_the_example_promises_by_its_standard_policy() -> None:
    [policy] = policies_of(declared(), 1)

    assert policy.name == "standard"
    assert policy.targets == {
        Measure.FRT: 900, Measure.NRT: 1800, Measure.TTR: 28800, Measure.ACCEPT: 300,
    }  # fmt: skip
    assert policy.warn == (0.5, 0.8)
    assert policy.calendar.always
    assert policy_of([policy], "another").targets == {}


def test_a_group_stands_for_the_topics_it_handles() -> None:
    [policy] = policies_of(declared(match="{group: first-line, type: [chat, task]}"), 1)

    assert policy.match["topic"] == {"general", "delivery"}
    assert policy.match["type"] == {"chat", "task"}


def test_office_hours_are_counted_in_their_zone() -> None:
    [policy] = policies_of(declared(calendar="office"), 1)
    friday = datetime(2026, 11, 27, 15, 30, tzinfo=UTC)  # 17:30 in Kyiv

    assert date(2026, 11, 27).weekday() == 4
    assert policy.calendar.due(friday, 3600) == datetime(2026, 11, 30, 7, 30, tzinfo=UTC)
