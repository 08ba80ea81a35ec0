"""The workspace's own fields: how people fill them in, and how a form describes them."""

import re
from typing import Any

from trunkline_workspace.fields import LONGEST, ValueRule

_NUMBER = re.compile(r"[+-]?[0-9]{1,25}(\.[0-9]{1,25})?", re.ASCII)


class FieldRule(ValueRule):
    """One of the workspace's own fields."""

    __slots__ = ()

    def as_written(self, value: Any) -> Any:
        """Read what a person typed: a form has no numbers, only what spells them."""
        if self.kind != "number" or not isinstance(value, str):
            return value.strip() if isinstance(value, str) and self.kind != "text" else value
        told = value.strip()
        if not _NUMBER.fullmatch(told):
            return value
        return float(told) if "." in told else int(told)

    def schema(self) -> dict[str, Any]:
        """Describe it in JSON Schema."""
        match self.kind:
            case "number":
                limits = {"minimum": self.min, "maximum": self.max}
                told = {name: limit for name, limit in limits.items() if limit is not None}
                return {"type": "number", **told}
            case "list":
                return {"type": "string", "enum": list(self.options)}
            case "date":
                return {"type": "string", "format": "date"}
            case _:
                whole = {} if self.pattern is None else {"pattern": f"^(?:{self.pattern})$"}
                return {"type": "string", "maxLength": LONGEST, **whole}


def blank(value: Any) -> bool:
    """Whether nothing was given: a form sends what was left empty, too."""
    return value is None or (isinstance(value, str) and not value.strip())
