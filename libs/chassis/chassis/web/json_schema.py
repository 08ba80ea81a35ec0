"""Schemas of OpenAPI and AsyncAPI documents: each is defined once, and referred to."""

from collections.abc import MutableMapping
from typing import Any

PREFIX = "#/components/schemas/"


def hoist_defs(node: Any, schemas: MutableMapping[str, Any]) -> Any:
    """Return a part of a document, with its local `$defs` moved to the document's schemas.

    Pydantic writes `#/$defs/Name`, which would refer to the root of the whole document. Raises
    ValueError when two different schemas have the same name.
    """
    if isinstance(node, list):
        return [hoist_defs(item, schemas) for item in node]
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
