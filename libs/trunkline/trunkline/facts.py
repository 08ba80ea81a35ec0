"""Facts as `trunkline tail` and the demo show them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from chassis.messaging.message import StreamMessage

MAX_TEXT_CHARACTERS = 60
"""Longest text of a person that a line shows."""

TEXT_FIELDS = frozenset({"text", "note", "title", "comment", "resolution", "reason"})
HIDDEN_FIELDS = frozenset({"request_id", "contact", "contact_id", "conversation", "decision", "by"})
"""Fields a line omits: those shown elsewhere in it, and the identity of the customer."""


@dataclass(frozen=True, slots=True)
class StreamFact:
    """One fact, parsed without its schema, so that unknown types can be shown too."""

    stream: str
    stream_sequence: int
    wire: bytes
    type: str
    key: str
    sequence: int
    time: datetime
    data: dict[str, Any]

    @classmethod
    def of(cls, stream: str, message: StreamMessage) -> Self:
        """Parse a message of a stream; an unreadable message is shown without its data."""
        try:
            document = json.loads(message.data)
            time = datetime.fromisoformat(document["time"]).astimezone(UTC)
            key_and_sequence, data = (
                (str(document["subject"]), int(document["sequence"])),
                dict(document["data"]),
            )
        except (ValueError, KeyError, TypeError):
            key_and_sequence, time, data = (message.key, 0), datetime.fromtimestamp(0, UTC), {}
        return cls(
            stream,
            message.stream_sequence,
            message.data,
            message.type,
            *key_and_sequence,
            time,
            data,
        )

    @property
    def name(self) -> str:
        """The last part of the type."""
        return self.type.rpartition(".")[2]

    @property
    def short_key(self) -> str:
        """The key as shown: the first eight characters of a UUID."""
        return self.key[:8] if len(self.key) == 36 else printable(self.key)

    def line(self) -> str:
        """Return a line for the terminal."""
        at = self.time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        request = f"{self.short_key} #{self.sequence}"
        head = f"{self.stream_sequence:>7} {at}Z {self.name:24} {request:14}"
        return f"{head} {summary(self.data)}".rstrip()


def summary(data: dict[str, Any]) -> str:
    """Return the main fields of a fact's data: the message first, then the others in order."""
    hidden = HIDDEN_FIELDS | ({"title"} if _title_repeats_message(data) else set())
    items = sorted(data.items(), key=lambda item: item[0] != "message")
    parts = [_part(name, value) for name, value in items if name not in hidden]
    if "from" in data and "to" in data:
        parts = [part for part in parts if not part.startswith(("from=", "to="))]
        parts.insert(0, f"{printable(data['from'] or '-')} → {printable(data['to'] or '-')}")
    if data.get("by"):
        parts.append(f"by={printable(data['by'])}")
    return " ".join(part for part in parts if part)


def _title_repeats_message(data: dict[str, Any]) -> bool:
    """Check whether the title repeats the beginning of the message."""
    message, title = data.get("message"), data.get("title")
    return isinstance(message, dict) and str(message.get("text")).startswith(str(title))


def _part(name: str, value: Any) -> str:
    if name == "message" and isinstance(value, dict):
        return quoted(value.get("text", ""))
    if name in TEXT_FIELDS and value:
        return f"{name}={quoted(value)}"
    if isinstance(value, str | int | float) and value != "" and not name.endswith("_id"):
        return f"{name}={printable(value)}"
    return ""


def quoted(text: object) -> str:
    """Return the beginning of a text, in quotation marks."""
    words = printable(text)
    if len(words) > MAX_TEXT_CHARACTERS:
        words = f"{words[: MAX_TEXT_CHARACTERS - 1]}…"
    return f"“{words}”"


def printable(text: object) -> str:
    """Return a text without control characters, safe to print on a terminal."""
    characters = "".join(char if char.isprintable() else " " for char in str(text))
    return " ".join(characters.split())
