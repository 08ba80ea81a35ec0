"""What the workspace lets a client ask of a request. A wrong wish never loses the message."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ingest.adapters.item import Asked
from ingest.adapters.plain import clean


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One of the workspace's own fields."""

    kind: str
    pattern: str | None = None
    min: float | None = None
    max: float | None = None
    options: tuple[str, ...] = ()

    def complaint(self, value: Any) -> str | None:
        """Say what is wrong with a value, or None."""
        match self.kind:
            case "number":
                return self._number(value)
            case "list":
                good = isinstance(value, str) and value in self.options
                return None if good else f"must be one of {', '.join(self.options)}"
            case "date":
                return None if _is_date(value) else "must be a date, such as 2026-11-25"
            case "boolean":
                return None if isinstance(value, bool) else "must be true or false"
            case _:
                return self._text(value)

    def _number(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        if self.min is not None and value < self.min:
            return f"must be at least {self.min:g}"
        if self.max is not None and value > self.max:
            return f"must be at most {self.max:g}"
        return None

    def _text(self, value: Any) -> str | None:
        if not isinstance(value, str):
            return "must be a text"
        if self.pattern is not None and not re.search(self.pattern, value):
            return f"must match {self.pattern}"
        return None


def _is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(date.fromisoformat(value))
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Rules:
    """The part of one version of the workspace that intake obeys."""

    type: str
    topic: str
    types: frozenset[str]
    priorities: frozenset[str]
    topics: Mapping[str, frozenset[str]]
    """Each topic's fields that may be given when a request is created."""
    fields: Mapping[str, FieldRule] = field(default_factory=dict)

    def complaints(self, asked: Asked) -> list[tuple[str, Any, str]]:
        """Give what cannot be obeyed: where, the offending value, what is wrong."""
        wrong = [
            (name, value, f"must be one of {', '.join(sorted(allowed))}")
            for name, value, allowed in (
                ("type", asked.type, self.types),
                ("topic", asked.topic, self.topics),
                ("priority", asked.priority, self.priorities),
            )
            if value is not None and value not in allowed
        ]
        return [*wrong, *self._wrong_fields(asked)]

    def _wrong_fields(self, asked: Asked) -> Iterable[tuple[str, Any, str]]:
        allowed = self.topics.get(asked.topic or self.topic, frozenset())
        for name, value in asked.fields.items():
            rule = self.fields.get(name)
            if rule is None or name not in allowed:
                known = f"must be one of {', '.join(sorted(allowed))}" if allowed else "has none"
                yield f"fields.{name}", value, f"not a field of this topic: {known}"
            elif (complaint := rule.complaint(value)) is not None:
                yield f"fields.{name}", value, complaint

    def obeyed(self, asked: Asked | None) -> tuple[Asked, list[str]]:
        """Give what can be obeyed, and why the rest is not."""
        if asked is None:
            return Asked(), []
        wrong = self.complaints(asked)
        bad = {where for where, _, _ in wrong}
        kept = Asked(
            None if "topic" in bad else asked.topic,
            asked.title,
            None if "type" in bad else asked.type,
            None if "priority" in bad else asked.priority,
            {
                name: clean(value) if isinstance(value, str) else value
                for name, value in asked.fields.items()
                if f"fields.{name}" not in bad
            },
        )
        return kept, [clean(f"{where} {why}")[:200] for where, _, why in wrong]
