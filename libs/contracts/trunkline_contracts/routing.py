"""Facts of routing: presence, the queue, and assignments."""

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from trunkline_contracts.fact import Fact, Time, key_field
from trunkline_contracts.parts import Mode, Presence, RequestFact, Token


class RequestQueued(RequestFact):
    """A request entered the queue of a group."""

    type: Literal["trunkline.routing.v1.request_queued"] = "trunkline.routing.v1.request_queued"
    group: str
    weight: int
    position: int
    reason: str


class RequestOffered(RequestFact):
    """A request was offered to an operator."""

    type: Literal["trunkline.routing.v1.request_offered"] = "trunkline.routing.v1.request_offered"
    operator: str
    expires_at: Time
    epoch: int
    group: str | None = None
    decision: UUID | None = None


class OfferDeclined(RequestFact):
    """An operator declined an offer."""

    type: Literal["trunkline.routing.v1.offer_declined"] = "trunkline.routing.v1.offer_declined"
    operator: str
    epoch: int
    reason: str | None = None


class OfferExpired(RequestFact):
    """An offer expired without an answer."""

    type: Literal["trunkline.routing.v1.offer_expired"] = "trunkline.routing.v1.offer_expired"
    operator: str
    epoch: int


class RequestAssigned(RequestFact):
    """A request was assigned to an operator."""

    type: Literal["trunkline.routing.v1.request_assigned"] = "trunkline.routing.v1.request_assigned"
    operator: str
    group: str
    # Counts the assignments of the request; only the latest is in force.
    epoch: int
    mode: Mode
    decision: UUID


class RequestUnassigned(RequestFact):
    """A request was taken from its operator."""

    type: Literal["trunkline.routing.v1.request_unassigned"] = (
        "trunkline.routing.v1.request_unassigned"
    )
    operator: str
    reason: str
    epoch: int


class CapacityReached(Fact):
    """A queue began because no operator of the group has capacity."""

    key: ClassVar[str] = "group"
    type: Literal["trunkline.routing.v1.capacity_reached"] = "trunkline.routing.v1.capacity_reached"
    group: Annotated[Token, key_field("group")]


class OperatorPresenceChanged(Fact):
    """An operator's presence changed."""

    key: ClassVar[str] = "operator"
    type: Literal["trunkline.routing.v1.operator_presence_changed"] = (
        "trunkline.routing.v1.operator_presence_changed"
    )
    operator: Annotated[Token, key_field("operator")]
    from_: Presence
    to: Presence
    by: str
