"""What the documents of a service have in common: schemas are named once, and referred to."""

from collections.abc import MutableMapping
from typing import Any

PREFIX = "#/components/schemas/"


def hoist_defs(node: Any, schemas: MutableMapping[str, Any]) -> Any:
    """Give a piece of a document with its local `$defs` moved among the document's schemas.

    Pydantic writes `#/$defs/Name`, which would be looked for at the document's own root.
    """
    if isinstance(node, list):
        return [hoist_defs(each, schemas) for each in node]
    if not isinstance(node, dict):
        return node
    for name, schema in node.get("$defs", {}).items():
        moved = hoist_defs(schema, schemas)
        if schemas.setdefault(name, moved) != moved:
            raise ValueError(f"two schemas are called {name}, and they differ")
    return {
        key: _rewrite_reference(value) if key == "$ref" else hoist_defs(value, schemas)
        for key, value in node.items()
        if key != "$defs"
    }


def _rewrite_reference(to: Any) -> Any:
    return to.replace("#/$defs/", PREFIX) if isinstance(to, str) else to
