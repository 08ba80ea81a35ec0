"""The rules for values of the workspace's own fields, the same in ingest and tickets."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, core_schema

MAX_TEXT_LENGTH = 2000
"""Characters."""

MAX_NUMBER = 2**63 - 1
"""The largest absolute value of a number: 64 bits with a sign."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ValueRule:
    """The values one field accepts."""

    kind: str
    pattern: str | None = None
    min: float | None = None
    max: float | None = None
    options: tuple[str, ...] = ()

    def complaint(self, value: Any) -> str | None:
        """Return why the value is not accepted, or None when it is."""
        match self.kind:
            case "number":
                return self._number(value)
            case "list":
                is_option = isinstance(value, str) and value in self.options
                return None if is_option else f"must be one of {', '.join(self.options)}"
            case "date":
                return None if _is_date(value) else "must be a date, such as 2026-11-25"
            case _:
                return self._text(value)

    def _number(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        if not abs(value) <= MAX_NUMBER:
            return f"must be a number of at most {MAX_NUMBER}"
        if self.min is not None and value < self.min:
            return f"must be at least {format_number(self.min)}"
        if self.max is not None and value > self.max:
            return f"must be at most {format_number(self.max)}"
        return None

    def _text(self, value: Any) -> str | None:
        if not isinstance(value, str):
            return "must be a text"
        if len(value) > MAX_TEXT_LENGTH:
            return f"must have at most {MAX_TEXT_LENGTH} characters"
        if self.pattern is not None and not full_match(self.pattern)(value):
            return f"must match {self.pattern}"
        return None


def format_number(number: float) -> str:
    """Return a limit without a needless fraction."""
    return str(int(number)) if float(number).is_integer() else str(number)


def _is_date(value: Any) -> bool:
    try:
        return bool(isinstance(value, str) and _DATE.fullmatch(value) and date.fromisoformat(value))
    except ValueError:
        return False


_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ASCII = {"d": "[0-9]", "D": "[^0-9]", "w": "[0-9A-Za-z_]", "W": "[^0-9A-Za-z_]"}


def _ascii(pattern: str) -> str:
    """Return the pattern with `\\d` and `\\w` meaning ASCII, as in JSON Schema (ECMA-262)."""
    return _ESCAPE.sub(lambda escape: _ASCII.get(escape[1], escape[0]), pattern)


@lru_cache(maxsize=1000)
def full_match(pattern: str) -> Callable[[str], bool]:
    """Return a function that matches a whole text against the pattern.

    The engine is pydantic's: it takes time proportional to the text, whatever the pattern, so no
    customer's text can block a service. It has no look-around and no back-references; a pattern
    with them matches nothing.
    """
    try:
        validator = SchemaValidator(
            core_schema.str_schema(pattern=f"^(?:{_ascii(pattern)})$", regex_engine="rust-regex")
        )
    except SchemaError:
        return lambda _: False

    def fits(text: str) -> bool:
        return validator.isinstance_python(text)

    return fits
