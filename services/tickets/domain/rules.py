"""The rules of a workspace version that decisions about requests need."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

ValueCheck = Callable[[Any], str | None]
"""Returns the reason why a field does not accept a value, or None when it does."""

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Characters that PostgreSQL cannot store as text: NUL and surrogates."""

RETIRED_DETAIL = "has retired"


class Refused(Exception):
    """A command that the rules forbid in the current state; a retry will not help."""

    def __init__(self, slug: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.slug = slug
        self.extra = extra


class Invalid(Exception):
    """A value that is never accepted, the reason, and the values that would be."""

    def __init__(
        self, subject: str, value: object, allowed: object = None, reason: str = "is not known here"
    ) -> None:
        suffix = "" if allowed is None else f"; allowed: {allowed}"
        super().__init__(f"{subject} {reason}{suffix}")
        self.subject, self.value, self.allowed = subject, value, allowed


class Graph(Struct, frozen=True):
    """The status graph of a request type: allowed steps and closing statuses."""

    initial: str
    steps: Mapping[str, tuple[str, ...]]
    closing: tuple[str, ...]
    retired: bool = False

    @property
    def statuses(self) -> tuple[str, ...]:
        """Return every status that a request of this type can have."""
        ends = (status for steps in self.steps.values() for status in steps)
        return tuple(dict.fromkeys((*self.steps, *ends, *self.closing)))


class Topic(Struct, frozen=True):
    """A topic: its group, and for opening and closing its fields and whether each is required."""

    group: str
    create: Mapping[str, bool] = {}
    close: Mapping[str, bool] = {}
    retired: bool = False


class Rules(Struct, frozen=True):
    """One workspace version, reduced to what decisions about requests need."""

    version: int
    types: Mapping[str, Graph]
    topics: Mapping[str, Topic]
    fields: Mapping[str, ValueCheck]
    priorities: tuple[str, ...]
    type: str
    topic: str
    priority: str
    retired: frozenset[str] = frozenset()
    """Names of retired fields: their values can be removed, but no longer set."""

    def check_fields(self, values: Mapping[str, Any]) -> None:
        """Check new field values; null removes a value and is always accepted.

        Raises `Invalid` for an undeclared field and for a value its field does not accept.
        """
        for name, value in values.items():
            if name not in self.fields and name not in self.retired:
                raise Invalid("field", name, sorted(self.fields))
            if value is not None and (reason := self._rejection(name, value)):
                raise Invalid(f"field {name}", value, reason=reason)

    def _rejection(self, name: str, value: object) -> str | None:
        if name in self.retired:
            return RETIRED_DETAIL
        return _storage_rejection(value) or self.fields[name](value)


def _storage_rejection(value: object) -> str | None:
    if isinstance(value, str) and UNSTORABLE.search(value):
        return "must be text that can be stored: no NUL, no surrogates"
    return None


def require_one_of(subject: str, value: str, allowed: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Return the value if it is allowed; otherwise raise `Invalid`."""
    if value not in allowed:
        raise Invalid(subject, value, list(allowed))
    return value


def require_active(
    subject: str, value: str, declared: Mapping[str, Graph] | Mapping[str, Topic]
) -> str:
    """Return the value if it is declared and has not retired; otherwise raise `Invalid`.

    Requests that already have a retired type or topic keep it; nothing new gets it.
    """
    active = {name: item for name, item in declared.items() if not item.retired}
    if value in declared and value not in active:
        raise Invalid(subject, value, list(active), RETIRED_DETAIL)
    return require_one_of(subject, value, active)


def missing_required(required: Mapping[str, bool], values: Mapping[str, Any]) -> list[str]:
    """Return the names of the required fields that have no value."""
    return [
        name for name, is_required in required.items() if is_required and values.get(name) is None
    ]
