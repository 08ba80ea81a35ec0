"""A fact as somebody sees it go by: where it stands in its stream, and one readable line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from chassis.messaging.message import Incoming

SHORT = 60
"""Characters shown of what people wrote."""

TEXTS = frozenset({"text", "note", "title", "comment", "resolution", "reason"})
HIDDEN = frozenset({"request_id", "contact", "contact_id", "conversation", "decision", "by"})
"""What a line leaves out: what it says elsewhere, and who the customer is."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One fact, read loosely, so that kinds this version does not know can be seen too."""

    stream: str
    place: int
    """Its sequence in the stream."""
    wire: bytes
    type: str
    key: str
    sequence: int
    time: datetime
    data: dict[str, Any]

    @classmethod
    def of(cls, stream: str, item: Incoming) -> Self:
        """Read what a stream carries; what is unreadable is seen without its data."""
        try:
            read = json.loads(item.data)
            time = datetime.fromisoformat(read["time"]).astimezone(UTC)
            about, data = (str(read["subject"]), int(read["sequence"])), dict(read["data"])
        except (ValueError, KeyError, TypeError):
            about, time, data = (item.key, 0), datetime.fromtimestamp(0, UTC), {}
        return cls(stream, item.stream_sequence, item.data, item.type, *about, time, data)

    @property
    def name(self) -> str:
        """The type without its prefix."""
        return self.type.rpartition(".")[2]

    @property
    def short(self) -> str:
        """The key as people are shown it."""
        return self.key[:8] if len(self.key) == 36 else clean(self.key)

    def line(self) -> str:
        """Give one line for people."""
        at = self.time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        who = f"{self.short} #{self.sequence}"
        return f"{self.place:>7} {at}Z {self.name:24} {who:14} {matter(self.data)}".rstrip()


def matter(data: dict[str, Any]) -> str:
    """Say what matters of a fact's data: what was written first, then the rest in its order."""
    left_out = HIDDEN | ({"title"} if _titled_by_message(data) else set())
    told = sorted(data.items(), key=lambda item: item[0] != "message")
    parts = [_part(name, value) for name, value in told if name not in left_out]
    if "from" in data and "to" in data:
        parts = [part for part in parts if not part.startswith(("from=", "to="))]
        parts.insert(0, f"{clean(data['from'] or '-')} → {clean(data['to'] or '-')}")
    if data.get("by"):
        parts.append(f"by={clean(data['by'])}")
    return " ".join(part for part in parts if part)


def _titled_by_message(data: dict[str, Any]) -> bool:
    """Whether a title is only the beginning of the message again."""
    message, title = data.get("message"), data.get("title")
    return isinstance(message, dict) and str(message.get("text")).startswith(str(title))


def _part(name: str, value: Any) -> str:
    if name == "message" and isinstance(value, dict):
        return shortened(value.get("text", ""))
    if name in TEXTS and value:
        return f"{name}={shortened(value)}"
    if isinstance(value, str | int | float) and value != "" and not name.endswith("_id"):
        return f"{name}={clean(value)}"
    return ""


def shortened(text: object) -> str:
    """Give the beginning of what somebody wrote, in quotes."""
    words = clean(text)
    return f"“{words if len(words) <= SHORT else words[: SHORT - 1] + '…'}”"


def clean(text: object) -> str:
    """Give a text nothing in which commands the terminal it is shown on."""
    told = "".join(char if char.isprintable() else " " for char in str(text))
    return " ".join(told.split())
