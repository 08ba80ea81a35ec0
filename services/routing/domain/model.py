"""Requests, groups and operators as routing sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

NEVER = datetime.min.replace(tzinfo=UTC)
"""The time of an event that has not happened: it sorts before every other time."""

CandidateKey = tuple[str, str, str, str | None]
"""Group, topic, channel, and the operator who handed the request back.

Requests with the same key have the same candidates.
"""


class Status(StrEnum):
    """An operator's own presence; offline until the operator sets it."""

    ONLINE = "online"
    BUSY = "busy"
    AWAY = "away"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class OperatorProfile:
    """An operator as the workspace declares them. An empty `skills` means every skill.

    `limit` counts requests at a time; `channels` limits single channels within it.
    """

    id: str
    name: str
    limit: int
    skills: Mapping[str, int] = field(default_factory=dict)
    channels: Mapping[str, int] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    quota: int | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A skill group and its method. If it is not automatic, its operators claim requests."""

    id: str
    members: frozenset[str]
    method: str = "default"
    automatic: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the queue sees it.

    `epoch` counts its assignments; `avoid` names the operator who handed it back.
    """

    id: UUID
    group: str
    topic: str
    channel: str
    weight: int
    created_at: datetime
    epoch: int = 0
    avoid: str | None = None
    trace: str | None = None

    @property
    def candidate_key(self) -> CandidateKey:
        """The key of the requests that have the same candidates."""
        return (self.group, self.topic, self.channel, self.avoid)


@dataclass(slots=True)
class Operator:
    """An operator's current presence and load."""

    profile: OperatorProfile
    status: Status = Status.OFFLINE
    load: int = 0
    channel_load: dict[str, int] = field(default_factory=dict)
    last_assigned: datetime = NEVER
    last_closed: datetime = NEVER
    id: str = field(init=False)

    def __post_init__(self) -> None:
        """Copy the id from the profile."""
        self.id = self.profile.id

    def assign(self, channel: str, at: datetime) -> None:
        """Add a request to the operator's load."""
        self.load += 1
        self.channel_load[channel] = self.channel_load.get(channel, 0) + 1
        self.last_assigned = max(self.last_assigned, at)

    def release(self, channel: str, closed_at: datetime | None) -> None:
        """Remove a request from the load; only a close ends the dialog."""
        self.load -= 1
        self.channel_load[channel] = self.channel_load.get(channel, 0) - 1
        if closed_at is not None:
            self.last_closed = max(self.last_closed, closed_at)


def queue_order(request: Request) -> tuple[int, datetime, UUID]:
    """Return the sort key of the queue: higher weight first, then older, then by id."""
    return (-request.weight, request.created_at, request.id)
