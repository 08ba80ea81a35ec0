"""What the values of the workspace's own fields may be: one rule for whoever takes them in."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, core_schema

LONGEST = 2000
"""Characters a text may have."""
LARGEST = 2**63 - 1
"""How far from nought a whole number may be; what is larger is stored nowhere."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ValueRule:
    """What one field takes."""

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
            case _:
                return self._text(value)

    def _number(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        if not abs(value) <= LARGEST:
            return f"must be a number of at most {LARGEST}"
        if self.min is not None and value < self.min:
            return f"must be at least {written(self.min)}"
        if self.max is not None and value > self.max:
            return f"must be at most {written(self.max)}"
        return None

    def _text(self, value: Any) -> str | None:
        if not isinstance(value, str):
            return "must be a text"
        if len(value) > LONGEST:
            return f"must have at most {LONGEST} characters"
        if self.pattern is not None and not matching(self.pattern)(value):
            return f"must match {self.pattern}"
        return None


def written(number: float) -> str:
    """Write a limit as people do."""
    return str(int(number)) if float(number).is_integer() else str(number)


def _is_date(value: Any) -> bool:
    try:
        return bool(isinstance(value, str) and _DATE.fullmatch(value) and date.fromisoformat(value))
    except ValueError:
        return False


_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ASCII = {"d": "[0-9]", "D": "[^0-9]", "w": "[0-9A-Za-z_]", "W": "[^0-9A-Za-z_]"}


def _ascii(pattern: str) -> str:
    """Write a pattern so that its digits and letters are those of JSON Schema (ECMA-262): ASCII."""
    return _ESCAPE.sub(lambda found: _ASCII.get(found[1], found[0]), pattern)


@lru_cache(maxsize=1000)
def matching(pattern: str) -> Callable[[str], bool]:
    """Give a test whether a whole text fits a pattern.

    The engine is the one pydantic brings: it takes time in proportion to the text, whatever the
    pattern, so no stranger's text can hold up a service. It knows no look-around and no
    back-references; a pattern that has them fits nothing.
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
