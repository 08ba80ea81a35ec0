"""What the workspace says about requests, in the form decisions need it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

ValueCheck = Callable[[Any], str | None]
"""Says what is wrong with a value of one field, or nothing."""

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""What no database keeps as text: NUL, and halves of characters."""

RETIRED_DETAIL = "has retired"


class Refused(Exception):
    """The rules forbid it: asking again will not help."""

    def __init__(self, slug: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.slug = slug
        self.extra = extra


class Invalid(Exception):
    """A value nobody could accept, what is wrong with it, and what would be accepted."""

    def __init__(
        self, what: str, value: object, allowed: object = None, wrong: str = "is not known here"
    ) -> None:
        told = "" if allowed is None else f"; allowed: {allowed}"
        super().__init__(f"{what} {wrong}{told}")
        self.what, self.value, self.allowed = what, value, allowed


class Graph(Struct, frozen=True):
    """The statuses of one type of request: which follows which, and which end it."""

    initial: str
    steps: Mapping[str, tuple[str, ...]]
    closing: tuple[str, ...]
    retired: bool = False

    @property
    def statuses(self) -> tuple[str, ...]:
        """Every status a request of this type can have."""
        ends = (status for steps in self.steps.values() for status in steps)
        return tuple(dict.fromkeys((*self.steps, *ends, *self.closing)))


class Topic(Struct, frozen=True):
    """What a topic asks for; the fields' values say whether they are required."""

    group: str
    create: Mapping[str, bool] = {}
    close: Mapping[str, bool] = {}
    retired: bool = False


class Rules(Struct, frozen=True):
    """One version of the workspace, as far as requests are concerned."""

    version: int
    types: Mapping[str, Graph]
    topics: Mapping[str, Topic]
    fields: Mapping[str, ValueCheck]
    priorities: tuple[str, ...]
    type: str
    topic: str
    priority: str
    retired: frozenset[str] = frozenset()
    """Fields that can only be taken away."""

    def check_fields(self, given: Mapping[str, Any]) -> None:
        """Refuse fields and values that nobody declared; null takes a value away, and may."""
        for name, value in given.items():
            known = name in self.fields or name in self.retired
            if not known:
                raise Invalid("field", name, sorted(self.fields))
            if value is not None and (wrong := self._complaint(name, value)):
                raise Invalid(f"field {name}", value, wrong=wrong)

    def _complaint(self, name: str, value: object) -> str | None:
        return (
            RETIRED_DETAIL
            if name in self.retired
            else _unstorable(value) or self.fields[name](value)
        )


def _unstorable(value: object) -> str | None:
    odd = isinstance(value, str) and UNSTORABLE.search(value)
    return "must be text that can be stored: no NUL, no halves of characters" if odd else None


def require_one_of(what: str, value: str, allowed: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Give the value back when it is allowed."""
    if value not in allowed:
        raise Invalid(what, value, list(allowed))
    return value


def require_active(what: str, value: str, known: Mapping[str, Graph] | Mapping[str, Topic]) -> str:
    """Give the value back when it can be chosen; what has retired is kept by those who have it."""
    allowed = {name: declared for name, declared in known.items() if not declared.retired}
    if value in known and value not in allowed:
        raise Invalid(what, value, list(allowed), RETIRED_DETAIL)
    return require_one_of(what, value, allowed)


def missing_required(asked: Mapping[str, bool], given: Mapping[str, Any]) -> list[str]:
    """Name the required fields that have no value."""
    return [name for name, required in asked.items() if required and given.get(name) is None]
