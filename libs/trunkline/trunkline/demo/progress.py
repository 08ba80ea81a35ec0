"""What can be seen of the day in its facts: requests, the queue, operators, clocks. Pure."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trunkline.facts import Seen

SERVICES = ("INGEST", "ROUTING", "TICKETS", "SLA", "NOTIFY")
TOLD = frozenset(
    {
        "opened", "message_added", "assignee_changed", "reply_sent", "note_added", "closed",
        "operator_presence_changed", "capacity_reached", "target_warned", "target_breached",
    }
)  # fmt: skip
"""What the ticker tells; the other facts are counted."""


@dataclass
class Ticket:
    """A request as the desk sees it."""

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
    """Running clocks, and when each runs out."""
    breached: set[str] = field(default_factory=set)

    @property
    def open(self) -> bool:
        """Whether it is still the desk's."""
        return self.opened is not None and self.closed is None

    @property
    def waits(self) -> bool:
        """Whether it is open and nobody's."""
        return self.open and self.assignee is None

    @property
    def waited(self) -> float | None:
        """Seconds until the first answer."""
        if self.opened is None or self.answered is None:
            return None
        return (self.answered - self.opened).total_seconds()


class Scene:
    """Everything seen so far."""

    def __init__(self) -> None:
        self.tickets: dict[str, Ticket] = {}
        self.presence: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.notified: Counter[str] = Counter()
        self.ticker: deque[Seen] = deque(maxlen=50)

    def see(self, seen: Seen) -> bool:
        """Take a fact in; gives whether it is worth telling."""
        self.counts[seen.name] += 1
        if seen.type.startswith("trunkline.tickets.") and seen.name != "contact_erased":
            _see(self._ticket(seen.key), seen)
        elif seen.type.startswith("trunkline.sla."):
            _clock(self._ticket(seen.key), seen.name, seen.data)
        elif seen.name == "operator_presence_changed":
            self.presence[seen.key] = str(seen.data["to"])
        elif seen.name == "notification_sent":
            self.notified[str(seen.data["kind"])] += 1
        if seen.name in TOLD:
            self.ticker.append(seen)
        return seen.name in TOLD

    def _ticket(self, key: str) -> Ticket:
        return self.tickets.setdefault(key, Ticket(key))

    @property
    def opened(self) -> list[Ticket]:
        """All requests, the oldest first."""
        return [ticket for ticket in self.tickets.values() if ticket.opened is not None]

    @property
    def queue(self) -> list[Ticket]:
        """Those that wait for an operator."""
        return [ticket for ticket in self.opened if ticket.waits]

    def load(self, operator: str) -> int:
        """How many an operator has."""
        return sum(ticket.open and ticket.assignee == operator for ticket in self.opened)

    @property
    def closed(self) -> int:
        """How many requests are closed."""
        return sum(ticket.closed is not None for ticket in self.opened)

    @property
    def answers_known(self) -> bool:
        """Whether it is known of every answer what became of it."""
        known = self.counts["message_sent"] + self.counts["message_failed"]
        return known >= self.counts["reply_sent"]


def _see(ticket: Ticket, seen: Seen) -> None:
    data: dict[str, Any] = seen.data
    match seen.name:
        case "opened":
            ticket.channel, ticket.topic = data["channel"], data["topic"]
            ticket.status, ticket.text = data["status"], data["message"]["text"]
            ticket.opened = seen.time
        case "assignee_changed":
            ticket.assignee = data["to"]
        case "status_changed":
            ticket.status = data["to"]
        case "reply_sent":
            ticket.answered = ticket.answered or seen.time
        case "closed":
            ticket.status, ticket.closed = data["status"], seen.time
            ticket.due.clear()


def _clock(ticket: Ticket, name: str, data: dict[str, Any]) -> None:
    match name:
        case "target_set":
            if ticket.closed is None:
                ticket.due[data["clock"]] = datetime.fromisoformat(data["due_at"])
        case "target_met" | "target_cancelled":
            ticket.due.pop(data["clock"], None)
        case "target_breached":
            ticket.breached.add(data["clock"])
