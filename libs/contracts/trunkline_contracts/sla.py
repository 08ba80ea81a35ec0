"""What sla says: promised times, set, kept and broken."""

from typing import Literal

from trunkline_contracts.fact import Part, Time
from trunkline_contracts.parts import Clock, RequestFact


class Restated(Part):
    """One clock as it stands after all."""

    clock: Clock
    state: Literal["running", "paused", "met", "breached", "cancelled"]
    started_at: Time | None = None
    due_at: Time | None = None
    stopped_at: Time | None = None
    elapsed: float | None = None


class TargetSet(RequestFact):
    """A clock runs towards a deadline."""

    type: Literal["trunkline.sla.v1.target_set"] = "trunkline.sla.v1.target_set"
    clock: Clock
    # Seconds of the calendar's working time.
    target: float
    started_at: Time
    due_at: Time
    policy: str
    calendar: str


class TargetWarned(RequestFact):
    """A part of the promised time is used up."""

    type: Literal["trunkline.sla.v1.target_warned"] = "trunkline.sla.v1.target_warned"
    clock: Clock
    fraction: float
    due_at: Time


class TargetBreached(RequestFact):
    """A deadline passed unmet."""

    type: Literal["trunkline.sla.v1.target_breached"] = "trunkline.sla.v1.target_breached"
    clock: Clock
    due_at: Time
    noticed_at: Time


class TargetMet(RequestFact):
    """What was promised was done in time."""

    type: Literal["trunkline.sla.v1.target_met"] = "trunkline.sla.v1.target_met"
    clock: Clock
    # Seconds of the calendar's working time.
    elapsed: float
    due_at: Time


class TargetCancelled(RequestFact):
    """A promise holds no more."""

    type: Literal["trunkline.sla.v1.target_cancelled"] = "trunkline.sla.v1.target_cancelled"
    clock: Clock
    reason: str


class TargetsRestated(RequestFact):
    """What was said about targets was wrong; this is how they stand."""

    type: Literal["trunkline.sla.v1.targets_restated"] = "trunkline.sla.v1.targets_restated"
    targets: tuple[Restated, ...]
    reason: str
