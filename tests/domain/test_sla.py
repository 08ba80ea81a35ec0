"""The clocks of one request, computed from its facts."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid5

import pytest

from sla.domain.calendars import Calendar
from sla.domain.clocks import BREACH_GRACE, Measure, Policy, Request, RequestClocks, choose_policy
from trunkline_contracts import (
    NAMESPACE,
    AssigneeChanged,
    Closed,
    Contact,
    Fact,
    Message,
    MessageAdded,
    Opened,
    Paused,
    ReplySent,
    Resumed,
    TargetBreached,
    TargetCancelled,
    TargetMet,
    TargetSet,
    TargetsRestated,
    TargetWarned,
)

T0 = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
ID = uuid5(NAMESPACE, "a request")
CONTACT = Contact(id=uuid5(NAMESPACE, "olha"), address="77")
POLICY = Policy(
    name="standard",
    calendar=Calendar("always"),
    targets={Measure.FRT: 900, Measure.NRT: 1800, Measure.TTR: 28800, Measure.ACCEPT: 300},
    warn=(0.5, 0.8),
)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


class Life:
    """A request with its facts in order, and the facts that sla publishes about it."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.request = Request(ID, policy.name, 1)
        self.facts: list[Fact] = []

    def apply(self, fact: Fact, now: float | None = None) -> list[Fact]:
        self.facts.append(fact)
        fold = RequestClocks(self.request, self.policy, fact.time if now is None else at(now))
        fold.apply(fact)
        return fold.facts

    def add(
        self, kind: type[Fact], seconds: float, *, now: float | None = None, **data: Any
    ) -> list[Fact]:
        number = len(self.facts) + 1
        return self.apply(kind(time=at(seconds), sequence=number, request_id=ID, **data), now)

    def tick(self, certain: float) -> list[Fact]:
        fold = RequestClocks(self.request, self.policy, at(certain))
        fold.tick(at(certain))
        return fold.facts

    def states(self) -> dict[str, str]:
        return {clock.measure.value: clock.state for clock in self.request.clocks.values()}

    def open(self) -> list[Fact]:
        return self.add(
            Opened,
            0,
            request_type="chat",
            channel="telegram",
            account="main",
            contact=CONTACT,
            topic="billing",
            priority="medium",
            status="new",
            message=message("hello"),
        )

    def reply(self, seconds: float, **more: Any) -> list[Fact]:
        return self.add(
            ReplySent,
            seconds,
            message=message(f"answer {seconds}"),
            by="anna",
            channel="telegram",
            account="main",
            contact=CONTACT,
            **more,
        )

    def assign(self, seconds: float) -> list[Fact]:
        return self.add(AssigneeChanged, seconds, to="anna", mode="auto", epoch=1)

    def write(self, seconds: float) -> list[Fact]:
        return self.add(MessageAdded, seconds, message=message(f"more {seconds}"))

    def machine(self, seconds: float) -> list[Fact]:
        sent = message(f"more {seconds}").model_copy(update={"automatic": "precedence"})
        return self.add(MessageAdded, seconds, message=sent)

    def close(self, seconds: float, **more: Any) -> list[Fact]:
        return self.add(Closed, seconds, resolution="done", by="operator", status="closed", **more)


def message(text: str) -> Message:
    return Message(id=uuid5(NAMESPACE, text), text=text, sent_at=T0)


def kinds(facts: list[Fact]) -> list[tuple[type[Fact], str]]:
    return [(type(fact), getattr(fact, "clock", "")) for fact in facts]


def test_opening_sets_the_targets_of_the_policy() -> None:
    facts = Life().open()

    assert kinds(facts) == [(TargetSet, "FRT"), (TargetSet, "TTR"), (TargetSet, "ACCEPT")]
    assert [fact.due_at for fact in facts if isinstance(fact, TargetSet)] == [
        at(900),
        at(28800),
        at(300),
    ]


def test_request_answered_in_time_meets_all_targets() -> None:
    life = Life()
    life.open()

    assert kinds(life.assign(10)) == [(TargetMet, "ACCEPT")]
    [met] = life.reply(60)
    assert isinstance(met, TargetMet)
    assert (met.clock, met.elapsed, met.due_at) == ("FRT", 60.0, at(900))
    assert kinds(life.write(100)) == [(TargetSet, "NRT")]
    assert kinds(life.reply(160)) == [(TargetMet, "NRT")]
    assert kinds(life.close(200)) == [(TargetMet, "TTR")]
    assert life.states() == {"FRT": "met", "TTR": "met", "ACCEPT": "met", "NRT": "met"}


def test_repeated_fact_has_no_effect() -> None:
    life = Life()
    life.open()
    life.reply(60)

    assert [life.apply(fact) for fact in list(life.facts)] == [[], []]


def test_deadline_is_breached_once_when_certain() -> None:
    life = Life()
    life.open()
    life.assign(1)
    life.tick(850)

    assert life.tick(900) == []
    assert life.tick(900.49) == []
    [breach] = life.tick(900.5)
    assert isinstance(breach, TargetBreached)
    assert (breach.clock, breach.due_at, breach.noticed_at) == ("FRT", at(900), at(900.5))
    assert life.tick(2000) == []
    assert life.reply(2000) == []
    assert life.states()["FRT"] == "breached"
    assert life.request.clocks[Measure.FRT].stopped_at == at(2000)


def test_reply_after_deadline_breaches_without_timer() -> None:
    life = Life()
    life.open()

    [breach] = life.reply(1000)
    assert isinstance(breach, TargetBreached)
    assert breach.due_at == at(900)


def test_reply_at_the_deadline_meets_the_target() -> None:
    life = Life()
    life.open()

    assert kinds(life.reply(900)) == [(TargetMet, "FRT")]


def test_late_reply_fact_disproves_the_breach() -> None:
    life = Life()
    life.open()
    life.assign(1)
    life.tick(901)

    restated, met = life.reply(890, now=905)
    assert isinstance(restated, TargetsRestated)
    assert [(t.clock, t.state, t.elapsed) for t in restated.targets] == [("FRT", "met", 890.0)]
    assert isinstance(met, TargetMet)
    assert life.states()["FRT"] == "met"


def test_late_pause_fact_disproves_the_breach() -> None:
    life = Life()
    life.open()
    life.assign(1)
    life.tick(901)

    [restated] = life.add(Paused, 890, now=905, by="anna")
    assert isinstance(restated, TargetsRestated)
    assert [t.state for t in restated.targets] == ["paused"]
    life.add(Resumed, 2000, by="anna")
    assert life.request.clocks[Measure.FRT].due_at == at(2010)
    [breach] = life.tick(2011)
    assert isinstance(breach, TargetBreached)
    assert breach.due_at == at(2010)


def test_warnings_come_once_and_only_the_last_of_several() -> None:
    life = Life()
    life.open()
    life.assign(1)

    assert life.tick(449) == []
    [warned] = life.tick(450)
    assert isinstance(warned, TargetWarned)
    assert (warned.clock, warned.fraction, warned.due_at) == ("FRT", 0.5, at(900))
    assert life.tick(700) == []
    [warned] = life.tick(720)
    assert isinstance(warned, TargetWarned)
    assert warned.fraction == 0.8

    other = Life()
    other.open()
    other.assign(1)
    [warned] = other.tick(800)
    assert isinstance(warned, TargetWarned)
    assert warned.fraction == 0.8


def test_tick_after_long_outage_publishes_breaches_only() -> None:
    life = Life()
    life.open()

    assert kinds(life.tick(100_000)) == [
        (TargetBreached, "FRT"),
        (TargetBreached, "TTR"),
        (TargetBreached, "ACCEPT"),
    ]


def test_pause_moves_the_deadline_by_its_length() -> None:
    life = Life()
    life.open()
    life.assign(1)
    life.add(Paused, 300, by="anna")

    assert life.states()["FRT"] == "paused"
    assert life.tick(5000) == []
    assert kinds(life.add(Resumed, 1300, by="anna")) == [(TargetSet, "FRT"), (TargetSet, "TTR")]
    assert life.request.clocks[Measure.FRT].due_at == at(1900)
    [met] = life.reply(1400)
    assert isinstance(met, TargetMet)
    assert met.elapsed == 400.0


def test_closing_cancels_the_remaining_clocks() -> None:
    life = Life()
    life.open()

    assert kinds(life.close(30)) == [
        (TargetMet, "TTR"),
        (TargetCancelled, "FRT"),
        (TargetCancelled, "ACCEPT"),
    ]
    assert life.tick(100_000) == []
    assert all(clock.wake_at is None for clock in life.request.clocks.values())


@pytest.mark.parametrize(("restart", "due"), [(False, 1900.0), (True, 1950.0)])
def test_next_response_starts_at_first_or_last_message(restart: bool, due: float) -> None:
    life = Life(Policy("p", Calendar("always"), {Measure.NRT: 1800}, restart_nrt=restart))
    life.open()

    assert life.write(10) == []
    life.reply(20)
    life.write(100)
    life.write(150)
    assert life.request.clocks[Measure.NRT].due_at == at(due)


@pytest.mark.parametrize("restart", [False, True])
def test_automatic_message_starts_and_moves_no_clock(restart: bool) -> None:
    life = Life(Policy("p", Calendar("always"), {Measure.NRT: 1800}, restart_nrt=restart))
    life.open()
    life.reply(20)

    assert life.machine(50) == []
    assert life.states() == {}
    life.write(100)
    assert life.machine(150) == []
    assert life.request.clocks[Measure.NRT].due_at == at(1900)


def test_first_matching_policy_is_chosen() -> None:
    opened = Opened(
        time=T0,
        request_id=ID,
        request_type="chat",
        channel="telegram",
        account="main",
        contact=CONTACT,
        topic="billing",
        priority="high",
        status="new",
        message=message("x"),
    )
    money = Policy("money", Calendar("a"), {}, match={"topic": frozenset({"billing"})})
    tasks = Policy("tasks", Calendar("a"), {}, match={"type": frozenset({"task"})})

    assert choose_policy([tasks, money, POLICY], opened) is money
    assert choose_policy([tasks], opened).targets == {}


def test_clock_wakes_half_a_second_after_its_deadline() -> None:
    life = Life(Policy("p", Calendar("always"), {Measure.FRT: 5}))
    life.open()

    assert life.request.clocks[Measure.FRT].wake_at == at(5) + BREACH_GRACE


RESTARTS = Policy("p", Calendar("always"), {Measure.NRT: 60}, restart_nrt=True)


@pytest.mark.parametrize("noticed", [False, True])
@pytest.mark.parametrize("late", [60.1, 60.6, 3600])
def test_message_after_deadline_hides_no_breach(noticed: bool, late: float) -> None:
    """With a timer that notices the deadline, and with all facts applied after it."""
    life = Life(RESTARTS)
    life.open()
    life.reply(10)
    life.write(100)
    facts = life.tick(100 + late) if noticed else []
    facts += life.write(100 + late)
    assert kinds(facts) == [(TargetBreached, "NRT")]
    assert life.states() == {"NRT": "breached"}
    assert kinds(life.reply(100 + late + 30)) == []
    assert kinds(life.write(5000)) == [(TargetSet, "NRT")]


def test_late_message_disproves_breach_and_restarts_clock() -> None:
    life = Life(RESTARTS)
    life.open()
    life.reply(10)
    life.write(100)
    life.tick(200)
    assert life.states() == {"NRT": "breached"}
    facts = life.add(MessageAdded, 150, now=210, message=message("more"))
    assert kinds(facts) == [(TargetsRestated, ""), (TargetSet, "NRT")]
    assert life.states() == {"NRT": "running"}
    assert life.request.clocks[Measure.NRT].due_at == at(210)
