"""The progress of the day, folded from facts: requests, queue, operators, clocks. Pure."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trunkline.facts import StreamFact

STREAMS = ("INGEST", "ROUTING", "TICKETS", "SLA", "NOTIFY")
SHOWN_FACTS = frozenset(
    {
        "opened", "message_added", "assignee_changed", "reply_sent", "note_added", "closed",
        "operator_presence_changed", "capacity_reached", "target_warned", "target_breached",
    }
)  # fmt: skip
"""Types of facts in the ticker; others are only counted."""


@dataclass
class RequestProgress:
    """The state of one request."""

    id: str
    channel: str = ""
    topic: str = ""
    text: str = ""
    status: str = ""
    assignee: str | None = None
    opened: datetime | None = None
    answered: datetime | None = None
    closed: datetime | None = None
    due: dict[str, datetime] = field(default_factory=dict)
    """Running clocks with their deadlines."""
    breached: set[str] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        """True from the opening to the close."""
        return self.opened is not None and self.closed is None

    @property
    def is_waiting(self) -> bool:
        """True while the request is open and not assigned."""
        return self.is_open and self.assignee is None

    @property
    def first_answer_s(self) -> float | None:
        """Seconds from the opening to the first answer."""
        if self.opened is None or self.answered is None:
            return None
        return (self.answered - self.opened).total_seconds()


class Progress:
    """The state folded from all facts so far."""

    def __init__(self) -> None:
        self.requests: dict[str, RequestProgress] = {}
        self.presence: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.notified: Counter[str] = Counter()
        self.ticker: deque[StreamFact] = deque(maxlen=50)

    def apply(self, fact: StreamFact) -> bool:
        """Apply a fact; return whether the ticker shows it."""
        self.counts[fact.name] += 1
        if fact.type.startswith("trunkline.tickets.") and fact.name != "contact_erased":
            _apply_tickets(self._request(fact.key), fact)
        elif fact.type.startswith("trunkline.sla."):
            _apply_sla(self._request(fact.key), fact.name, fact.data)
        elif fact.name == "operator_presence_changed":
            self.presence[fact.key] = str(fact.data["to"])
        elif fact.name == "notification_sent":
            self.notified[str(fact.data["kind"])] += 1
        if fact.name in SHOWN_FACTS:
            self.ticker.append(fact)
        return fact.name in SHOWN_FACTS

    def _request(self, key: str) -> RequestProgress:
        return self.requests.setdefault(key, RequestProgress(key))

    @property
    def opened(self) -> list[RequestProgress]:
        """All opened requests, the oldest first."""
        return [request for request in self.requests.values() if request.opened is not None]

    @property
    def queue(self) -> list[RequestProgress]:
        """The requests that wait for an operator."""
        return [request for request in self.opened if request.is_waiting]

    def load(self, operator: str) -> int:
        """Return the number of open requests of an operator."""
        return sum(request.is_open and request.assignee == operator for request in self.opened)

    @property
    def closed(self) -> int:
        """The number of closed requests."""
        return sum(request.closed is not None for request in self.opened)

    @property
    def all_replies_settled(self) -> bool:
        """True when every reply was sent or failed."""
        settled = self.counts["message_sent"] + self.counts["message_failed"]
        return settled >= self.counts["reply_sent"]


def _apply_tickets(request: RequestProgress, fact: StreamFact) -> None:
    data: dict[str, Any] = fact.data
    match fact.name:
        case "opened":
            request.channel, request.topic = data["channel"], data["topic"]
            request.status, request.text = data["status"], data["message"]["text"]
            request.opened = fact.time
        case "assignee_changed":
            request.assignee = data["to"]
        case "status_changed":
            request.status = data["to"]
        case "reply_sent":
            request.answered = request.answered or fact.time
        case "closed":
            request.status, request.closed = data["status"], fact.time
            request.due.clear()


def _apply_sla(request: RequestProgress, name: str, data: dict[str, Any]) -> None:
    match name:
        case "target_set":
            if request.closed is None:
                request.due[data["clock"]] = datetime.fromisoformat(data["due_at"])
        case "target_met" | "target_cancelled":
            request.due.pop(data["clock"], None)
        case "target_breached":
            request.breached.add(data["clock"])
