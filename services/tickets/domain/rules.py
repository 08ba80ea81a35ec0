"""What the workspace says about requests, in the form decisions need it."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from msgspec import Struct

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""What no database keeps as text: NUL, and halves of characters."""


class Refused(Exception):
    """The rules forbid it: asking again will not help."""

    def __init__(self, slug: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.slug = slug
        self.extra = extra


class Invalid(Exception):
    """A value nobody could accept, and what would be."""

    def __init__(self, what: str, value: object, allowed: object) -> None:
        super().__init__(f"{what} {value!r} is not known here; allowed: {allowed}")
        self.what, self.value, self.allowed = what, value, allowed


class Graph(Struct, frozen=True):
    """The statuses of one type of request: which follows which, and which end it."""

    initial: str
    steps: Mapping[str, tuple[str, ...]]
    closing: tuple[str, ...]

    @property
    def statuses(self) -> tuple[str, ...]:
        """Every status a request of this type can have."""
        ends = (status for steps in self.steps.values() for status in steps)
        return tuple(dict.fromkeys((*self.steps, *ends, *self.closing)))


class Field(Struct, frozen=True):
    """What a field's value may be."""

    kind: str
    pattern: str | None = None
    min: float | None = None
    max: float | None = None
    options: tuple[str, ...] = ()

    def allows(self, value: object) -> bool:
        """Whether the value is one of this field's; null takes it away, and may."""
        match self.kind, value:
            case _, None:
                return True
            case "text", str():
                fits = self.pattern is None or re.fullmatch(self.pattern, value) is not None
                return fits and not UNSTORABLE.search(value)
            case "number", bool():
                return False
            case "number", int() | float():
                low = self.min is None or value >= self.min
                return low and (self.max is None or value <= self.max)
            case "date", str():
                return _is_date(value)
            case "list", str():
                return value in self.options
            case _:
                return False

    def __str__(self) -> str:
        """Say it for people."""
        told = {"pattern": self.pattern, "min": self.min, "max": self.max}
        limits = [f"{name} {value}" for name, value in told.items() if value is not None]
        return ", ".join([self.kind, *limits, *self.options])


def _is_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


class Topic(Struct, frozen=True):
    """What a topic asks for; the fields' values say whether they are required."""

    group: str
    create: Mapping[str, bool] = {}
    close: Mapping[str, bool] = {}


class Rules(Struct, frozen=True):
    """One version of the workspace, as far as requests are concerned."""

    version: int
    types: Mapping[str, Graph]
    topics: Mapping[str, Topic]
    fields: Mapping[str, Field]
    priorities: tuple[str, ...]
    type: str
    topic: str
    priority: str

    def check_fields(self, given: Mapping[str, Any]) -> None:
        """Refuse fields and values that nobody declared."""
        for name, value in given.items():
            field = self.fields.get(name)
            if field is None:
                raise Invalid("field", name, sorted(self.fields))
            if not field.allows(value):
                raise Invalid(f"field {name}", value, str(field))


def one_of(what: str, value: str, allowed: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Give the value back when it is allowed."""
    if value not in allowed:
        raise Invalid(what, value, list(allowed))
    return value


def missing(asked: Mapping[str, bool], given: Mapping[str, Any]) -> list[str]:
    """Name the required fields that have no value."""
    return [name for name, required in asked.items() if required and given.get(name) is None]
