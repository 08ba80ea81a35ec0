"""Facts of sla: targets that were set, met, breached, cancelled or restated."""

from typing import Literal

from trunkline_contracts.fact import Part, Time
from trunkline_contracts.parts import Clock, RequestFact


class Restated(Part):
    """The corrected state of one clock."""

    clock: Clock
    state: Literal["running", "paused", "met", "breached", "cancelled"]
    started_at: Time | None = None
    due_at: Time | None = None
    stopped_at: Time | None = None
    elapsed: float | None = None


class TargetSet(RequestFact):
    """A clock started, or resumed with a new due time."""

    type: Literal["trunkline.sla.v1.target_set"] = "trunkline.sla.v1.target_set"
    clock: Clock
    # Seconds of business hours.
    target: float
    started_at: Time
    due_at: Time
    policy: str
    calendar: str


class TargetWarned(RequestFact):
    """A clock has used a warning fraction of its target."""

    type: Literal["trunkline.sla.v1.target_warned"] = "trunkline.sla.v1.target_warned"
    clock: Clock
    fraction: float
    due_at: Time


class TargetBreached(RequestFact):
    """A clock passed its due time before the target was met."""

    type: Literal["trunkline.sla.v1.target_breached"] = "trunkline.sla.v1.target_breached"
    clock: Clock
    due_at: Time
    noticed_at: Time


class TargetMet(RequestFact):
    """A target was met in time."""

    type: Literal["trunkline.sla.v1.target_met"] = "trunkline.sla.v1.target_met"
    clock: Clock
    # Seconds of business hours.
    elapsed: float
    due_at: Time


class TargetCancelled(RequestFact):
    """A clock ended because its target is not needed any more."""

    type: Literal["trunkline.sla.v1.target_cancelled"] = "trunkline.sla.v1.target_cancelled"
    clock: Clock
    reason: str


class TargetsRestated(RequestFact):
    """Earlier facts about targets were wrong; `targets` has the correct states."""

    type: Literal["trunkline.sla.v1.targets_restated"] = "trunkline.sla.v1.targets_restated"
    targets: tuple[Restated, ...]
    reason: str
