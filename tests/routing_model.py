"""A small configuration of routing, facts about it, and a plain model of what they lead to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from routing.configuration import RoutingRules
from routing.domain.eligibility import eligibility
from routing.domain.methods import METHODS
from routing.domain.model import Group, Operator, OperatorProfile, Request, queue_order
from trunkline_contracts import Closed, Contact, Message, Opened, TransferRequested

if TYPE_CHECKING:
    from uuid import UUID

    from trunkline_contracts import Fact

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
TOPICS = {"general": "first", "delivery": "first", "billing": "second"}
CHANNELS = ("telegram", "email")


def profiles() -> dict[str, OperatorProfile]:
    """Six operators with limits of 1 to 3 and different skills; two limit a channel."""
    return {
        "a": OperatorProfile("a", "a", 1),
        "b": OperatorProfile("b", "b", 2, {"general": 1, "billing": 1}),
        "c": OperatorProfile("c", "c", 3, {"general": 1, "delivery": 1}, {"telegram": 1}),
        "d": OperatorProfile("d", "d", 3, channels={"email": 2}),
        "e": OperatorProfile("e", "e", 2, {"billing": 1}),
        "f": OperatorProfile("f", "f", 1, {"delivery": 1}),
    }


def rules(methods: tuple[str, str] = ("default", "longest_idle"), version: int = 1) -> RoutingRules:
    groups = {
        "first": Group("first", frozenset("abcdf"), methods[0]),
        "second": Group("second", frozenset("abde"), methods[1]),
    }
    weights = {"medium": 20, "critical": 40}
    return RoutingRules(version, profiles(), groups, TOPICS, weights, "general")


def opened(id_: UUID, topic: str, channel: str, priority: str, at: datetime) -> Fact:
    return Opened(
        time=at, request_id=id_, request_type="chat", channel=channel, account="main", topic=topic,
        contact=Contact(id=id_), priority=priority, status="new",
        message=Message(id=id_, text="hi", sent_at=at),
    )  # fmt: skip


def closed(id_: UUID, at: datetime) -> Fact:
    return Closed(time=at, request_id=id_, resolution="done", by="operator", status="closed")


def transfer(id_: UUID, to: str | None, at: datetime) -> Fact:
    return TransferRequested(time=at, request_id=id_, by="boss", operator=to)


@dataclass
class Model:
    """A plain model of routing: what every operation should lead to."""

    rules: RoutingRules
    ops: dict[str, Operator] = field(default_factory=dict)
    queue: dict[UUID, Request] = field(default_factory=dict)
    assigned: dict[UUID, tuple[Request, str]] = field(default_factory=dict)
    ended: set[UUID] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ops = {name: Operator(profile) for name, profile in self.rules.profiles.items()}

    def open(self, request: Request) -> None:
        if request.id not in self.queue and request.id not in self.assigned | dict.fromkeys(
            self.ended
        ):
            self.queue[request.id] = request

    def close(self, id_: UUID, at: datetime) -> None:
        self.queue.pop(id_, None)
        if id_ in self.assigned:
            request, owner = self.assigned.pop(id_)
            self.ops[owner].release(request.channel, at)
        self.ended.add(id_)

    def assign(self, request: Request, name: str, at: datetime) -> None:
        self.queue.pop(request.id)
        self.ops[name].assign(request.channel, at)
        again = Request(
            request.id, request.group, request.topic, request.channel, request.weight,
            request.created_at, request.epoch + 1,
        )  # fmt: skip
        self.assigned[request.id] = (again, name)

    def requeue(self, id_: UUID, to: str | None, at: datetime) -> int:
        request, avoid = self.queue.get(id_), None
        if id_ in self.assigned:
            request, avoid = self.assigned.pop(id_)
            self.ops[avoid].release(request.channel, None)
        if request is None:
            return 0
        self.queue[id_] = Request(
            request.id, request.group, request.topic, request.channel, request.weight,
            request.created_at, request.epoch, avoid or request.avoid,
        )  # fmt: skip
        if to is not None and self.able(self.ops[to], self.queue[id_], automatic=False):
            self.assign(self.queue[id_], to, at + timedelta(microseconds=1))
            return 1
        return 0

    def able(self, op: Operator, request: Request, *, automatic: bool = True) -> bool:
        return (
            eligibility(op, request, self.rules.groups[request.group], automatic=automatic) is None
        )

    def match(self, at: datetime, n: int = 0) -> None:
        for request in sorted(self.queue.values(), key=queue_order):
            able = [op for op in self.ops.values() if self.able(op, request)]
            if able:
                best = min(able, key=METHODS[self.rules.groups[request.group].method])
                n += 1
                self.assign(request, best.id, at + timedelta(microseconds=n))
