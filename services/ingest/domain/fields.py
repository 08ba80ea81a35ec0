"""Values of the workspace's own fields, as people type them and as forms describe them."""

import re
from typing import Any

from trunkline_workspace.fields import MAX_TEXT_LENGTH, ValueRule

_NUMBER = re.compile(r"[+-]?[0-9]{1,25}(\.[0-9]{1,25})?", re.ASCII)


class FieldRule(ValueRule):
    """The rule of one of the workspace's own fields."""

    __slots__ = ()

    def parse_typed(self, value: Any) -> Any:
        """Return a typed value as its field's type: forms send numbers as text."""
        if self.kind != "number" or not isinstance(value, str):
            return value.strip() if isinstance(value, str) and self.kind != "text" else value
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            return value
        return float(text) if "." in text else int(text)

    def schema(self) -> dict[str, Any]:
        """Return the field's JSON Schema."""
        match self.kind:
            case "number":
                limits = {"minimum": self.min, "maximum": self.max}
                bounds = {name: limit for name, limit in limits.items() if limit is not None}
                return {"type": "number", **bounds}
            case "list":
                return {"type": "string", "enum": list(self.options)}
            case "date":
                return {"type": "string", "format": "date"}
            case _:
                pattern = {} if self.pattern is None else {"pattern": f"^(?:{self.pattern})$"}
                return {"type": "string", "maxLength": MAX_TEXT_LENGTH, **pattern}


def is_blank(value: Any) -> bool:
    """Return whether a value is empty: forms also send the fields that were left empty."""
    return value is None or (isinstance(value, str) and not value.strip())
