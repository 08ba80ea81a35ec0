"""What routing says: presence, the queue, and who has which request."""

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from trunkline_contracts.fact import Fact, Time, of_key
from trunkline_contracts.parts import Mode, Presence, RequestFact, Token


class RequestQueued(RequestFact):
    """A request waits for an operator of its group."""

    type: Literal["trunkline.routing.v1.request_queued"] = "trunkline.routing.v1.request_queued"
    group: str
    weight: int
    position: int
    reason: str


class RequestOffered(RequestFact):
    """An operator is asked to take a request."""

    type: Literal["trunkline.routing.v1.request_offered"] = "trunkline.routing.v1.request_offered"
    operator: str
    expires_at: Time
    epoch: int
    group: str | None = None
    decision: UUID | None = None


class OfferDeclined(RequestFact):
    """An operator does not take a request offered to them."""

    type: Literal["trunkline.routing.v1.offer_declined"] = "trunkline.routing.v1.offer_declined"
    operator: str
    epoch: int
    reason: str | None = None


class OfferExpired(RequestFact):
    """An operator let an offer pass."""

    type: Literal["trunkline.routing.v1.offer_expired"] = "trunkline.routing.v1.offer_expired"
    operator: str
    epoch: int


class RequestAssigned(RequestFact):
    """An operator has the request."""

    type: Literal["trunkline.routing.v1.request_assigned"] = "trunkline.routing.v1.request_assigned"
    operator: str
    group: str
    # Counts a request's assignments; only the latest is in force.
    epoch: int
    mode: Mode
    decision: UUID


class RequestUnassigned(RequestFact):
    """An operator has the request no more."""

    type: Literal["trunkline.routing.v1.request_unassigned"] = (
        "trunkline.routing.v1.request_unassigned"
    )
    operator: str
    reason: str
    epoch: int


class CapacityReached(Fact):
    """Nobody in the group can take more."""

    key: ClassVar[str] = "group"
    type: Literal["trunkline.routing.v1.capacity_reached"] = "trunkline.routing.v1.capacity_reached"
    group: Annotated[Token, of_key("group")]


class OperatorPresenceChanged(Fact):
    """An operator came, left, or is busy."""

    key: ClassVar[str] = "operator"
    type: Literal["trunkline.routing.v1.operator_presence_changed"] = (
        "trunkline.routing.v1.operator_presence_changed"
    )
    operator: Annotated[Token, of_key("operator")]
    from_: Presence
    to: Presence
    by: str
